"""How many threads numerical libraries use follows from the run, and is really what they use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fanfold_server.engine.sandbox import THREAD_LIMITS
from fanfold_server.model.environment import Environment
from tests.runtime.bench import Engine, opened

CORES = 4
COUNT = """
import ctypes, os
import numpy as np
def openblas():
    for line in open('/proc/self/maps'):
        if 'openblas' in line.rpartition('/')[2]:
            return ctypes.CDLL('/' + line.rstrip().partition('/')[2])
def count():
    a = np.ones((600, 600))
    a @ a
    said = openblas().scipy_openblas_get_num_threads64_()
    return [said, len(os.listdir('/proc/self/task')) >= said, os.environ['OMP_NUM_THREADS']]
def f(i): return count()
def g(): return count()
"""
ONCE: dict[str, Any] = {"indexed": False, "start": 0, "entry": "g"}


def is_so(found: list[Any], threads: int) -> bool:
    """Say whether a call found so many; OpenBLAS takes no more than processors when it is loaded.

    What is set later, it takes as it is.
    """
    said, has_started, variable = found
    real = min(threads, len(os.sched_getaffinity(0)))
    return said in {threads, real} and has_started and variable == str(threads)


@pytest.fixture(params=["preloaded", "imported by the call"])
def preload(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What a zygote has loaded has its threads already, and one."""
    return ("numpy",) if request.param == "preloaded" else ()


@pytest.fixture
def usual(libraries: Environment, tmp_path: Path, preload: tuple[str, ...]) -> Iterator[Engine]:
    with opened(libraries, tmp_path, preload=preload, cores=CORES) as engine:
        yield engine


def test_one_call_has_all_processors_and_each_of_many_has_one(usual: Engine) -> None:
    """In the same worker, in turn: what one run has set is not left to the next."""
    for _ in range(2):
        assert is_so(usual.run(COUNT, **ONCE).value, 4)
        many = usual.run(COUNT, count=3, degree=1).returned
        assert all(is_so(found, 1) for found in many.values())
    assert len(usual.workers()) == 1


@pytest.mark.parametrize("caller", ["ALICE", "BOB"])
def test_a_script_that_cannot_reach_numpy_starts_no_threads(
    libraries: Environment, tmp_path: Path, caller: str
) -> None:
    """A thread that has been started looks for work for a while, on a processor that others need.

    Whoever reaches it by a parameter, or by rows, has them.
    """
    told = "open('/proc/self/status').read().partition('Threads:')[2].split()[0]"
    alone = f"def f(): return int({told})\n"
    given = f"def f(rng): return int({told})\n"
    once = ONCE | {"entry": "f", "owner": "ALICE", "caller": caller}
    with opened(libraries, tmp_path, preload=("numpy",), cores=CORES) as engine:
        assert engine.run(alone, **once).value == 1
        assert engine.run(given, **once).value > 1
        assert is_so(engine.run(COUNT, **ONCE, owner="ALICE", caller=caller).value, 4)


def test_the_threads_follow_the_degree_if_that_is_asked_for(
    libraries: Environment, tmp_path: Path, preload: tuple[str, ...]
) -> None:
    with opened(libraries, tmp_path, preload=preload, cores=CORES, threads=0) as engine:
        for degree, threads in ((1, 4), (2, 2), (3, 1), (8, 1)):
            many = engine.run(COUNT, count=8, degree=degree).returned
            assert all(is_so(found, threads) for found in many.values())
        batch = engine.run(COUNT, count=1, degree=1, beside=2).value  # of a job with that degree
        assert is_so(batch, 2)


def test_a_number_that_is_set_holds_for_all_runs(
    libraries: Environment, tmp_path: Path, preload: tuple[str, ...]
) -> None:
    with opened(libraries, tmp_path, preload=preload, cores=CORES, threads=3) as engine:
        assert is_so(engine.run(COUNT, **ONCE).value, 3)
        assert is_so(engine.run(COUNT).value, 3)


def test_an_environment_may_say_it_itself(libraries: Environment, tmp_path: Path) -> None:
    variables = dict.fromkeys(THREAD_LIMITS, "2")
    own = replace(libraries, variables=variables)
    with opened(own, tmp_path, preload=("numpy",), cores=CORES) as engine:
        assert is_so(engine.run(COUNT, **ONCE).value, 2)
        assert is_so(engine.run(COUNT).value, 2)


def test_there_are_no_more_threads_than_the_limits_allow(
    libraries: Environment, tmp_path: Path
) -> None:
    """A library that cannot have its thread hangs or ends the process."""
    with opened(libraries, tmp_path, preload=("numpy",), cores=64, processes=48) as engine:
        assert is_so(engine.run(COUNT, **ONCE).value, 3)
    with opened(libraries, tmp_path, preload=("numpy",), cores=64, cpus=1.5) as engine:
        assert is_so(engine.run(COUNT, **ONCE).value, 2)


def test_no_value_depends_on_the_degree(libraries: Environment, tmp_path: Path) -> None:
    """Sums of products do on the number of threads, in their last digits."""
    source = """
        import numpy as np
        def f(i):
            x = np.random.rand(200_000)
            return (x @ x).hex()
    """
    with opened(libraries, tmp_path, preload=("numpy",), cores=CORES) as engine:
        alone = engine.run(source, count=6, degree=1).returned
        assert engine.run(source, count=6, degree=4).returned == alone
