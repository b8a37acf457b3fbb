"""The executor against the documented contract of `concurrent.futures`, on a real server.

What is quoted is the documentation of CPython's `concurrent.futures`. Each law of `Executor` and
`Future` objects is tried on threads, too, so that it is known to be the contract's and not ours.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import fanfold
from fanfold import Client, errors
from fanfold.executor import RemoteTraceback
from fanfold.faults import NotPortable, NotSendable
from tests.acceptance.conftest import PASSWORD, Server
from tests.acceptance.processes import until

LIMIT_S = 120.0

Make = Callable[[], Executor]


def square(x: float) -> float:
    return x * x


def add(a: float, b: float = 10) -> float:
    return a + b


def invert(x: float) -> float:
    return 1 / x


def nap(seconds: float, value: int = 0) -> int:
    import time as clock  # noqa: PLC0415  # a script's imports are inside

    clock.sleep(seconds)
    return value


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, username="alice", password=PASSWORD) as found:
        yield found


@pytest.fixture(params=["threads", "fanfold"])
def make(request: pytest.FixtureRequest, client: Client) -> Make:
    """Make an executor: the standard library's, or ours."""
    if request.param == "threads":
        return lambda: ThreadPoolExecutor(4)
    return lambda: fanfold.Executor(client, max_workers=4)


# ---------------------------------------------------------------------------- the contract of both


def test_submit_gives_the_future_of_the_call(make: Make) -> None:
    """The future stands for the execution of the callable."""
    with make() as executor:
        future = executor.submit(add, 1, b=2)
        assert isinstance(future, Future)
        assert future.result(LIMIT_S) == 3
        assert future.done()
        assert not future.running()
        assert not future.cancelled()
        assert future.exception(LIMIT_S) is None


def test_map_gives_results_in_the_order_of_the_iterables(make: Make) -> None:
    """As `map(fn, *iterables)`, but that the iterables are collected at once."""
    with make() as executor:
        assert list(executor.map(square, range(25))) == [n * n for n in range(25)]
        assert list(executor.map(add, [1, 2, 3], [10, 20])) == [11, 22]
        assert list(executor.map(square, [])) == []
        assert list(executor.map(square, range(5), chunksize=2)) == [0, 1, 4, 9, 16]


def test_map_raises_what_a_call_raised_when_its_value_is_retrieved(make: Make) -> None:
    # 'If a fn call raises an exception, then that exception will be raised when its value is
    # retrieved from the iterator.'
    with make() as executor:
        results = executor.map(invert, [1, 2, 0, 4])
        assert next(results) == 1
        assert next(results) == 0.5
        with pytest.raises(ZeroDivisionError, match="division by zero"):
            next(results)


def test_map_times_out_from_the_call_of_map(make: Make) -> None:
    # 'The returned iterator raises a TimeoutError if __next__() is called and the result isn't
    # available after timeout seconds from the original call to Executor.map().'
    with make() as executor:
        results = executor.map(nap, [0, 3], timeout=1.5)
        with pytest.raises(TimeoutError):
            list(results)


def test_result_and_exception_time_out(make: Make) -> None:
    # 'If the call hasn't completed in timeout seconds, then a TimeoutError will be raised.'
    with make() as executor:
        future = executor.submit(nap, 2)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.05)
        with pytest.raises(TimeoutError):
            future.exception(timeout=0.05)
        assert future.result(LIMIT_S) == 0


def test_an_exception_is_had_from_the_future(make: Make) -> None:
    # 'If the call raised, this method will raise the same exception.'
    with make() as executor:
        future = executor.submit(invert, 0)
        with pytest.raises(ZeroDivisionError):
            future.result(LIMIT_S)
        assert isinstance(future.exception(LIMIT_S), ZeroDivisionError)


def test_callbacks_are_called_in_order_with_the_future(make: Make) -> None:
    # 'Added callables are called in the order that they were added … If the future has already
    # completed or been cancelled, fn will be called immediately.'
    called: list[object] = []
    ended = threading.Event()
    with make() as executor:
        future = executor.submit(square, 3)
        future.add_done_callback(lambda f: called.append(("first", f.result())))
        future.add_done_callback(lambda _: ended.set())
        assert ended.wait(LIMIT_S)
        future.add_done_callback(lambda _: called.append("late"))
    assert called == [("first", 9), "late"]


