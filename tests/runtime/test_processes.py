"""Processes die, hang or are told to go at any moment: runs end well, or clearly."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fanfold_server.engine import pool
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import EngineUnavailable, RunTimedOut
from fanfold_server.model.outcome import FailureKind
from tests.runtime.bench import Engine, namespace_pid, opened, processes_with, wait_until

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
UNREADABLE = DAEMON.replace(
    "def f(i):",
    """import ctypes
def f(i):
    ctypes.CDLL(None).prctl(15, b"\\xff) \\xfe")  # PR_SET_NAME; any bytes will do""",
)
PID = "import os\ndef f(i): return os.getpid()"


def is_free(home: str) -> bool:
    """Tell whether a worker's directory is gone, and all that was started there."""
    return not processes_with(f"{home}\0") and not Path(home).exists()


def is_gone(engine: Engine, pid: int) -> bool:
    return pid not in map(namespace_pid, engine.family())


@pytest.fixture
def impatient(
    libraries: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """An engine of the test's own that does not wait long for a silent process."""
    monkeypatch.setattr(pool, "SILENCE_S", 0.5)
    with opened(libraries, tmp_path, preload=()) as engine:
        yield engine


def test_runs_go_on_when_their_zygote_is_killed(engine: Engine) -> None:
    """Whoever killed it: what was in hand is tried once more, what waited notices nothing."""
    engine.run(SLOW)
    going = [engine.start(SLOW, count=6) for _ in range(4)]
    wait_until(lambda: all(run.pids for run in going[:1]), "the first run has begun")
    os.kill(engine.zygote_pid(), signal.SIGKILL)
    for run in going:
        assert run.wait().returned == {i: i for i in range(1, 7)}


def test_a_zygote_that_was_stopped_goes_on(engine: Engine) -> None:
    engine.run(PID)
    os.kill(engine.zygote_pid(), signal.SIGSTOP)
    assert engine.run("import os\ndef f(i): os._exit(i)", count=2).failures.keys() == {1, 2}
    assert engine.run(SLOW, count=8, degree=8).returned == {i: i for i in range(1, 9)}


def test_a_worker_that_is_stopped_while_idle_costs_nothing(engine: Engine) -> None:
    pid = engine.run(PID).value
    os.kill(engine.outside(pid), signal.SIGSTOP)
    assert engine.run(PID).value != pid


def test_a_zygote_that_cannot_start_workers_is_replaced(impatient: Engine) -> None:
    worker = impatient.outside(impatient.run(PID).value)
    home = Path(f"/proc/{worker}/cwd").readlink().parent
    home = Path(f"/proc/{worker}/root{home}")  # also where it is a mount of its own
    going = impatient.start(SLOW, count=4)
    mode = home.stat().st_mode
    home.chmod(0)
    try:
        assert going.wait().returned == {1: 1, 2: 2, 3: 3, 4: 4}
        assert impatient.run(SLOW, count=8, degree=8).returned == {i: i for i in range(1, 9)}
    finally:
        with suppress(OSError):  # it is gone with its zygote
            home.chmod(mode)


@pytest.mark.parametrize(
    "source", [SLEEP, DAEMON, UNREADABLE], ids=["sleep", "daemon", "unreadable"]
)
def test_a_cancelled_run_is_gone_with_all_that_it_started(engine: Engine, source: str) -> None:
    going = engine.start(source, count=4, degree=2)
    wait_until(lambda: len(going.pids) == 2, "two workers run")
    homes = [str(Path(f"/proc/{engine.outside(pid)}/cwd").readlink()) for pid in going.pids]
    going.cancel()
    record = going.wait()
    assert record.error is None
    assert not record.texts
    for home in homes:
        wait_until(partial(is_free, home), "all of it is gone")


def test_a_run_has_a_time(engine: Engine) -> None:
    record = engine.run(SLEEP, timeout_s=0.3)
    assert isinstance(record.error, RunTimedOut)
    assert engine.run(SLOW).value == 1


def test_a_failure_ends_a_run_that_wants_it_so(engine: Engine) -> None:
    source = "import time\ndef f(i):\n    if i > 1: time.sleep(1000)\n    return 1 / 0\n"
    record = engine.run(source, count=50, stop_on_failure=True)
    assert record.failures.keys() == {1}


def test_a_worker_serves_its_owner_again_and_nobody_else(engine: Engine) -> None:
    mine = {engine.run(PID).value for _ in range(3)}
    assert len(mine) == 1
    assert not mine & {engine.run(PID, owner="BOB").value for _ in range(3)}


def test_owners_have_user_ids_of_their_own(engine: Engine) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give user ids")
    source = "import os\ndef f(i): return [os.getuid(), os.getgid(), os.getgroups()]"
    ann, bob = (engine.run(source, owner=owner).value for owner in ("ANN", "BOB"))
    assert ann[0] == ann[1] != bob[0] == bob[1]
    assert 0 not in {ann[0], bob[0]}
    assert ann[2] == bob[2] == []


def test_what_a_call_that_is_tried_again_leaves_is_put_back(engine: Engine) -> None:
    """It is the only call of its run, and its run is ended like any other."""
    gate = engine.shared / "once"
    deadly = f"""
        import os
        def f(i):
            try:
                os.close(os.open({str(gate)!r}, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                os.environ["LEFT"] = "1"
                return os.getpid()
            os.kill(os.getpid(), 9)
    """
    pid = engine.run(deadly).value
    look = "import os\ndef f(i): return [os.getpid(), os.environ.get('LEFT')]"
    assert engine.run(look).value == [pid, None]


def test_a_worker_that_retires_costs_the_next_run_no_try(engine: Engine) -> None:
    """The next run may have been given to it before it says so, and has not been begun there."""
    untidy = "import os\ndef f(i): os.dup(0)"
    marks = [engine.shared / f"begun-{n}" for n in range(6)]
    for mark in marks:
        begun = f"def f(i):\n    with open({str(mark)!r}, 'a') as file: file.write('x')"
        engine.run(untidy)
        engine.run(begun)
    assert [mark.read_text() for mark in marks] == ["x"] * 6


def test_anothers_script_runs_in_a_process_that_is_used_once(engine: Engine) -> None:
    mine = engine.run(PID).value
    theirs = [engine.run(PID, caller="BOB").value for _ in range(3)]
    assert len({mine, *theirs}) == 4
    for pid in theirs:
        wait_until(partial(is_gone, engine, pid), "it has ended")


def test_a_worker_that_was_meant_for_one_run_is_put_back_after_others(engine: Engine) -> None:
    """It looks how things are before the first run of its owner's, and not when it starts."""
    leave = """
        import os, warnings
        def f(i):
            os.environ['LEFT'] = 'here'
            os.chdir('/')
            open(os.environ['HOME'] + '/left', 'w').close()
            warnings.simplefilter('error')
            return os.getpid()
    """
    look = """
        import os, warnings
        def f(i):
            here = [os.environ.get('LEFT'), os.getcwd() == os.environ['HOME'], os.listdir()]
            return [os.getpid(), *here, warnings.filters[0][0] == 'error']
    """
    engine.run(PID, owner="DORA", caller="BOB")
    wait_until(partial(engine.has_untouched, "DORA"), "the next one is forked ahead")
    pid = engine.run(leave, owner="DORA").value
    assert engine.run(look, owner="DORA").value == [pid, None, True, [], False]


def test_the_next_process_for_one_run_is_forked_ahead(engine: Engine) -> None:
    """At once where such runs follow one another, else once the run that took the last is done."""
    for caller in ("BOB", "CAROL", "BOB"):
        engine.run(PID, owner="EVE", caller=caller)
    wait_until(partial(engine.has_untouched, "EVE"), "the next one is forked ahead")
    engine.run(PID, owner="EVE", caller="BOB")
    wait_until(partial(engine.has_untouched, "EVE"), "there is one again")


def test_a_worker_begins_in_an_empty_directory_of_its_own(engine: Engine) -> None:
    source = """
        import os, stat, tempfile
        def f(i):
            mode = stat.S_IMODE(os.stat(".").st_mode)
            same = os.getcwd() == os.environ["HOME"] == tempfile.gettempdir()
            return [os.listdir(), mode, same]
    """
    assert engine.run(source).value == [[], 0o700, True]


def test_nothing_of_the_servers_environment_reaches_a_worker(
    libraries: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANFOLD_SECRET", "word")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    source = "import os, sys\ndef f(i): return [sorted(os.environ), '/nowhere' in sys.path]"
    with opened(libraries, tmp_path, preload=()) as engine:
        names, seen = engine.run(source).value
    assert not seen
    assert not {"FANFOLD_SECRET", "PYTHONPATH"} & set(names)


def test_an_environment_that_cannot_start_is_told_with_its_words(
    engine: Engine, tmp_path: Path
) -> None:
    interpreter = tmp_path / "bin" / "python"
    tmp_path.chmod(0o755)
    interpreter.parent.mkdir()
    interpreter.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 3\n")
    interpreter.chmod(0o755)
    broken = Environment(name="broken", prefix=tmp_path, kind="venv")
    for _ in range(2):
        record = engine.run(SLOW, environment=broken)
        assert isinstance(record.error, EngineUnavailable)
        assert "broken" in str(record.error)
        assert "no such library" in str(record.error)
    missing = Environment(name="missing", prefix=tmp_path / "none", kind="venv")
    record = engine.run(SLOW, environment=missing)
    assert isinstance(record.error, EngineUnavailable)
    assert "missing" in str(record.error)


def test_a_script_that_always_kills_its_worker_is_given_up(engine: Engine) -> None:
    """Not once for each of a thousand calls."""
    record = engine.run("import os\ndef f(i): os._exit(3)", count=1_000)
    assert record.error is None
    assert record.failures.keys() == set(range(1, 1_001))
    assert {failure.kind for failure in record.failures.values()} == {FailureKind.LOST}


def test_one_call_in_a_hundred_that_kills_its_worker_is_convicted_alone(engine: Engine) -> None:
    source = "import os\ndef f(i):\n    if i % 100 == 50: os.kill(os.getpid(), 9)\n    return i\n"
    record = engine.run(source, count=1_000, degree=4)
    assert record.failures.keys() == {i for i in range(1, 1_001) if i % 100 == 50}
    assert len(record.texts) == 990


def test_a_worker_that_works_carefully_holds_nothing_else(engine: Engine) -> None:
    """Whoever writes to one that has just died may not get to read what it had reported."""
    died = engine.shared / "died"
    source = f"""
        import os, time
        def f(i):
            if os.path.exists({str(died)!r}):
                time.sleep(0.1)
            elif i == 50_000:
                open({str(died)!r}, "w").close()
                os._exit(3)
    """
    going = engine.start(source, count=500_000)
    careful: list[int] = []

    def look() -> bool:
        workers = [worker for pool in engine.engine.pools for worker in pool.workers.values()]
        hands = [[held.lease.careful for held in worker.held] for worker in workers]
        careful.extend(len(hand) for hand in hands if hand and hand[0])
        return bool(careful)

    wait_until(lambda: engine.call(look), "one works carefully")
    going.cancel()
    assert set(careful) == {1}


@pytest.mark.parametrize("isolation", ["auto", "confined", "basic"])
def test_variables_of_an_environment_reach_nothing_that_has_the_servers_rights(
    libraries: Environment, tmp_path: Path, isolation: str
) -> None:
    """A variable can name a library that every program loads which is started with it.

    The loader is asked for a report instead, which it writes with the rights of each program.
    """
    if os.geteuid() != 0:
        pytest.skip("an ordinary user's server has no other rights than its workers")
    with opened(libraries, tmp_path, isolation=isolation, preload=()) as engine:
        report = engine.shared / "loaded"
        asked = {"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(report), "LAB_LEVEL": "a b\nc"}
        environment = replace(libraries, variables=asked)
        source = "import os\ndef f(i): return [os.environ['LAB_LEVEL'], os.getuid()]"
        assert engine.run(source, environment=environment).value[0] == "a b\nc"
        owners = {path.stat().st_uid for path in engine.shared.glob("loaded.*")}
        assert owners
        assert 0 not in owners
