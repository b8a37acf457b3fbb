"""The limit of one call, enforced from outside the interpreter."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fanfold_server.engine.local import LocalEngine
from fanfold_server.engine.port import Work
from fanfold_server.model.environment import Environment
from fanfold_server.model.outcome import FailureKind
from fanfold_server.service.folding import Gathered
from tests.calm import Stopwatch
from tests.fakes.words import script_of
from tests.runtime.bench import small_engine

LIMIT_S = 0.4
SLACK_S = 2.0


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[LocalEngine]:
    async with small_engine(tmp_path, workers=4) as engine:
        yield engine


def _work(source: str, *, count: int, call_timeout_s: float | None) -> Work:
    return Work(
        script=script_of(source),
        environment=Environment(name="default", prefix=Path(sys.prefix), kind="venv"),
        caller="ALICE",
        start=1,
        count=count,
        indexed=True,
        parameters=b"{}",
        degree=1,
        seed=7,
        graphics=False,
        keep_point_zero=False,
        keep_logs=False,
        stop_on_failure=False,
        timeout_s=50.0,
        call_timeout_s=call_timeout_s,
    )


async def test_only_the_call_that_takes_too_long_fails(engine: LocalEngine) -> None:
    """Its neighbours, before and after, have their values."""
    source = """
import time
def f(i):
    while i in (3, 7):
        pass
    return i
"""
    gathered = Gathered()
    watch = Stopwatch()
    await engine.start(_work(source, count=10, call_timeout_s=LIMIT_S), gathered).done
    assert watch.counted_s() < 2 * LIMIT_S + SLACK_S
    assert sorted(f.index for f in gathered.failed) == [3, 7]
    assert {f.failure.kind for f in gathered.failed} == {FailureKind.TIMED_OUT}
    texts = b",".join(v.json for v in sorted(gathered.values_, key=lambda v: v.start))
    assert texts == b"1,2,4,5,6,8,9,10"


async def test_many_calls_that_take_too_long_do_not_give_the_run_up(engine: LocalEngine) -> None:
    source = "import time\ndef f(i):\n    time.sleep(60 if i <= 25 else 0)\n    return i\n"
    gathered = Gathered()
    await engine.start(_work(source, count=26, call_timeout_s=0.1), gathered).done
    assert [f.index for f in gathered.failed] == list(range(1, 26))
    assert [v.json for v in gathered.values_] == [b"26"]


async def test_time_is_counted_for_each_call_anew(engine: LocalEngine) -> None:
    source = "import time\ndef f(i):\n    time.sleep(0.2)\n    return i\n"
    gathered = Gathered()
    await engine.start(_work(source, count=10, call_timeout_s=1.5), gathered).done
    assert gathered.failed == []