def test_after_shutdown_nothing_is_taken(make: Make) -> None:
    # 'Calls … made after shutdown will raise RuntimeError.'
    executor = make()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(square, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(square, [1])
    executor.shutdown()


def test_leaving_the_with_waits_for_what_was_submitted(make: Make) -> None:
    # '… waiting as if shutdown were called with wait set to True.'
    with make() as executor:
        futures = [executor.submit(nap, 0.3, value=n) for n in range(3)]
    assert [future.result(0) for future in futures] == [0, 1, 2]


def test_shutdown_without_waiting_lets_pending_calls_end(make: Make) -> None:
    # 'If wait is False then this method will return immediately and the resources associated with
    # the executor will be freed when all pending futures are done executing.'
    executor = make()
    future = executor.submit(nap, 2, value=7)
    executor.shutdown(wait=False)
    assert not future.done()
    assert future.result(LIMIT_S) == 7


def test_a_future_that_is_done_cannot_be_cancelled(make: Make) -> None:
    with make() as executor:
        future = executor.submit(square, 2)
        assert future.result(LIMIT_S) == 4
        assert future.cancel() is False
        assert future.result(0) == 4


def test_wait_and_as_completed_take_these_futures(make: Make) -> None:
    # 'Wait for the Future instances, possibly created by different Executor instances.'
    with make() as executor:
        slow: Future[Any] = executor.submit(nap, 2, value=1)
        quick: Future[Any] = executor.submit(square, 3)
        done, left = wait([slow, quick], LIMIT_S, FIRST_COMPLETED)
        assert quick in done
        assert slow in left
        assert {f.result() for f in as_completed([slow, quick], LIMIT_S)} == {1, 9}
        bad: Future[Any] = executor.submit(invert, 0)
        assert bad in wait([bad], LIMIT_S, FIRST_EXCEPTION).done
        assert wait([slow, quick, bad], LIMIT_S, ALL_COMPLETED).not_done == set()
        with pytest.raises(TimeoutError):
            list(as_completed([executor.submit(nap, 2)], 0.05))


# ------------------------------------------------------------------------------------------ of ours


def test_an_exception_has_the_remote_traceback_as_its_cause(client: Client) -> None:
    """As a ProcessPoolExecutor's has: the frames are those of the function's own source."""
    with fanfold.Executor(client) as executor:
        found = executor.submit(invert, 0).exception(LIMIT_S)
    assert isinstance(found, ZeroDivisionError)
    assert isinstance(found.__cause__, RemoteTraceback)
    assert "return 1 / x" in str(found.__cause__)


def test_a_class_that_python_does_not_have_is_raised_as_a_failed_call(client: Client) -> None:
    source = "def f(x):\n    class Odd(Exception):\n        pass\n    raise Odd(x)\n"
    key = "def g(x):\n    return {}[x]\n"
    with fanfold.Executor(client) as executor:
        with pytest.raises(errors.CallRaised, match="Odd: 5"):
            executor.submit(source, 5).result(LIMIT_S)  # type: ignore[arg-type]  # also a text
        with pytest.raises(KeyError) as missing:
            executor.submit(key, "k").result(LIMIT_S)  # type: ignore[arg-type]
    assert missing.value.args == ("k",)


def test_a_call_that_runs_can_be_cancelled_and_its_job_with_it(client: Client) -> None:
    with fanfold.Executor(client) as executor:
        future = executor.submit(nap, 1000)
        until(future.running, LIMIT_S, "the call runs")
        assert future.cancel()
        assert future.cancelled()
        assert future.cancel()
        with pytest.raises(CancelledError):
            future.result()
        assert future.job_id is not None
        job = client.job(future.job_id)
        until(lambda: job.info().state == "cancelled", LIMIT_S, "the job is cancelled")


def test_a_map_that_is_left_cancels_what_is_left_of_it(client: Client) -> None:
    executor = fanfold.Executor(client)
    results = executor.map(nap, [0, 1000, 1000])
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]  # it is a generator
    job = client.job(executor.job_ids[0])
    until(lambda: job.info().state == "cancelled", LIMIT_S, "the job is cancelled")
    executor.shutdown()


def test_shutdown_can_cancel_what_has_not_begun(client: Client) -> None:
    # 'If cancel_futures is True, this method will cancel all pending futures that the executor
    # has not started running.'
    executor = fanfold.Executor(client)
    futures = [executor.submit(nap, 0.2, value=n) for n in range(3)]
    executor.shutdown(wait=True, cancel_futures=True)
    assert all(future.done() for future in futures)


def test_an_unordered_map_does_not_wait_for_the_slow(client: Client) -> None:
    with fanfold.Executor(client, max_workers=4) as executor:
        results = executor.map(nap, [1000, 0, 0, 0], [1, 2, 3, 4], ordered=False)
        assert sorted(islice(results, 3)) == [2, 3, 4]
        results.close()  # type: ignore[attr-defined]  # it is a generator


