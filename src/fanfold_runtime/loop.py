"""A worker: reads frames, runs calls, writes frames. One run at a time, one call at a time.

Around a call of an ordinary script stand: reseeding, capturing output, figures, a clock. A script
that is *independent* (see `loading.py`) needs none of this; its leases run as one `map` over a list
of indexes, which a ticker thread empties when the lease's time is up (the list's iterator looks at
the length at every step), so that the limit costs nothing per call.
"""

import collections
import json
import os
import sys
import threading
import time

from fanfold_runtime import protocol as p
from fanfold_runtime.capture import Output
from fanfold_runtime.failures import describe
from fanfold_runtime.figures import Figures, NoMatplotlib
from fanfold_runtime.loading import Program, unload
from fanfold_runtime.restoring import Restorer
from fanfold_runtime.seeding import Seeder
from fanfold_runtime.values import Encoder, NotJson, TooLong


MAX_STRETCH = 65536
"""Calls of one `map`; a longer lease ends early and is leased again."""

TICKER_FROM = 8
"""Leases of fewer independent calls than this run without a clock."""

_JOIN_BELOW = 65536
_clock = time.perf_counter
_loads = json.loads
_dumps = json.dumps


class Closed(Exception):
    """The server closed the channel."""


class Channel:
    """Frames over one blocking stream socket."""

    def __init__(self, sock):
        self._sock = sock
        self._file = sock.makefile("rb", buffering=1 << 16)

    def read(self):
        """Return (kind, payload) of the next frame. Raises Closed."""
        head = self._file.read(4)
        if len(head) < 4:
            raise Closed
        (n,) = p.LENGTH.unpack(head)
        body = self._file.read(n)
        if len(body) < n:
            raise Closed
        return body[0], body[1:]

    def write(self, kind, *parts):
        frame = p.frame(kind, *parts)
        if sum(map(len, frame)) < _JOIN_BELOW:
            self._sock.sendall(b"".join(frame))
        else:
            for part in frame:
                self._sock.sendall(part)


class Ticker:
    """Empties the list in hand when its deadline has passed."""

    def __init__(self):
        self._armed = threading.Event()
        self._list = None
        self._deadline = 0.0
        threading.Thread(target=self._run, name="fanfold-ticker", daemon=True).start()

    def arm(self, indexes, seconds):
        self._list = None
        self._deadline = _clock() + seconds
        self._list = indexes
        self._armed.set()

    def disarm(self):
        self._armed.clear()
        self._list = None

    def _run(self):
        while True:
            self._armed.wait()
            indexes = self._list
            left = self._deadline - _clock()
            if left <= 0 and indexes is not None:
                indexes.clear()
            time.sleep(min(max(left, 0.001), 0.005))


class Run:
    """What a RUN frame said."""

    def __init__(
        self, number, program, seed, flags, max_len, max_value_bytes, max_log_bytes, parameters
    ):
        self.number = number
        self.program = program
        self.seed = seed
        self.indexed = bool(flags & p.INDEXED)
        self.graphics = bool(flags & p.GRAPHICS)
        self.keep_logs = bool(flags & p.KEEP_LOGS)
        self.refuse_output = bool(flags & p.REFUSE_OUTPUT)
        self.max_value_bytes = max_value_bytes
        self.max_log_bytes = max_log_bytes
        self.encoder = Encoder(
            bool(flags & p.KEEP_POINT_ZERO), bool(flags & p.ROUND_FRAMES), max_len
        )
        self._parameters = parameters
        self._keywords = _loads(parameters)
        self.flat = not any(isinstance(v, (list, dict)) for v in self._keywords.values())
        self.module = self.function = self.seeder = None
        self.broken = None  # (kind, type, message, traceback) when there is no function to call
        self.touched = False  # something ran that may have left traces

    def keywords(self):
        """Return the keyword arguments; fresh ones where a call could change them."""
        return self._keywords if self.flat else _loads(self._parameters)


