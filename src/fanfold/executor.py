"""`fanfold.Executor`: the executor of `concurrent.futures` whose calls run on the server.

Code for a `ProcessPoolExecutor` moves over by one line. The calls are those of a durable job: when
the process that made them has died, another one takes the job up by its id and has every result.

What is as in `concurrent.futures` is tested against the words of its documentation. What is not:

- functions, arguments and results travel as text and JSON, never as pickles: a function has to
  stand alone, a tuple arrives as a list;
- a call that runs can still be cancelled: its future is, at once, and when no future of a job is
  left the job is, too;
- the interpreter's end waits until what was submitted is sent, and no longer: the jobs go on.

Calls that are submitted while the ones before them are being sent go together, as one job.
"""

from __future__ import annotations

import ast
import atexit
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor as BaseExecutor
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FuturesTimeoutError  # another one up to 3.10
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from fanfold.client import Client
from fanfold.faults import FanfoldError, JobCancelled
from fanfold.functions import ADHOC, FOR_EXECUTOR, Source, source_of
from fanfold.futures import RemoteFuture, RemoteTraceback, failure_of_job
from fanfold.jobs import Job
from fanfold.records import JobInfo
from fanfold.transport import Blocking
from fanfold.values import json_text

__all__ = ["Executor", "RemoteFuture", "RemoteTraceback"]

T = TypeVar("T")

MOST_CALLS = 100_000
MOST_BYTES = 4 << 20
"""Of one job: what is more becomes a second one."""

_LEVELS = ((2, "LOW"), (4, "MEDIUM"))

_WRAPPER = """

_fanfold_calls = None


def {wrapper}(index, calls{rng}):
    global _fanfold_calls
    if _fanfold_calls is None:
        import json

        _fanfold_calls = json.loads(calls)
    args, kwargs = _fanfold_calls[index - 1]
{given}    return {name}(*args, **kwargs)
"""
"""The arguments come as one text, which a worker reads once, however many calls it runs."""

_GIVEN = '    kwargs = {"rng": rng, **kwargs}\n'


@dataclass(frozen=True)
class _Call:
    """A call that waits to be sent; `text` is its arguments as JSON."""

    source: Source
    text: str
    future: RemoteFuture[Any]


