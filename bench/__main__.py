"""Measures ours, its peers and the limits of the machine, interleaved; `bench/run.sh --help`."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from bench.fleet import Fleet
from bench.libraries import DuckPandas, ForkSplit, Loky, Loop, MpPool, Ppe
from bench.machine import exit_on_sigterm, prefer
from bench.optional import OPTIONAL
from bench.ours import OURS
from bench.peers import AfternoonTuned, Peer, SocketEcho, TabPy, UvicornEcho
from bench.queues import QUEUES
from bench.report import SECTIONS, render, write_between_markers
from bench.results import Measured, Results
from bench.workloads import USUAL, WORKLOADS, measure

README = Path(__file__).with_name("README.md")
PEERS: tuple[type[Peer], ...] = (
    SocketEcho, UvicornEcho, Loop, ForkSplit, TabPy, MpPool, Ppe, Loky, DuckPandas,
    AfternoonTuned,
)  # fmt: skip
KINDS: dict[str, type[Peer]] = {kind.name: kind for kind in (*PEERS, *OURS, *OPTIONAL, *QUEUES)}


def arguments() -> argparse.Namespace:
    names = ", ".join(KINDS)
    parser = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="W", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=2, help="of W1's 16 clients; default: 2")
    parser.add_argument("--peers", help=f"these alone, with commas between; of {names}")
    parser.add_argument("--all", action="store_true", help="also Ray, Dask, BentoML, …; slow")
    parser.add_argument("--out", type=Path, help="file of the raw numbers (JSON lines)")
    parser.add_argument("--report", type=Path, nargs="+", help="only report on such files")
    parser.add_argument("--write-readme", action="store_true", help="put the report there")
    parser.add_argument("--note", default="", help="a remark for the report")
    said = parser.parse_args()
    for name in said.workloads:
        if name not in WORKLOADS:
            parser.error(f"there is no workload {name}; there are {', '.join(WORKLOADS)}")
    for name in (said.peers or "").split(",") if said.peers else ():
        if name not in KINDS:
            parser.error(f"there is no peer {name}; there are {names}")
    return said


def chosen(said: argparse.Namespace) -> list[type[Peer]]:
    if said.peers:
        return [KINDS[name] for name in said.peers.split(",")]
    asked = said.workloads or USUAL
    kinds = [*PEERS, *OURS, *(OPTIONAL if said.all else ()), *QUEUES]
    return [kind for kind in kinds if set(kind.workloads) & set(asked)]


def run(said: argparse.Namespace, scratch: Path) -> tuple[Results, str]:
    """Measure, and return the numbers and how they were made."""
    results = Results(path=said.out or scratch / "results.jsonl")
    loads = [os.getloadavg()[0]]
    workloads = said.workloads or USUAL
    with Fleet(chosen(said), scratch) as fleet:
        for workload in workloads:
            for number in range(said.rounds):
                print(f"{workload}, round {number + 1} of {said.rounds}", flush=True)
                for peer in fleet.round(workload, number):
                    measure_one(results, workload, peer, number, said.seconds)
                loads.append(os.getloadavg()[0])
        missing = fleet.missing
    return results, notes(said, loads, missing)


def measure_one(results: Results, workload: str, peer: Peer, number: int, seconds: int) -> None:
    try:
        for metric, value in measure(workload, peer, seconds, is_first=number == 0):
            results.add(
                Measured(
                    round=number, workload=workload, metric=metric, peer=peer.name, value=value
                )
            )
            print(f"  {peer.name:20} {metric:24} {value:10.3f}", flush=True)
    except (OSError, RuntimeError, TimeoutError) as exc:
        print(f"  {peer.name:20} FAILED {workload}: {exc}", flush=True)


def notes(said: argparse.Namespace, loads: list[float], missing: list[str]) -> str:
    made = [
        f"{time.strftime('%Y-%m-%d')}, fanfold {version('fanfold')}, {said.rounds} rounds",
        f"{len(os.sched_getaffinity(0))} cores ({processor()}), Linux {platform.release()}",
        f"server on CPython {platform.python_version()}",
        f"load average {min(loads):.1f} … {max(loads):.1f} (the bench itself makes about 1.5)",
    ]
    if os.environ.get("BENCH_AUTOGROUP"):
        made.append(f"BENCH_AUTOGROUP={os.environ['BENCH_AUTOGROUP']}")
    if missing:
        made.append(f"not measured: {', '.join(missing)}")
    if said.note:
        made.append(said.note)
    return "Run: " + "; ".join(made) + ".\n\nMedians; times in ms, `rps` in requests per second."


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    said = arguments()
    exit_on_sigterm()
    prefer(os.getpid())
    kinds = {name: kind.kind for name, kind in KINDS.items()}
    if said.report:
        results, made = Results.read(*said.report), said.note or "Of files."
    else:
        scratch = Path(tempfile.mkdtemp(prefix="fanfold-bench-"))
        scratch.chmod(0o711)  # workers under other users pass through
        print(f"logs and raw numbers: {scratch}", flush=True)
        results, made = run(said, scratch)
    report = render(results, notes=made, kinds=kinds)
    print("\n" + report)
    if said.write_readme:
        alone = (name for name, those in SECTIONS.items() if those.issuperset(results.workloads))
        section = next(alone, "")
        write_between_markers(README, report, section)


if __name__ == "__main__":
    main()
