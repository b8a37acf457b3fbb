"""The results as Markdown, and their place in README.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.results import OURS, Results, is_limit, is_rate, is_rival
from bench.targets import TARGETS, Verdict, judge

BEGIN = "<!-- begin: last run (written by run.sh --write-readme) -->"
END = "<!-- end: last run -->"
SECTIONS = {" of W7": frozenset(("W7", "W7m")), " of W8": frozenset(("W8",))}
"""A run of these alone has a section of its own, between marks of its own."""

UVICORN = "limit:uvicorn-echo"

_TITLES = {
    "W1": "one trivial call",
    "W2": "a trivial function, N calls",
    "W3": "64 calls of 20 ms of CPU",
    "W4": "the documented example: a stand-in of 0.5 ms a call, and the script itself",
    "W5": "16 figures",
    "W6": "a million rows: a thousand groups, and a hundred chunks of ten thousand",
    "W7": "500 trivial jobs, each durable when it is accepted, one client",
    "W7m": "one job of 1,000,000 trivial calls, and the most memory of each kind of process",
    "W8": "the first call in an environment, and what ten that are warm take besides",
    "W9": "100,000 rows of 10 columns as JSON",
}


def render(results: Results, *, notes: str, kinds: Mapping[str, str]) -> str:
    """Return the whole report.

    Args:
        notes: how the run was made.
        kinds: what each peer is, by name.
    """
    targets = [target for target in TARGETS if target.workload in results.workloads]
    parts = [
        notes,
        "### Targets",
        targets_table(judge(results, targets)),
        "### Ours, limit, best peer",
    ]
    parts.append(summary_table(results))
    for workload in results.workloads:
        parts.append(f"### {workload}: {_TITLES.get(workload, '')}")
        parts.append(medians_table(results, workload, kinds))
    return "\n\n".join(parts) + "\n"


def targets_table(verdicts: list[Verdict]) -> str:
    """Return each target with the measured ratio."""
    rows = [["W", "measure", "ours against", "target", "ratio", "of rounds", ""]]
    for verdict in verdicts:
        target = verdict.target
        sign = "≥" if target.is_floor else "≤"
        other = f"own {target.other_metric}" if target.other_metric else target.other
        measured = verdict.ratio is not None
        rows.append(
            [
                target.workload,
                target.metric,
                other,
                f"{sign} {target.bound:g}",
                number(verdict.ratio),
                f"{number(verdict.lowest)} … {number(verdict.highest)}" if measured else "",
                verdict.word,
            ]
        )
    return table(rows)


def summary_table(results: Results) -> str:
    """Return, for each measure, ours beside the best limit and the best peer."""
    rows = [["W", "measure", "ours", "ours-fork", "limit", "of limit", "best peer", "of best peer"]]
    for (workload, metric), peers in results.numbers.items():
        if metric.endswith("_mib"):  # of kinds of processes that another does not have
            continue
        limit = results.best(workload, metric, limits(workload, peers))
        rival = results.best(workload, metric, filter(is_rival, peers))
        row = [workload, metric]
        row += [number(results.median(workload, metric, who)) for who in (OURS, "ours-fork")]
        for other in (limit, rival):
            row += (
                ["", ""]
                if other is None
                else [
                    f"{other} {number(results.median(workload, metric, other))}",
                    number(results.ratio(workload, metric, OURS, other)),
                ]
            )
        rows.append(row)
    return table(rows)


def limits(workload: str, peers: Iterable[str]) -> list[str]:
    """Return the limits that a workload is held against: where there is HTTP, that of HTTP."""
    return [UVICORN] if workload == "W1" else [peer for peer in peers if is_limit(peer)]


def medians_table(results: Results, workload: str, kinds: Mapping[str, str]) -> str:
    """Return the medians of a workload, limits first, then the best by the first measure."""
    metrics = results.metrics(workload)
    worst = float("inf")

    def place(peer: str) -> tuple[bool, float]:
        first = results.median(workload, metrics[0], peer)
        sign = -1 if is_rate(metrics[0]) else 1
        return not is_limit(peer), worst if first is None else sign * first

    rows = [["who", "", *metrics]]
    for peer in sorted(results.peers(workload), key=place):
        medians = [results.median(workload, metric, peer) for metric in metrics]
        rows.append([peer, kinds.get(peer, ""), *map(number, medians)])
    return table(rows)


def table(rows: list[list[str]]) -> str:
    """Return rows as a Markdown table, the first as its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None) -> str:
    """Write a number with three digits that count; nothing for none."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 (three digits)


def write_between_markers(path: Path, text: str, section: str = "") -> None:
    """Replace what stands between the markers of a file.

    Args:
        section: of the markers; none: those of the whole run.

    Raises:
        ValueError: it does not have both.
    """
    old = path.read_text(encoding="utf-8")
    mark_begin, mark_end = (mark.replace("last run", f"last run{section}") for mark in (BEGIN, END))
    before, begin, rest = old.partition(mark_begin)
    _, end, after = rest.partition(mark_end)
    if not begin or not end:
        raise ValueError(f"{path.name} lacks the line {mark_begin!r} or {mark_end!r}")
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
