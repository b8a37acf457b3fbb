"""What a function asks of the server while it runs: answers, limits, and those who cheat."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from fanfold_server.engine import asks
from fanfold_server.engine.limits import Limits
from fanfold_server.engine.local import LocalEngine
from fanfold_server.engine.options import EngineOptions
from fanfold_server.engine.port import Ask
from fanfold_server.engine.running import RunLimits
from fanfold_server.engine.sandbox import Sandbox
from fanfold_server.model.outcome import Failed, Failure
from fanfold_server.service.folding import Gathered
from tests.fakes.answerer import FakeAnswerer
from tests.runtime.bench import ladder
from tests.runtime.test_rows import values, work

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_S = 100
MAX_NEW_FILES = 8
"""Descriptors that the server has for a new worker and its transport."""

ASK = "from fanfold_runtime.asking import ask\n"
RAW = """\
import array, json, os, socket
from fanfold_runtime import asking
side = asking.current._side
def send(data, *files):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    side.sendmsg([data], rights)
def message(**members):
    told = {"ask": 1, "run": asking.current.run, "verb": "echo"}
    return json.dumps(dict(told, **members)).encode()
"""


def make_engine(answerer: FakeAnswerer | None, cache: Any, reuse: str = "auto") -> LocalEngine:
    engine = LocalEngine(
        options=EngineOptions(
            workers=4,
            pools=4,
            max_queued_runs=100,
            reuse=reuse,
            preload=("numpy", "pandas"),
            limits=RunLimits(
                max_len=5000, max_value_bytes=1 << 22, max_log_bytes=4096, refuse_output=False
            ),
        ),
        sandbox=Sandbox(Limits(memory_mib=2048, files=256, processes=256, file_mib=64), ladder()),
        cache=cache,
        spare=None,
        answerer=answerer,
    )
    engine.open()
    return engine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalEngine]:
    engine = make_engine(FakeAnswerer(), tmp_path_factory.mktemp("cache"))
    yield engine
    await engine.close()


@pytest.fixture
def answerer(engine: LocalEngine) -> FakeAnswerer:
    """The module's answerer, as if nobody had asked it before."""
    fake = engine._asks._answerer
    assert isinstance(fake, FakeAnswerer)
    fake.__init__()  # type: ignore[misc]
    return fake


async def until(claim: Callable[[], object]) -> None:
    """Wait until the claim holds; fail when it does not in time."""
    async with asyncio.timeout(LIMIT_S):
        while not claim():  # noqa: ASYNC110  # of what only the engine knows
            await asyncio.sleep(0.005)


def files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # their names alone


async def gathered(engine: LocalEngine, body: str, **more: Any) -> Gathered:
    taken = Gathered()
    async with asyncio.timeout(LIMIT_S):
        await engine.start(work(None, body, **more), taken).done
    return taken


async def failure(engine: LocalEngine, body: str, **more: Any) -> Failure:
    (failed,) = (await gathered(engine, body, **more)).failed
    assert isinstance(failed, Failed)
    return failed.failure


async def value(engine: LocalEngine, body: str, **more: Any) -> Any:
    async with asyncio.timeout(LIMIT_S):
        (found,) = await values(engine, work(None, body, **more))
    return found


# ------------------------------------------------------------------ honest functions


async def test_an_ask_is_answered_within_the_call(
    engine: LocalEngine, answerer: FakeAnswerer
) -> None:
    assert await value(engine, ASK + "return ask('echo', a=1, b=[None, 'ü'])") == [
        {"a": 1, "b": [None, "ü"]},
        None,
    ]
    assert answerer.asked == [("ALICE", "echo", {"a": 1, "b": [None, "ü"]})]


async def test_files_go_both_ways(engine: LocalEngine, answerer: FakeAnswerer) -> None:
    """What is large is never copied through the socket."""
    body = """\
import fcntl, os
file = os.memfd_create("x", os.MFD_ALLOW_SEALING)
os.write(file, b"handed over")
fcntl.fcntl(file, 1033, 14)
told, none = ask("give", payload=file)
os.close(file)
_, taken = ask("take")
empty = os.read(taken, 10)
os.close(taken)
return [told, none, len(empty), len(ask("large")[0])]"""
    assert await value(engine, ASK + body) == ["handed over", None, 0, 1_000_000]
    assert answerer.under_way == 0