class Executor(BaseExecutor):
    """Runs calls on a server.

    Args:
        client: of the server; by default a `Client()` of its own, which it closes.
        max_workers: calls at the same time; the server's service levels cap it at 2, 4, 8.
        options: of the runs, such as `seed=7` or `environment="ml"`; see `fanfold.Options`.
    """

    def __init__(
        self, client: Client | None = None, max_workers: int | None = None, **options: Any
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._own = client is None
        self._client = Client(progress=False) if client is None else client
        level = next(
            (name for most, name in _LEVELS if max_workers is not None and max_workers <= most),
            "HIGH",
        )
        chosen: dict[str, Any] = {"service": level, "on_error": "continue", "check": False}
        self._runs = self._client.background.using(**{**chosen, **options})
        self._degree = True if max_workers is None else max_workers
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[list[_Call] | None] = queue.SimpleQueue()
        self._sender: threading.Thread | None = None
        self._followings: list[_Following] = []
        self._sources: dict[Callable[..., Any] | str, Source] = {}
        self._is_shut = False
        self._drops = False
        self._is_ending = False
        self.job_ids: list[str] = []
        """The jobs that the calls so far are part of, in the order of sending."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> RemoteFuture[T]:
        """Have `fn(*args, **kwargs)` run on the server; give its future.

        Raises:
            RuntimeError: the executor is shut down.
            NotPortable: the function cannot stand alone.
            NotSendable: an argument has no JSON form.
        """
        return self._put(fn, [(args, kwargs)])[0]

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        ordered: bool = True,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Give `map(fn, *iterables)`; the calls begin at once.

        Args:
            timeout: seconds from now, after which the iterator raises TimeoutError.
            chunksize: means nothing here, as for threads: the server cuts the calls by itself.
            ordered: in the order of the iterables; else as the calls end.
            buffersize: calls that are sent ahead of the results that were taken; None: all.

        Raises:
            what a call has raised, when its result is taken.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else time.monotonic() + timeout
        arguments = zip(*iterables)  # noqa: B905  # the shortest one ends it, as for `map`
        first = list(arguments) if buffersize is None else list(islice(arguments, buffersize))
        futures = self._put(fn, [(args, {}) for args in first])
        following = iter(()) if buffersize is None else arguments
        if ordered:
            return self._in_order(fn, futures, following, deadline)
        return self._as_completed(fn, futures, following, deadline)

    def attach(self, job_id: str) -> list[RemoteFuture[Any]]:
        """Take up a job of an executor that is gone: the futures of its calls, in their order."""
        job = self._client.job(job_id)
        futures: list[RemoteFuture[Any]] = [RemoteFuture() for _ in range(job.info().times)]
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._follow(job, futures)
        return futures

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. With `wait`, come back when all of them have their outcome."""
        with self._lock:
            first, self._is_shut = not self._is_shut, True
            self._drops = self._drops or cancel_futures
            if first:
                self._calls.put(None)
        if cancel_futures:
            for following in list(self._followings):
                following.cancel_waiting()
        if not wait:
            return
        if self._sender is not None:
            self._sender.join()
            atexit.unregister(self._send_rest)
        for following in list(self._followings):
            following.thread.join()
        if self._own:
            self._client.close()

    # -------------------------------------------------------------------------------------- inside

    def _put(
        self, fn: Callable[..., T], calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    ) -> list[RemoteFuture[T]]:
        """Have calls sent, as one job; give their futures."""
        texts = [json_text(call, "the arguments") for call in calls]
        futures: list[RemoteFuture[T]] = [RemoteFuture() for _ in texts]
        with self._lock:
            if self._is_shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if fn not in self._sources:
                self._sources[fn] = source_of(fn)
            source = self._sources[fn]
            together = [
                _Call(source, text, future) for text, future in zip(texts, futures, strict=True)
            ]
            self._calls.put(together)
            if self._sender is None:
                self._sender = threading.Thread(
                    target=self._send_all, name="fanfold-executor", daemon=True
                )
                self._sender.start()
                atexit.register(self._send_rest)
        return futures

    def _send_rest(self) -> None:
        """At the interpreter's end, see to it that nothing is lost that was submitted.

        Nobody can be told of outcomes any more: from 3.12 on no thread can be started now.
        """
        with self._lock:
            self._is_ending = True
            first, self._is_shut = not self._is_shut, True
            if first:
                self._calls.put(None)
        if self._sender is not None:
            self._sender.join()

    def _in_order(
        self,
        fn: Callable[..., T],
        futures: list[RemoteFuture[T]],
        following: Iterator[tuple[Any, ...]],
        deadline: float | None,
    ) -> Iterator[T]:
        waiting = futures[::-1]
        try:
            while waiting:
                future = waiting.pop()
                for args in following:
                    waiting.insert(0, self.submit(fn, *args))
                    break
                try:
                    yield _result(future, deadline)
                finally:
                    future.cancel()
        finally:
            for future in waiting:
                future.cancel()

    def _as_completed(
        self,
        fn: Callable[..., T],
        futures: list[RemoteFuture[T]],
        following: Iterator[tuple[Any, ...]],
        deadline: float | None,
    ) -> Iterator[T]:
        done: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
        left = set(futures)
        for future in futures:
            future.add_done_callback(done.put)
        try:
            while left:
                for args in following:
                    more = self.submit(fn, *args)
                    left.add(more)
                    more.add_done_callback(done.put)
                    break
                try:
                    ended = done.get(timeout=_left(deadline))
                except queue.Empty:
                    raise FuturesTimeoutError from None
                left.discard(ended)
                yield ended.result()
        finally:
            for future in left:
                future.cancel()

    def _send_all(self) -> None:
        """Send calls as jobs, those of the same function together, to the end."""
        is_open = True
        while is_open:
            batches = [self._calls.get()]
            while not self._calls.empty():
                batches.append(self._calls.get())
            is_open = None not in batches
            by_source: dict[Source, list[_Call]] = {}
            for call in (call for batch in batches for call in batch or ()):
                if self._drops:
                    call.future.cancel()
                elif not call.future.cancelled():
                    by_source.setdefault(call.source, []).append(call)
            for source, together in by_source.items():
                for some in _parts(together):
                    self._send(source, some)

    def _send(self, source: Source, calls: Sequence[_Call]) -> None:
        arguments = "[" + ",".join(call.text for call in calls) + "]"
        try:
            stored = self._client.scripts.publish(
                _wrapped(source), _wrapper_name(source), description="sent by an executor"
            )
            job = self._runs.index_apply(
                len(calls), stored.name, parallel=self._degree, calls=arguments
            )
        except FanfoldError as exc:
            for call in calls:
                call.future.fail(exc)
            return
        self._follow(job, [call.future for call in calls])

    def _follow(self, job: Job[Blocking], futures: list[RemoteFuture[Any]]) -> None:
        self.job_ids.append(job.id)
        if self._is_ending:
            return
        following = _Following(job, futures)
        self._followings.append(following)
        following.thread.start()


class _Following:
    """Settles the futures of a job as its calls end, on a thread of its own."""

    def __init__(self, job: Job[Blocking], futures: list[RemoteFuture[Any]]) -> None:
        self._job = job
        self._futures = futures
        self._lock = threading.Lock()
        for index, future in enumerate(futures, 1):
            future.belong(job.id, index, self._forget)
        self._left = sum(not future.done() for future in futures)
        self.thread = threading.Thread(target=self._settle, name=f"job {job.id}", daemon=True)

    def cancel_waiting(self) -> None:
        """Cancel the calls of a job that has not begun."""
        for future in self._futures:
            if not future.running():
                future.cancel()

    def _settle(self) -> None:
        missing: FanfoldError
        try:
            for result in self._job.as_completed(self._told):
                with self._lock:
                    self._left -= self._futures[result.index - 1].settle(result)
            if all(future.done() for future in self._futures):
                return
            info = self._job.info()
            missing = JobCancelled(f"Job {self._job.id} is {info.state}.")
            if info.error is not None and info.state != "cancelled":
                missing = failure_of_job(info.error, missing.message)
        except FanfoldError as exc:
            missing = exc
        for future in self._futures:
            future.fail(missing)

    def _told(self, info: JobInfo) -> None:
        if info.state != "queued":
            for future in self._futures:
                future.began()

    def _forget(self) -> None:
        """A future was cancelled; when none is left, nobody wants the job any more."""
        with self._lock:
            self._left -= 1
            if self._left > 0:
                return
        threading.Thread(target=self._cancel_job, daemon=True).start()

    def _cancel_job(self) -> None:
        try:
            self._job.cancel()
        except FanfoldError:  # it has ended meanwhile, or nobody can be told
            return


def _wrapper_name(source: Source) -> str:
    return FOR_EXECUTOR + source.adhoc_name.removeprefix(ADHOC)


def _wrapped(source: Source) -> str:
    """Write the script of a function: it, and what takes its arguments out of all."""
    definitions = [
        node for node in ast.parse(source.text).body if isinstance(node, ast.FunctionDef)
    ]
    taken = next(node.args for node in reversed(definitions) if node.name == source.name)
    wants_rng = "rng" in {arg.arg for arg in (*taken.args, *taken.kwonlyargs)}
    return source.text.rstrip("\n") + _WRAPPER.format(
        wrapper=_wrapper_name(source),
        name=source.name,
        rng=", rng" if wants_rng else "",
        given=_GIVEN if wants_rng else "",
    )


def _result(future: Future[T], deadline: float | None) -> T:
    return future.result(_left(deadline))


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


def _parts(calls: Sequence[_Call]) -> Iterator[Sequence[_Call]]:
    """Cut calls into jobs that the server takes."""
    begin, size = 0, 0
    for at, call in enumerate(calls):
        size += len(call.text)
        if at > begin and (size > MOST_BYTES or at - begin >= MOST_CALLS):
            yield calls[begin:at]
            begin, size = at, len(call.text)
    yield calls[begin:]
