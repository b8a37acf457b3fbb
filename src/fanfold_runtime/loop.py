"""A worker: reads frames, runs calls, writes frames. One run at a time, one call at a time.

Around a call of an ordinary script stand: reseeding, capturing output, figures, a clock. A script
that is *independent* (see `loading.py`) needs none of this; its leases run as one `map` over a list
of indexes, which a ticker thread empties when the lease's time is up (the list's iterator looks at
the length at every step), so that the limit costs nothing per call.
"""

from __future__ import annotations

import collections
import os
import socket
import sys
import time
from typing import Any

from fanfold_runtime import asking
from fanfold_runtime import protocol as p
from fanfold_runtime.baseline import Baseline
from fanfold_runtime.capture import Output, forget_warnings
from fanfold_runtime.channel import Channel, Closed
from fanfold_runtime.figures import Image
from fanfold_runtime.jsontext import make_encoder
from fanfold_runtime.loading import Program, unload
from fanfold_runtime.plain import NotJson
from fanfold_runtime.randomness import NUMPY, PYTHON
from fanfold_runtime.report import Report
from fanfold_runtime.restoring import Restorer
from fanfold_runtime.run import Failure, Run, TooLarge, is_last
from fanfold_runtime.seeding import Seeder
from fanfold_runtime.ticker import Ticker
from fanfold_runtime.values import TooLong, find_orjson

MAX_STRETCH = 65536
"""Calls of one `map`; a longer lease ends early and is leased again."""

TICKER_FROM = 8
"""Leases of fewer independent calls than this run without a clock."""

_clock = time.perf_counter
_getpid = os.getpid
_dumps = make_encoder(ascii_only=True)