@pytest.mark.parametrize(
    ("verb", "kind", "said"),
    [
        ("missing", "oml.Refused", "There is no such table."),
        ("away", "oml.Unavailable", "The data process is not there"),
        ("broken", "oml.Unavailable", "The server met an error"),
    ],
)
async def test_what_the_server_says_is_raised(
    engine: LocalEngine, verb: str, kind: str, said: str
) -> None:
    failed = await failure(engine, ASK + f"ask({verb!r})")
    assert failed.type == kind
    assert failed.message.startswith(said)
    caught = (
        f"try:\n    ask({verb!r})\nexcept (ValueError, RuntimeError) as exc:\n    return exc.code"
    )
    assert await value(engine, ASK + caught) in {2041, 5007, 5001}


async def test_threads_of_a_call_may_ask_and_what_is_printed_is_kept(
    engine: LocalEngine, answerer: FakeAnswerer
) -> None:
    body = """\
import threading
found = []
def one(i):
    print("asks", i)
    found.append(ask("echo", i=i)[0]["i"])
threads = [threading.Thread(target=one, args=(i,)) for i in range(20)]
[t.start() for t in threads], [t.join() for t in threads]
return sorted(found)"""
    assert await value(engine, ASK + body) == list(range(20))
    assert answerer.most == 1


async def test_a_signal_handler_that_raises_leaves_no_answer_behind(engine: LocalEngine) -> None:
    """The next ask, and the files of the next run, are not taken for what nobody waits for."""
    body = """\
import signal
class Late(Exception): pass
def raises(*_):
    raise Late
signal.signal(signal.SIGALRM, raises)
signal.setitimer(signal.ITIMER_REAL, 0.005)
try:
    ask("pause", n=1)
except Late:
    pass
return ask("echo", n=2)[0]"""
    assert await value(engine, ASK + body) == {"n": 2}


async def test_a_signal_handler_that_asks_in_the_middle_of_an_ask_is_told_so(
    engine: LocalEngine,
) -> None:
    """It runs within the other ask, which would wait for it for ever, and it for that."""
    body = """\
import signal
inner = []
def handler(*_):
    try: ask("echo", n=1)
    except NotImplementedError as exc: inner.append(str(exc)[:40])
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.005)
outer = ask("pause", n=2)[0]
return [inner, outer]"""
    assert await value(engine, ASK + body) == [
        ["a signal handler cannot use oml while th"],
        {"n": 2},
    ]


async def test_many_workers_ask_at_once(engine: LocalEngine, answerer: FakeAnswerer) -> None:
    taken = Gathered()
    body = ASK + "return ask('pause', n=1)[0]['n']"
    many = replace(work(None, body), indexed=False, start=1, count=40, degree=4)
    async with asyncio.timeout(LIMIT_S):
        await engine.start(many, taken).done
    assert not taken.failed
    assert 1 < answerer.most <= asks.ASKS_AT_ONCE


# ------------------------------------------------------------------ the end of runs


async def test_a_run_that_is_cancelled_ends_its_ask(
    engine: LocalEngine, answerer: FakeAnswerer
) -> None:
    taken = Gathered()
    running = engine.start(work(None, ASK + "ask('wait')"), taken)
    await until(lambda: answerer.asked)
    running.cancel()
    await until(lambda: answerer.ended)
    assert await value(engine, "return 1") == 1


async def test_an_ask_counts_to_the_limit_of_its_call(
    engine: LocalEngine, answerer: FakeAnswerer
) -> None:
    failed = await failure(engine, ASK + "ask('wait')", call_timeout_s=0.3)
    assert failed.type == "CallTimedOut"
    await until(lambda: answerer.ended)


async def test_a_thread_that_outlives_its_run_asks_in_vain(
    engine: LocalEngine, answerer: FakeAnswerer
) -> None:
    """Neither as the run that has ended nor as the next."""
    left = (
        ASK
        + """\
import threading, time
def late():
    while True:
        time.sleep(0.001)
        try: ask("late")
        except Exception: pass
threading.Thread(target=late, daemon=True).start()
time.sleep(0.05)
return 1"""
    )
    assert await value(engine, left) == 1
    before = len(answerer.asked)
    for number in range(20):
        assert await value(engine, f"import time; time.sleep(0.002); return {number}") == number
    assert len(answerer.asked) - before <= 1  # one may have been on its way


async def test_a_forked_child_cannot_ask(engine: LocalEngine) -> None:
    body = """\
import multiprocessing
def child(queue):
    try: queue.put(ask("echo"))
    except Exception as exc: queue.put(type(exc).__module__ + "." + type(exc).__name__)
context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
process = context.Process(target=child, args=(queue,))
process.start()
told = queue.get()
process.join()
return [told, ask("echo", still=1)[0]]"""
    assert await value(engine, ASK + body) == ["oml.NotAvailable", {"still": 1}]


# ------------------------------------------------------------------ those who cheat