class Worker:
    """The loop of one worker process."""

    def __init__(self, sock, log_file):
        self._channel = Channel(sock)
        self._output = Output(log_file)
        self._figures = Figures()
        self._restorer = Restorer(log_file)
        self._programs = collections.OrderedDict()
        self._ticker = None
        self._run = None

    def serve(self):
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
                self._begin(body)
            elif kind == p.END:
                unfit = self._end()
                if unfit:
                    self._channel.write(p.RETIRE, _dumps({"reason": unfit}).encode())
                    return
            elif kind == p.SOURCE:
                self._remember(body)

    # ------------------------------------------------------------------ run

    def _remember(self, body):
        digest, n = p.SOURCE_HEADER.unpack_from(body)
        at = p.SOURCE_HEADER.size
        entry = body[at : at + n].decode()
        at += n
        m = int.from_bytes(body[at : at + 2], "little")
        name = body[at + 2 : at + 2 + m].decode()
        if len(self._programs) >= p.MAX_PROGRAMS:
            self._programs.popitem(last=False)
        self._programs[digest] = Program(name, entry, body[at + 2 + m :].decode())

    def _begin(self, body):
        number, digest, *rest = p.RUN_HEADER.unpack_from(body)
        self._run = Run(number, self._programs[digest], *rest, body[p.RUN_HEADER.size :])

    def _load(self, run):
        """Make the run's function, in a fresh namespace. What fails is kept in `run.broken`."""
        program = run.program
        try:
            if not program.independent:
                run.touched = True
                run.seeder = Seeder(run.seed)
                run.seeder.reseed(0)
            run.module, run.function = program.load()
            if run.graphics:
                run.touched = True
                self._figures.prepare()
            if program.independent and run.touched and not run.graphics:
                run.touched = False  # the first load of a text decides whether it is independent
        except NoMatplotlib as exc:
            message = "figures need matplotlib, which this environment does not have"
            run.broken = (p.NO_FIGURES, "NoMatplotlib", "%s (%s)" % (message, exc), "")
        except BaseException as exc:
            run.broken = (p.LOAD, *describe(exc, program.filename))
        if run.function is not None and program.wants_generator and "rng" not in run.keywords():
            if run.seeder is None:
                run.seeder = Seeder(run.seed)
            if not run.seeder.has_generator and run.broken is None:
                message = "the parameter rng needs numpy, which this environment does not have"
                run.broken = (p.NO_GENERATOR, "NoGenerator", message, "")

    def _end(self):
        """Forget the run; return why this worker is unfit for another, or None."""
        run, self._run = self._run, None
        unload()
        if run is None or not run.touched:
            return None
        run.module = run.function = None
        self._figures.drop()
        unfit = self._restorer.restore(self._output)
        self._output.take(0)
        return unfit

    # ------------------------------------------------------------------ lease

    def _lease(self, number, start, count, budget_us, careful):
        run = self._run
        if run is None or run.number != number:
            return
        began = _clock()
        if run.function is None and run.broken is None:
            self._load(run)
        if run.broken is not None:
            self._outcome(run, start, run.broken, None, [], self._output.take(run.max_log_bytes), 0)
            self._done(run, start, 1, began)
        elif (
            run.program.independent
            and run.flat
            and not (careful or run.graphics or run.program.wants_generator or run.touched)
        ):
            self._stretch(run, start, count, budget_us, began)
        else:
            self._walk(run, start, count, budget_us, careful, began)

    def _stretch(self, run, start, count, budget_us, began):
        """Run independent calls as one `map`."""
        function, keywords = run.function, run.keywords()
        out, failure = [], None
        try:
            if not run.indexed:
                out.append(function(**keywords))
            elif count == 1:
                out.append(function(start, **keywords) if keywords else function(start))
            else:
                indexes = list(range(start, start + min(count, MAX_STRETCH)))
                timed = budget_us and count >= TICKER_FROM
                if timed:
                    if self._ticker is None:
                        self._ticker = Ticker()
                        self._restorer.allow_thread()
                    self._ticker.arm(indexes, budget_us * 1e-6)
                try:
                    # extend keeps what came before an exception, so len(out) names the call
                    if keywords:
                        out.extend(map(lambda i: function(i, **keywords), indexes))
                    else:
                        out.extend(map(function, indexes))
                finally:
                    if timed:
                        self._ticker.disarm()
        except BaseException as exc:
            failure = _failure(exc, run)
        try:
            text = run.encoder.many(out)
            whole = len(text) <= run.max_value_bytes
        except (TooLong, NotJson):
            whole = False
        if not whole:
            self._one_by_one(run, start, out, failure, began)
        elif failure is None:
            head = p.VALUES_HEADER.pack(run.number, start, len(out), _spent(began), 1)
            self._channel.write(p.VALUES, head, text)
        else:
            if out:
                self._channel.write(
                    p.VALUES, p.VALUES_HEADER.pack(run.number, start, len(out), 0, 0), text
                )
            self._outcome(run, start + len(out), failure, None, [], "", 0)
            self._done(run, start, len(out) + 1, began)

    def _one_by_one(self, run, start, out, failure, began):
        """Report the values of a stretch of which at least one cannot be encoded."""
        report = _Report(self, run, start)
        for value in out:
            try:
                report.value(_encode(run, value))
            except (TooLong, NotJson, _TooLarge) as exc:
                report.outcome(_failure(exc, run), None, [], "", 0)
        if failure is not None:
            report.outcome(failure, None, [], "", 0)
        report.end(began)

    def _walk(self, run, start, count, budget_us, careful, began):
        """Run calls with everything around each."""
        run.touched = True
        if run.seeder is None:
            run.seeder = Seeder(run.seed)
        report = _Report(self, run, start)
        wants_generator = run.program.wants_generator
        deadline = began + budget_us * 1e-6 if budget_us else float("inf")
        for index in range(start, start + count):
            keywords = run.keywords()
            failure = text = None
            images = []
            before = _clock()
            try:
                run.seeder.reseed(index)
                if wants_generator and "rng" not in keywords:
                    keywords = dict(keywords, rng=run.seeder.generator(index))
                result = (
                    run.function(index, **keywords) if run.indexed else run.function(**keywords)
                )
                text = _encode(run, result)
                result = None
                if run.graphics:
                    images = self._figures.take()
            except BaseException as exc:
                failure = _failure(exc, run)
                exc = None
            log = self._take_log(run)
            if not run.graphics:
                self._drop_figures()
            elif failure is not None:
                self._figures.drop()
            if log and run.refuse_output and failure is None:
                failure = (p.PRINTED, "Printed", "", "")
            elapsed = int((_clock() - before) * 1e6)
            if failure is not None or run.graphics or (log and run.keep_logs):
                report.outcome(failure, text, images, log, elapsed)
            else:
                report.value(text)
                if careful:
                    report.flush()
            if _clock() >= deadline:
                break
        report.end(began)

    def _take_log(self, run):
        for stream in (sys.stdout, sys.stderr):  # what a script put there may buffer
            try:
                stream.flush()
            except BaseException:  # closed, replaced by anything
                self._output.restore()
        return self._output.take(run.max_log_bytes)

    def _drop_figures(self):
        if "matplotlib.pyplot" in sys.modules:
            try:
                self._figures.drop()
            except BaseException:  # a script may have broken pyplot; the fingerprint will tell
                return

    # ------------------------------------------------------------------ frames

    def _values(self, run, start, texts, final, spent):
        head = p.VALUES_HEADER.pack(run.number, start, len(texts), spent, final)
        self._channel.write(p.VALUES, head, b"[" + b",".join(texts) + b"]")

    def _outcome(self, run, index, failure, text, images, log, elapsed_us):
        value, logged = text or b"", log.encode("utf-8", "replace")
        header = {
            "value": len(value),
            "log": len(logged),
            "images": [[len(png), title] for png, title in images],
            "elapsed_us": elapsed_us,
        }
        if failure is not None:
            header["failure"] = failure
            value, header["value"] = b"", 0
        head = _dumps(header).encode()
        parts = [p.OUTCOME_HEADER.pack(run.number, index, len(head)), head, value, logged]
        self._channel.write(p.OUTCOME, *parts, *(png for png, _ in images))

    def _done(self, run, start, count, began):
        self._channel.write(p.DONE, p.DONE_HEADER.pack(run.number, start, count, _spent(began)))


