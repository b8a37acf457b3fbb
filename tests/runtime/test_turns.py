"""Whoever comes later does not wait for the end of whoever came first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fanfold_server.model.environment import Environment
from tests.runtime.bench import Engine, opened

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
