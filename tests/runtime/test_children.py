"""Processes that a script starts find the script, however they are started."""

from __future__ import annotations

import pytest

from tests.runtime.bench import Engine

SCRIPT = """# -*- coding: latin-1 -*-
import dataclasses, multiprocessing, os
from concurrent.futures import ProcessPoolExecutor

@dataclasses.dataclass
class Point:
    x: int

def times_two(point):
    assert "é" == chr(233)
    return Point(2 * point.x), os.getpid()

def by_pool(method, points):
    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.map(times_two, points)

def by_executor(method, points):
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        return list(pool.map(times_two, points))

def by_joblib(_method, points):
    import joblib
    return joblib.Parallel(n_jobs=2)(joblib.delayed(times_two)(point) for point in points)

def main(i, by, method=None):
    os.chdir("/")  # where nothing can be written
    found = globals()[by](method, [Point(i), Point(7)])
    return [[type(point).__name__, point.x, pid != os.getpid()] for point, pid in found]
"""


@pytest.mark.parametrize(
    ("by", "method"),
    [
        ("by_pool", "fork"),
        ("by_pool", "spawn"),
        ("by_pool", "forkserver"),
        ("by_executor", "spawn"),
        ("by_joblib", None),
    ],
)
def test_functions_and_classes_of_a_script_travel_to_its_processes(
    engine: Engine, by: str, method: str | None
) -> None:
    """Else a Pool would wait for ever: each of its processes ends over what it is handed."""
    parameters = {"by": by, "method": method}
    for factor in (2, 3):  # another text under the module's only name
        source = SCRIPT.replace("2 *", f"{factor} *")
        record = engine.run(source, entry="main", parameters=parameters)
        assert record.value == [["Point", factor, True], ["Point", factor * 7, True]]
