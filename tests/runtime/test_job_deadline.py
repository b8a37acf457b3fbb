"""The end of a job's time, enforced from outside the interpreter."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil

from fanfold_server.model.environment import Environment
from fanfold_server.model.job import JobState
from fanfold_server.service.dispatching import Dispatcher
from tests.calm import Stopwatch
from tests.fakes.house import ALICE, House, OneEnvironment, opened
from tests.family import offspring
from tests.runtime.bench import small_engine

TIMEOUT_S = 2
DEAD_WITHIN_S = 2.0
STARTS_WITHIN_S = 60
"""Ends a test that would hang: no promise."""

STUBBORN = """
import os, signal, subprocess, sys, time
def f(i):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    if not os.fork():
        os.setsid()
        time.sleep(600)
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
"""


async def test_the_whole_tree_is_dead_soon_after_the_end_of_the_jobs_time(
    tmp_path: Path, libraries: Environment
) -> None:
    async with small_engine(tmp_path, workers=2) as engine, opened(tmp_path, STUBBORN) as house:
        house.environments = OneEnvironment(libraries.prefix)
        async with house.working(engine) as agent:
            await _time_out(house, agent)


async def _time_out(house: House, agent: Dispatcher) -> None:
    us = psutil.Process()
    others = set(us.children())  # another test's database, say
    job = await house.submit(1, timeout_s=TIMEOUT_S)
    zygotes: set[psutil.Process] = set()
    before = time.monotonic()
    while not (zygotes := set(us.children()) - others) or not agent.in_hand:
        assert time.monotonic() - before < STARTS_WITHIN_S
        await asyncio.sleep(0.01)
    tree: set[psutil.Process] = set()
    since_the_end = Stopwatch()
    while not (job := await house.jobs.get(ALICE, job.id)).state.is_final:
        if job.started is None or time.time() < job.started.timestamp() + TIMEOUT_S:
            since_the_end = Stopwatch()
        tree |= {process for child in zygotes for process in offspring(child)}
        await asyncio.sleep(0.01)
    assert job.state is JobState.TIMED_OUT
    assert len(tree) >= 3
    assert since_the_end.counted_s() < DEAD_WITHIN_S
    while any(_lives(process) for process in tree):
        assert since_the_end.counted_s() < DEAD_WITHIN_S
        await asyncio.sleep(0.01)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two questions
        return False