class Worker:
    """The loop of one worker process.

    Args:
        channel: to the server.
        side: the socket over which open files come, and over which calls ask.
        log_file: descriptor of the file that takes descriptors 1 and 2.
        baseline: the libraries before any run.
        once: it is made for one run, after which nothing is put back.
    """

    def __init__(
        self,
        channel: Channel,
        side: socket.socket,
        log_file: int,
        baseline: Baseline,
        once: bool,
    ) -> None:
        self._channel = channel
        self._side = side
        self._output = Output(log_file)
        self._figures = baseline.figures
        self._interrupts = baseline.interrupts
        self._interrupts.begin(globals())
        self._baseline = baseline
        self._restorer = None if once else Restorer(self._output, baseline)
        self._threads = baseline.threads
        self._programs: collections.OrderedDict[bytes, Program] = collections.OrderedDict()
        self._orjson = find_orjson()
        self._ticker: Ticker | None = None
        self._run: Run | None = None
        self._pid = os.getpid()
        self._asker = asking.current = asking.Asker(side)

    def abandon(self) -> None:
        """Close this process's end of the second socket: for a child that a script has forked."""
        self._asker.abandon()

    def serve(self) -> None:
        """Answer frames until the server closes the channel or the worker retires."""
        read = self._channel.read
        while True:
            try:
                kind, body = read()
            except Closed:
                return
            if kind == p.LEASE:
                self._lease(*p.LEASE_HEADER.unpack(body))
            elif kind == p.RUN:
                if self._restorer is None and not is_last(body):
                    self._restorer = Restorer(self._output, self._baseline)
                run = self._run = Run(body, self._programs, self._orjson, self._side)
                self._asker.run = run.number
            elif kind == p.END:
                unfit = self._end()
                if unfit:
                    self._channel.write(p.RETIRE, _dumps({"reason": unfit}).encode())
                    return
            elif kind == p.SOURCE:
                self._remember(body)

    # ------------------------------------------------------------------ run

    def _remember(self, body: bytes) -> None:
        digest, n = p.SOURCE_HEADER.unpack_from(body)
        at = p.SOURCE_HEADER.size
        entry = body[at : at + n].decode()
        at += n
        m = int.from_bytes(body[at : at + 2], "little")
        name = body[at + 2 : at + 2 + m].decode()
        if len(self._programs) >= p.MAX_PROGRAMS:
            self._programs.popitem(last=False)
        self._programs[digest] = Program(name, entry, body[at + 2 + m :].decode())

    def _end(self) -> str | None:
        """Forget the run; return why this worker is unfit for another, or None."""
        run, self._run = self._run, None
        self._asker.run = 0
        unload()
        if run is None:
            return None
        if not run.touched:
            run.close()
            return None
        run.module = run.function = None
        self._drop_figures()
        run.close()
        if self._restorer is None:
            return "it was made for one run"
        unfit = self._restorer.restore()
        self._output.take(0)
        return unfit

    # ------------------------------------------------------------------ lease

    def _lease(self, number: int, start: int, count: int, budget_us: int, careful: int) -> None:
        run = self._run
        if run is None or run.number != number:
            return
        began = _clock()
        if run.function is None and run.broken is None:
            run.load(self._figures, self._interrupts, self._let_threads)
            self._end_child()
        if run.broken is not None:
            report = Report(self._channel, run, start, began)
            report.outcome(run.broken, log=self._output.take(run.max_log_bytes))
            report.end()
        elif (
            run.program.independent
            and run.flat
            and not (
                careful
                or run.graphics
                or run.has_rows
                or run.program.wants_generator
                or run.program.by_position[run.indexed :]
                or run.touched
            )
        ):
            self._stretch(run, start, count, budget_us, began)
        else:
            self._walk(run, start, count, budget_us, careful, began)

    def _let_threads(self, number: int) -> None:
        """Let numerical libraries use so many threads; 0: as many as they do."""
        if number and number != self._threads.number:
            keep = os.environ.update if self._restorer is None else self._restorer.keep_variables
            self._threads.set(number, keep)

    def _stretch(self, run: Run, start: int, count: int, budget_us: int, began: float) -> None:
        """Run independent calls as one `map`."""
        out: list[Any] = []
        failure: Failure | None = None
        try:
            self._map(run, start, count, budget_us, out)
        except BaseException as exc:
            failure = run.failure(exc)
        report = Report(self._channel, run, start, began)
        text: bytes | None
        try:
            text = run.encoder.many(out)
        except (TooLong, NotJson, MemoryError):
            text = None
        if text is None or len(text) > run.max_value_bytes:
            for value in out:  # at least one of them cannot be encoded, or all take too much
                try:
                    report.value(run.encode(value))
                except (TooLong, NotJson, TooLarge, MemoryError) as exc:
                    report.outcome(run.failure(exc))
        elif failure is None:
            report.whole(text, len(out))
            return
        elif out:
            report.array(text, len(out))
        if failure is not None:
            report.outcome(failure)
        report.end()

    def _map(self, run: Run, start: int, count: int, budget_us: int, out: list[Any]) -> None:
        """Call the function; `out` takes the values, also those from before an exception."""
        function, keywords = run.function, run.keywords()
        assert function is not None, "a run that is not broken has its function"
        if not run.indexed:
            out.append(function(**keywords))
        elif count == 1:
            out.append(function(start, **keywords) if keywords else function(start))
        else:
            indexes = list(range(start, start + min(count, MAX_STRETCH)))
            timed = budget_us and count >= TICKER_FROM
            if timed:
                self._clock_for(indexes, budget_us * 1e-6)
            try:
                if keywords:
                    out.extend(map(lambda i: function(i, **keywords), indexes))  # noqa: C417
                else:
                    out.extend(map(function, indexes))
            finally:
                if self._ticker is not None:
                    self._ticker.disarm()
            rest = indexes[len(out) :]  # none, if the time was up
            if rest:  # StopIteration ends a map, as if there were no more
                out.append(function(rest[0], **keywords))

    def _clock_for(self, indexes: list[int], seconds: float) -> None:
        if self._ticker is None:
            self._ticker = Ticker()
            if self._restorer is not None:
                self._restorer.allow_thread()
        self._ticker.arm(indexes, seconds)

    def _walk(
        self, run: Run, start: int, count: int, budget_us: int, careful: int, began: float
    ) -> None:
        """Run calls with everything around each."""
        run.touched = True
        if run.seeder is None:
            run.seeder = Seeder(run.seed)
        seeder, function = run.seeder, run.function
        assert function is not None, "a run that is not broken has its function"
        report = Report(self._channel, run, start, began)
        interrupts, pid = self._interrupts, self._pid
        draws = PYTHON | NUMPY if run.has_rows else run.program.draws
        deadline = began + budget_us * 1e-6 if budget_us else float("inf")
        run.expect(start + count - 1)
        for index in range(start, start + count):
            failure: Failure | None = None
            text: bytes | None = None
            images: list[Image] = []
            before = _clock()
            try:
                if run.refuse_output:
                    forget_warnings()  # else a call would fail or not by what others have told
                seeder.reseed(index, draws)
                first, keywords = run.arguments(index, seeder)
                interrupts.in_call = True
                text = run.encode(function(*first, **keywords), report.part)
                if run.graphics:
                    images = run.check_images(self._figures.take())
            except BaseException as exc:
                interrupts.in_call = False
                failure = run.failure(exc)
            interrupts.in_call = False
            if _getpid() != pid:
                self._end_child()
            log = self._take_log(run)
            if failure is not None or not run.graphics:
                self._drop_figures()
            if log and run.refuse_output and failure is None:
                failure = (p.PRINTED, "Printed", "", "")
            if failure is not None or run.graphics or (log and run.keep_logs):
                report.outcome(failure, text, images, log, int((_clock() - before) * 1e6))
            else:
                assert text is not None, "a call that did not fail has its value"
                report.value(text, int((_clock() - before) * 1e6))
                if careful:
                    report.flush()
            if _clock() >= deadline:
                break
        report.end()

    def _end_child(self) -> None:
        """End a process that a script has forked and that has come back from it.

        The call is its parent's: two would answer for it.
        """
        if _getpid() != self._pid:
            os._exit(0)

    def _take_log(self, run: Run) -> str:
        for name in ("stdout", "stderr"):  # what a script put there may buffer
            try:
                getattr(sys, name).flush()
            except BaseException:  # closed, replaced by anything
                self._output.restore()
        return self._output.take(run.max_log_bytes)

    def _drop_figures(self) -> None:
        try:
            self._figures.drop()
        except BaseException:  # a script may have broken pyplot; the fingerprint will tell
            return


def main(
    sock: socket.socket,
    side: socket.socket,
    log_file: int,
    hello: dict[str, Any],
    baseline: Baseline,
    once: bool = False,
) -> None:
    """Run a worker on its sockets until it ends.

    Args:
        hello: the object of the HELLO frame.
        once: see `Worker`.
    """
    channel = Channel(sock)
    os.register_at_fork(after_in_child=channel.abandon)
    worker = Worker(channel, side, log_file, baseline, once)
    os.register_at_fork(after_in_child=worker.abandon)
    channel.write(p.HELLO, _dumps(dict(hello, pid=os.getpid())).encode())
    worker.serve()
