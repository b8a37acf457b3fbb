"""An engine that closes takes everything along, whatever is going on.

The workbench proves that no process, no file and no descriptor is left.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest

from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import ShuttingDown
from tests.runtime.bench import opened, wait_until

SLEEP = "import time\ndef f(i):\n    time.sleep(1000)\n"
SLOW = "import time\ndef f(i):\n    time.sleep(0.02)\n    return i\n"
DAEMON = """
import os, time
def f(i):
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    time.sleep(1000)
"""


@pytest.mark.parametrize("source", [SLEEP, DAEMON, SLOW], ids=["sleep", "daemon", "slow"])
def test_an_engine_that_closes_takes_everything_along(
    libraries: Environment, tmp_path: Path, source: str
) -> None:
    with opened(libraries, tmp_path, preload=()) as engine:
        going = [engine.start(source, count=100, owner=owner) for owner in ("ANN", "BOB")]
        wait_until(lambda: all(run.pids for run in going), "both runs have begun")
    for run in going:
        assert isinstance(run.record.error or run.peek(), ShuttingDown)


def test_an_engine_may_close_before_anything_has_started(
    libraries: Environment, tmp_path: Path
) -> None:
    with opened(libraries, tmp_path, alone=True) as engine:
        engine.start(SLOW, count=3)


def test_a_run_need_not_be_waited_for(libraries: Environment, tmp_path: Path) -> None:
    """Its end is no fault of the event loop's, even if nobody has asked how it ended."""
    with opened(libraries, tmp_path, preload=()) as engine:
        engine.start(SLEEP)
    gc.collect()
    assert not engine.faults


def test_what_was_opened_for_an_environment_that_is_gone_is_closed(
    libraries: Environment, tmp_path: Path
) -> None:
    """At once, and not when the garbage collector comes by, which would warn."""
    gone = replace(libraries, use=tmp_path / "gone")
    with opened(libraries, tmp_path, preload=()) as engine:
        assert engine.run(SLOW, environment=gone).error is not None
        gc.collect()


def test_an_engine_may_close_while_workers_start(libraries: Environment, tmp_path: Path) -> None:
    """At any moment between the word of a zygote and that of its workers."""
    for moment in range(8):
        with opened(libraries, tmp_path, preload=(), alone=True) as engine:
            engine.start(SLOW, count=100, degree=8)
            wait_until(
                lambda: bool(engine.workers()),  # it is called at once
                "workers are starting",
            )
            for _ in range(moment):
                engine.call(lambda: None)
