"""What isolation costs, a row per rung: `python -m bench.isolation [ROUNDS]`, about 40 s.

Each thing is measured on every rung in turn, so that what else the machine does meets all of them
alike; shown are medians and minima. No HTTP: the engine alone, with NumPy preloaded.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from fanfold_server.engine.ladder import IsolationMissing
from fanfold_server.model.environment import Environment
from tests.runtime.bench import Engine, ladder, opened

RUNGS = ("none", "basic", "confined", "bwrap")
PRELOAD = ("numpy",)
NOOP = "def f(i): return i"
FILES = """
import time
def f(i):
    open("f", "w").close()
    before = time.perf_counter()
    for _ in range(2000):
        open("f").close()
    return (time.perf_counter() - before) / 2000 * 1e6
"""
CALLS = """
import os, time
def f(i):
    before = time.perf_counter()
    for _ in range(100_000):
        os.getppid()
    return (time.perf_counter() - before) / 100_000 * 1e6
"""
START, FRESH, WARM = "start, ms", "fresh worker, ms", "warm call, ms"
OPENING, CALL = "open a file, µs", "system call, µs"
COLUMNS = (START, FRESH, WARM, OPENING, CALL)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    prefix = Path(__file__).resolve().parents[1] / ".environments" / "default"
    environment = Environment(name="default", prefix=prefix, kind="venv")
    rungs = [rung for rung in RUNGS if works(rung, environment)]
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as cache, ExitStack() as stack:
        engines: dict[str, Engine] = {}
        for last in [False] * (rounds - 1) + [True]:
            for rung in rungs:
                with ExitStack() as once:
                    began = time.perf_counter()
                    engine = (stack if last else once).enter_context(
                        opened(environment, Path(cache), isolation=rung, preload=PRELOAD)
                    )
                    engine.run(NOOP)
                    taken[rung, START].append(1e3 * (time.perf_counter() - began))
                    engines[rung] = engine
        for count, column, measured in (
            (10, FRESH, lambda engine: _timed(engine, caller="BOB")),
            (200, WARM, _timed),
            (1, OPENING, lambda engine: engine.run(FILES).value),
            (1, CALL, lambda engine: engine.run(CALLS).value),
        ):
            for _ in range(count * rounds):
                for rung, engine in engines.items():
                    taken[rung, column].append(measured(engine))
    print("| rung |", " | ".join(COLUMNS), "|")
    print("|---|" + "---|" * len(COLUMNS))
    for rung in rungs:
        cells = [taken[rung, column] for column in COLUMNS]
        shown = [f"{statistics.median(cell):.3g} / {min(cell):.3g}" for cell in cells]
        print(f"| {rung} |", " | ".join(shown), "|")


def works(rung: str, environment: Environment) -> bool:
    try:
        ladder(rung, environment.prefix)
    except IsolationMissing as exc:
        print(exc, file=sys.stderr)
        return False
    return True


def _timed(engine: Engine, **options: str) -> float:
    before = time.perf_counter()
    engine.run(NOOP, **options)
    return 1e3 * (time.perf_counter() - before)


if __name__ == "__main__":
    main()