def test_a_map_with_a_buffer_sends_no_more_than_that_ahead(client: Client) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(6):
            taken.append(number)
            yield number

    with fanfold.Executor(client) as executor:
        results = executor.map(square, numbers(), buffersize=2)
        assert taken == [0, 1]
        assert next(results) == 0
        assert len(taken) <= 3
        assert list(results) == [1, 4, 9, 16, 25]


def test_the_end_of_the_interpreter_waits_until_what_was_submitted_is_sent(
    server: Server, client: Client
) -> None:
    """No `with`, no `shutdown`: the calls are the server's, and nobody has to wait for them."""
    program = (
        "import fanfold\n"
        "executor = fanfold.Executor(comments='sdk at exit')\n"
        "executor.submit('def slow(x):\\n    import time\\n    time.sleep(2)\\n    return x', 7)\n"
    )
    variables = {
        "FANFOLD_URL": server.url,
        "FANFOLD_USERNAME": "alice",
        "FANFOLD_PASSWORD": PASSWORD,
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert done.stderr == ""
    (job,) = client.jobs.list(comments="sdk at exit")
    assert client.job(job.id).result(LIMIT_S) == [7]


def test_what_the_iterable_raises_is_raised_where_it_is_looked_at(client: Client) -> None:
    def numbers() -> Iterator[int]:
        yield from (1, 2)
        raise LookupError("no third")

    with fanfold.Executor(client) as executor:
        with pytest.raises(LookupError, match="no third"):
            executor.map(square, numbers())
        results = executor.map(square, numbers(), buffersize=1, ordered=False)
        with pytest.raises(LookupError, match="no third"):
            list(results)


def test_calls_of_one_function_go_together(client: Client) -> None:
    with fanfold.Executor(client) as executor:
        futures = [executor.submit(square, n) for n in range(200)]
        assert [future.result(LIMIT_S) for future in futures] == [n * n for n in range(200)]
    assert len(executor.job_ids) < 50


def test_what_cannot_go_is_refused_at_once(client: Client) -> None:
    bound = 5
    with fanfold.Executor(client) as executor:
        with pytest.raises(NotPortable, match="bound"):
            executor.submit(lambda x: x + bound, 1)
        with pytest.raises(NotSendable):
            executor.submit(square, object())
    with pytest.raises(ValueError, match="max_workers"):
        fanfold.Executor(client, max_workers=0)


def test_randomness_of_a_map_follows_from_the_seed(client: Client) -> None:
    def draw(scale: float, rng: Any = None) -> float:
        return scale * float(rng.random())

    with fanfold.Executor(client, seed=5) as executor:
        once = list(executor.map(draw, [1, 1, 1]))
        again = list(executor.map(draw, [1, 1, 1]))
    assert once == again
    assert len(set(once)) == 3


def test_a_server_that_refuses_fails_every_call(server: Server) -> None:
    with (
        Client(server.url, token="wrong") as client,
        fanfold.Executor(client) as executor,
        pytest.raises(errors.Unauthenticated),
    ):
        executor.submit(square, 1).result(LIMIT_S)


# ------------------------------------------------------------------------------ the notebook dies

PROGRAM = """
import os, sys
import fanfold

def half(x):
    import time
    time.sleep(0.003)
    return x / 2

with fanfold.Client() as client:
    executor = fanfold.Executor(client, max_workers=8)
    results = executor.map(half, range(10_000), ordered=False)
    next(results)
    print(*executor.job_ids, flush=True)
    for _ in results:
        pass
"""


def test_a_map_survives_the_death_of_the_process_that_made_it(
    server: Server, client: Client, tmp_path: Path
) -> None:
    """SIGKILL in the middle of 10,000 calls; another process takes the job up, each value once."""
    program = tmp_path / "notebook.py"
    program.write_text(PROGRAM)
    variables = {
        "FANFOLD_URL": server.url,
        "FANFOLD_USERNAME": "alice",
        "FANFOLD_PASSWORD": PASSWORD,
    }
    with subprocess.Popen(
        [sys.executable, program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    ) as notebook:
        assert notebook.stdout is not None
        (job_id,) = notebook.stdout.readline().split()
        notebook.send_signal(signal.SIGKILL)
        notebook.wait(LIMIT_S)
    assert not client.job(job_id).info().has_ended
    seen = [result.index for result in client.job(job_id).as_completed()]
    assert sorted(seen) == list(range(1, 10_001))
    with fanfold.Executor(client) as executor:
        futures = executor.attach(job_id)
        assert [future.result(LIMIT_S) for future in futures] == [n / 2 for n in range(10_000)]