class _Report:
    """Sends what a lease brings, plain values together, in index order."""

    def __init__(self, worker, run, start):
        self._worker = worker
        self._run = run
        self._start = start
        self._next = start
        self._texts = []
        self._bytes = 0

    def value(self, text):
        self._texts.append(text)
        self._next += 1
        self._bytes += len(text)
        if self._bytes > self._run.max_value_bytes:
            self.flush()

    def outcome(self, failure, text, images, log, elapsed_us):
        self.flush()
        self._worker._outcome(self._run, self._next, failure, text, images, log, elapsed_us)
        self._next += 1

    def flush(self):
        if self._texts:
            self._worker._values(self._run, self._next - len(self._texts), self._texts, 0, 0)
            self._texts, self._bytes = [], 0

    def end(self, began):
        n = len(self._texts)
        if n and n == self._next - self._start:
            self._worker._values(self._run, self._start, self._texts, 1, _spent(began))
            return
        self.flush()
        self._worker._done(self._run, self._start, self._next - self._start, began)


class _TooLarge(Exception):
    """The encoded value is over the limit; `args` = (bytes, limit)."""


def _encode(run, value):
    text = run.encoder.one(value)
    if len(text) > run.max_value_bytes:
        raise _TooLarge(len(text), run.max_value_bytes)
    return text


def _failure(exc, run):
    """Return (kind, type, message, traceback) of what a call raised or its value lacks."""
    kind = type(exc)
    if kind is TooLong:
        message = "Output exceeds maximum length %d" % run.encoder.max_len
        return (p.TOO_LONG, "OutputTooLong", message, "")
    if kind is NotJson:
        return (p.NOT_JSON, "NotJson", str(exc), "")
    if kind is _TooLarge:
        message = "the returned value takes %d bytes as JSON; the limit is %d" % exc.args
        return (p.TOO_LARGE, "OutputTooLarge", message, "")
    name, message, text = describe(exc, run.program.filename)
    if isinstance(exc, MemoryError):
        return (p.OUT_OF_MEMORY, name, message, text)
    return (p.RAISED, name, message, text)


def _spent(began):
    return min(int((_clock() - began) * 1e6), 0xFFFFFFFF)


def main(sock, log_file, hello):
    """Run a worker on the socket until it ends. `hello` is the object of the HELLO frame."""
    worker = Worker(sock, log_file)
    worker._channel.write(p.HELLO, _dumps(dict(hello, pid=os.getpid())).encode())
    worker.serve()
