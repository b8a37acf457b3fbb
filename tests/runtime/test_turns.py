"""Whoever comes later does not wait for the end of whoever came first."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fanfold_server.model.environment import Environment
from tests.runtime.bench import Engine, opened, wait_until

BURN = """
def f(i):
    import time
    time.sleep(0.02)
    return i
"""
LONG = 200


@pytest.fixture(scope="module")
def narrow(libraries: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that has two workers for everyone."""
    with opened(libraries, tmp_path_factory.mktemp("cache"), workers=2) as engine:
        yield engine


@pytest.mark.parametrize("degree", [1, 2])
def test_a_long_run_makes_room_at_the_end_of_a_lease(narrow: Engine, degree: int) -> None:
    """Two runs that would fill both workers for seconds, and a third that comes later."""
    assert narrow.run("def f(i): return i", owner="BOB").value == 1  # BOB's workers can start
    long = [narrow.start(BURN, count=LONG, degree=degree, owner=f"ANN{n}") for n in range(2)]
    assert narrow.run("def f(i): return i", owner="BOB").value == 1
    assert all(len(started.record.texts) < LONG for started in long), "it waited for their end"
    for started in long:
        assert started.wait().returned == {i: i for i in range(1, LONG + 1)}


def test_who_has_no_worker_is_not_passed_over_for_who_has(
    libraries: Environment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """More workers than processors: a process more is started late, and no place was left then."""
    cache = tmp_path_factory.mktemp("cache")
    with opened(libraries, cache, workers=2, cores=1, preload=()) as engine:
        for owner in ("ANN", "BOB"):  # their zygotes are ready
            assert engine.run("def f(i): return i", owner=owner).value == 1
        engine.call(lambda: _end_idle_workers(engine))
        nap = BURN.replace("0.02", "0.05")
        going = [engine.start(nap, owner="ANN") for _ in range(20)]
        wait_until(lambda: len(engine.workers()) == 2, "ANN has all the workers there may be")
        late = engine.start("def f(i): return i", owner="BOB")
        for _ in range(200):  # ANN always has some that wait
            if late.record.texts:
                break
            going.append(engine.start(nap, owner="ANN"))
            going.pop(0).wait()
        assert late.record.texts, "it waits for as long as others come"
        for started in (*going, late):
            assert started.wait().error is None


def _end_idle_workers(engine: Engine) -> None:
    for pool in engine.engine.pools:
        pool.trim(time.monotonic() + 1e6, 0, 0.0)