@pytest.mark.parametrize(
    "attack",
    [
        "send(b'')",
        "send(b'{')",
        "send(b'[1]')",
        "send(b'\\xff')",
        "send(b'[' * 100_000)",
        "send(message(run='1'))",
        "send(message(ask=None))",
        "send(message(verb=['x']))",
        "send(message() + b' ' * (128 << 10))",
        "send(message(), os.open('/dev/zero', os.O_RDONLY))",
        "send(message(), *os.pipe())",
        "send(message(), os.memfd_create('x', os.MFD_ALLOW_SEALING))",
        "send(message(), *[os.dup(0) for _ in range(60)])",
    ],
)
async def test_a_forged_ask_ends_its_process_and_nothing_else(
    engine: LocalEngine, answerer: FakeAnswerer, attack: str
) -> None:
    """Files that come with one are closed: the server has so many descriptors as before."""
    other = asyncio.ensure_future(value(engine, ASK + "return ask('pause', n=7)[0]", caller="BOB"))
    before = files()
    taken = await gathered(engine, RAW + attack + "\nimport time\ntime.sleep(0.5)")
    assert answerer.asked in ([], [("BOB", "pause", {"n": 7})])
    assert await other == {"n": 7}
    assert taken.failed[0].failure.type == "WorkerLost"
    await until(lambda: len(files() - before) <= MAX_NEW_FILES)


async def test_a_file_is_closed_though_its_worker_ends_before_it_is_looked_at(
    engine: LocalEngine,
) -> None:
    """The task that works for the ask is cancelled before it has begun."""
    going = engine.start(work(None, "import time; time.sleep(600)"), Gathered())
    await until(lambda: going.workers)
    (worker,) = going.workers
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as other_end:
        engine._asks.take(worker, Ask(run=going.number, verb="echo", members={}, payload=theirs))
        worker.side.close()
        os.set_blocking(ours, False)
        await until(lambda: other_end.read() == b"")  # None: somebody could still write to it
    going.cancel()
    await going.done


async def test_an_ask_for_another_run_is_refused(
    engine: LocalEngine, answerer: FakeAnswerer
) -> None:
    body = RAW + "asking.current.run += 1\nasking.ask('echo')"
    failed = await failure(engine, body)
    assert "The run has ended" in failed.message
    assert answerer.asked == []


async def test_who_asks_and_never_reads_is_ended(engine: LocalEngine) -> None:
    body = RAW + "while True:\n    send(message(pad='x' * 100_000))"
    taken = await gathered(engine, body)
    assert taken.failed[0].failure.type == "WorkerLost"
    assert await value(engine, "return 1") == 1


async def test_a_thousand_asks_are_answered_and_the_next_is_refused(
    engine: LocalEngine, answerer: FakeAnswerer
) -> None:
    most = 10 * asks.ASKS_A_CALL
    body = f"for i in range({most}): ask('echo', i=i)\nask('echo')"
    failed = await failure(engine, ASK + body)
    assert f"The run has asked {most} times, its limit" in failed.message
    assert len(answerer.asked) == most


async def test_another_accounts_script_asks_as_its_caller_in_a_process_of_its_own(
    engine: LocalEngine, answerer: FakeAnswerer
) -> None:
    assert await value(engine, ASK + "return ask('echo')[0]", caller="BOB") == {}
    assert answerer.asked == [("BOB", "echo", {})]


async def test_nobody_asks_as_another_from_a_process_that_served_somebody_else(
    tmp_path: Any,
) -> None:
    """With `reuse` "warm", what an owner's run has left could speak for the next caller."""
    answerer = FakeAnswerer()
    warm = make_engine(answerer, tmp_path, reuse="warm")
    try:
        failed = await failure(warm, ASK + "ask('echo')", caller="BOB")
        assert 'its setting "reuse" is "warm"' in failed.message
        assert await value(warm, ASK + "return ask('echo')[0]") == {}
        assert [caller for caller, *_ in answerer.asked] == ["ALICE"]
    finally:
        await warm.close()


async def test_an_engine_without_an_answerer_says_so(tmp_path: Any) -> None:
    mute = make_engine(None, tmp_path)
    try:
        failed = await failure(mute, ASK + "ask('echo')")
        assert failed.message == "This server answers nothing that functions ask."
    finally:
        await mute.close()


async def test_what_a_script_puts_into_oml_is_gone_after_its_run(engine: LocalEngine) -> None:
    body = "import oml\noml.sync = oml.ds.load = oml.mine = 1\nreturn 1"
    assert await value(engine, body) == 1
    look = "import oml, os\nreturn [callable(oml.sync), callable(oml.ds.load), 'mine' in vars(oml)]"
    assert await value(engine, look) == [True, True, False]
