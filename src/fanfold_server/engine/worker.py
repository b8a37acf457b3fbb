"""The server's end of one worker: frames in and out, and what the worker holds."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fanfold_runtime import protocol as p
from fanfold_server.engine.cgroup import Group
from fanfold_server.engine.hits import Hit
from fanfold_server.engine.leases import Lease
from fanfold_server.engine.port import Ask
from fanfold_server.engine.side import Side
from fanfold_server.engine.texts import Forged, Parts, check_text, check_values
from fanfold_server.model.outcome import (
    Failed,
    Failure,
    FailureKind,
    Image,
    Outcome,
    Returned,
    Values,
)

if TYPE_CHECKING:
    from fanfold_server.model.script import Script

_HEAD = p.LENGTH.size + 1
"""Bytes of the shortest frame."""

_header = msgspec.json.Decoder(dict[str, Any]).decode


class State(Enum):
    """STARTING → IDLE ⇄ BUSY → DEAD; DRAINING is BUSY with work that nobody wants any more."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    DEAD = "dead"


class Owner(Protocol):
    """Who is told what a worker says."""

    def worker_ready(self, worker: Worker) -> None: ...
    def worker_values(self, worker: Worker, run: int, values: Values) -> None: ...
    def worker_outcome(self, worker: Worker, run: int, outcome: Outcome) -> None: ...
    def worker_returned(
        self, worker: Worker, run: int, start: int, count: int, us: int
    ) -> None: ...
    def worker_retires(self, worker: Worker, reason: str) -> None: ...
    def worker_silent(self, worker: Worker) -> None: ...
    def worker_asked(self, worker: Worker, ask: Ask) -> None: ...


class Held:
    """A lease in a worker's hands, and how many of its first calls have their outcome."""

    __slots__ = ("done", "lease")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.done = 0


class Worker(asyncio.Protocol):
    """One process that runs calls.

    Attributes:
        held: leases that it was given and has not returned, the one in hand first.
        runs: how many runs it was given.
        heard_at: when the call in hand was begun at the earliest: the last call's outcome came, or
            the lease was given to empty hands.
        overdue: it is being killed, since the call in hand has taken too long.
        taken_kib: the memory that it and what it had started took when it was killed for that.
        fate: why it is being killed, if its exit status would not tell.
        asked_at: when its process was last asked for something that has not happened: to start, or
            to end.
        log: descriptor of the file that takes its output; readable even after its death.
        side: its second socket: it is given open files, and asks.
        group: its control group, if there are any here.
        hit: the limit for which it is being killed, if its exit status would not tell.
    """

    __slots__ = (
        "_buffer", "_earlier", "_ended", "_is_attached", "_is_cut", "_killed", "_known", "_meters",
        "_need", "_owner", "_parts", "_transport",
        "asked_at", "born", "drain_until", "exit_status", "fate", "group", "heard_at", "held",
        "hit", "idle_since", "log", "max_frame_bytes", "number", "overdue", "pid", "pool", "run",
        "runs", "side", "silent", "state", "taken_kib",
    )  # fmt: skip

    def __init__(
        self, number: int, owner: Owner, log: int, side: socket.socket, *, max_frame_bytes: int
    ) -> None:
        self.number = number
        self.max_frame_bytes = max_frame_bytes
        self.group: Group | None = None
        self.hit: Hit | None = None
        self._killed = 0
        self.side = Side(side, self._asked, self._forged)
        self.pid = 0
        self.log = log
        self.state = State.STARTING
        self.held: list[Held] = []
        self.run: Any = None
        self.pool: Any = None
        self.runs = 0
        self.born = self.idle_since = self.asked_at = time.monotonic()
        self.drain_until = 0.0
        self.heard_at = 0.0
        self.overdue = False
        self.silent = False
        self.exit_status: int | None = None
        self.fate = ""
        self.taken_kib = 0
        # The run of the last END that it has not worked past, as far as we know; and whether it has
        # not worked past one before the beginning of the run in hand, either.
        self._ended: int | None = None
        self._earlier = False
        self._owner = owner
        self._transport: asyncio.WriteTransport | None = None
        self._is_attached = False
        self._is_cut = False
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._buffer = bytearray()
        self._need = 0
        self._meters = b""
        self._parts = Parts(max_frame_bytes)

    # ------------------------------------------------------------------ to the worker

    def begin(
        self,
        *,
        script: Script,
        header: bytes,
        parameters: bytes,
        lease: Lease,
        lease_frame: bytes,
        end: bytes,
        files: Sequence[int] = (),
    ) -> None:
        """Send, in one write: the source if it is new to the worker, RUN, LEASE and maybe END.

        Args:
            files: descriptors that the run needs; sent before it, and still the caller's.
        """
        if files:
            self.side.give(files)
        parts = []
        key = program_key(script.digest, script.name, script.entry)
        if key not in self._known:
            if len(self._known) >= p.MAX_PROGRAMS:
                self._known.popitem(last=False)
            self._known[key] = None
            parts.append(source_frame(key, script))
        parts.append(p.LENGTH.pack(1 + len(header) + len(parameters)))
        parts.append(b"\x02")
        parts.append(header)
        parts.append(parameters)
        parts.append(lease_frame)
        parts.append(end)
        self.runs += 1
        self.heard_at = time.monotonic()
        self.held.append(Held(lease))
        (number,) = p.END_HEADER.unpack_from(header)
        if end:
            self._earlier = self._ended is not None
            self._ended = number
        elif self._ended == number:
            # It was ended, and now there is more of it after all: it will be ended once more.
            self._earlier, self._ended = True, None
        self._send(b"".join(parts))

    def lease(self, lease: Lease, frame: bytes) -> None:
        if not self.held:
            self.heard_at = time.monotonic()
        self.held.append(Held(lease))
        self._send(frame)

    def end(self, run: int) -> None:
        """Send END unless it was sent with the run's beginning."""
        if self._ended != run:
            self._ended = run
            self._send(end_frame(run))

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def hang_up(self) -> None:
        """Close the channel; a worker that reads the end of it leaves by itself."""
        self._is_cut = True
        if self._transport is not None and self._is_attached:
            self._transport.abort()

    def attached(self) -> None:
        """Take note that the transport has its socket: from now on it may be aborted.

        Before, uvloop would close the descriptor and leave the socket to close it once more, when
        its number is another's.
        """
        self._is_attached = True
        if self._is_cut or self.state is State.DEAD:  # it was given up meanwhile
            self.hang_up()

    def shut(self) -> None:
        """Close what the server holds of it; once, when it is forgotten."""
        os.close(self.log)
        self.side.close()

    def output_tail(self, max_bytes: int) -> str:
        """Return the end of what the worker has written since the last call's end."""
        size = os.fstat(self.log).st_size
        start = max(0, size - max_bytes)
        return os.pread(self.log, max_bytes, start).decode("utf-8", "replace")

    # ------------------------------------------------------------------ from the worker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport

    def connection_lost(self, exc: Exception | None) -> None:
        _ = exc  # a broken channel is as good as a closed one
        self._transport = None
        self.silent = True
        self._owner.worker_silent(self)

    def data_received(self, data: bytes) -> None:
        if self._is_cut:
            return
        try:
            if (
                not self._buffer
                and len(data) >= _HEAD
                and p.LENGTH.unpack_from(data)[0] + 4 == len(data)
            ):
                self._frame(data[4], memoryview(data)[5:])
                return
            self._buffer += data
            if len(self._buffer) < self._need:
                return
            self._split()
        except (Forged, msgspec.DecodeError, UnicodeDecodeError, RecursionError, struct.error):
            self._forged()

    def _asked(self, ask: Ask) -> None:
        self._owner.worker_asked(self, ask)

    def _forged(self) -> None:
        self.fate = "was killed, having written to the channel of its server,"
        self.hang_up()

    def _split(self) -> None:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        self._need = 0
        while end - at >= p.LENGTH.size:
            (n,) = p.LENGTH.unpack_from(buffer, at)
            if not 1 <= n <= self.max_frame_bytes:
                raise Forged
            if end - at < 4 + n:
                self._need = 4 + n
                break
            with memoryview(buffer) as view, view[at + 4 : at + 4 + n] as frame, frame[1:] as body:
                self._frame(frame[0], body)
            at += 4 + n
        del buffer[:at]

    def _frame(self, kind: int, body: memoryview) -> None:
        if kind == p.VALUES:
            self._values_frame(body)
        elif kind == p.OUTCOME:
            self._outcome_frame(body)
        elif kind == p.PART:
            self._part_frame(body)
        elif kind == p.METERS:
            self._meters = bytes(body[p.METERS_HEADER.size :])
        elif kind == p.DONE:
            run, start, count, us = p.DONE_HEADER.unpack(body)
            self._check_run(run)
            self._owner.worker_returned(self, run, start, count, us)
        elif kind == p.HELLO:
            if self.state not in {State.STARTING, State.DEAD}:
                raise Forged
            self._owner.worker_ready(self)
        elif kind == p.RETIRE:
            is_over = self._ended is not None and (
                self.run is None or self.run.number != self._ended
            )
            if not (is_over or self._earlier):
                raise Forged  # nobody has ended its run: else the run would be tried for ever
            self._owner.worker_retires(self, str(_header(body).get("reason", "")))
        else:
            raise Forged

    def _values_frame(self, body: memoryview) -> None:
        run, start, count, us, final = p.VALUES_HEADER.unpack_from(body)
        self._check_run(run)
        text = bytes(body[p.VALUES_HEADER.size :])
        if count:
            check_values(text, count)
            self._advance(start, count)
            meters, self._meters = self._meters, b""
            if meters and len(meters) != count * p.METER_BYTES:
                raise Forged
            json = self._parts.join(text[1:-1], count) if self._parts else text[1:-1]
            values = Values(start=start, count=count, json=json, meters=meters)
            self._owner.worker_values(self, run, values)
        if final:
            self._owner.worker_returned(self, run, start, count, us)

    def _part_frame(self, body: memoryview) -> None:
        run, index = p.PART_HEADER.unpack_from(body)
        self._check_run(run)
        if not self.held or index != self.held[0].lease.start + self.held[0].done:
            raise Forged
        self._parts.take(bytes(body[p.PART_HEADER.size :]))

    def _outcome_frame(self, body: memoryview) -> None:
        run, outcome = _outcome(body)
        self._check_run(run)
        self._advance(outcome.index, 1)
        if self._parts:
            outcome = self._parts.complete(outcome)
        self._owner.worker_outcome(self, run, outcome)

    def _check_run(self, run: int) -> None:
        """Check that a frame is about the run in hand: about another, its calls would be lost."""
        if self.run is None or self.run.number != run:
            raise Forged
        self._earlier = False
        if run != self._ended:
            self._ended = None

    def _advance(self, start: int, count: int) -> None:
        """Count calls of the lease in hand; they come in order, each once."""
        if not self.held:
            raise Forged
        held = self.held[0]
        if start != held.lease.start + held.done or held.done + count > held.lease.count:
            raise Forged
        held.done += count
        self.heard_at = time.monotonic()
        self.overdue = False

    def has_lost_processes(self) -> bool:
        """Whether the kernel has killed some that it had started, since this was last asked."""
        before = self._killed
        self._killed = 0 if self.group is None else self.group.killed()
        return self._killed > before

    @property
    def is_guilty(self) -> bool:
        """Whether the call in hand is known, and known to be why the worker is killed."""
        if self.overdue:
            return True
        if self.hit is None or not self.held:
            return False
        held = self.held[0]
        return held.lease.careful or held.lease.count - held.done == 1

    def take_back(self, start: int, count: int) -> Held:
        """Remove and return the lease in hand, which the worker says ends after `count` calls."""
        if not self.held or self.held[0].lease.start != start or self.held[0].done != count:
            raise Forged
        if self._parts:
            raise Forged
        return self.held.pop(0)


def _outcome(body: memoryview) -> tuple[int, Outcome]:
    run, index, n = p.OUTCOME_HEADER.unpack_from(body)
    at = p.OUTCOME_HEADER.size
    header = _header(body[at : at + n])
    at += n
    try:
        value_n, log_n = int(header["value"]), int(header["log"])
        elapsed_us, peak_kib = int(header["elapsed_us"]), int(header.get("peak_kib", 0))
        if min(value_n, log_n, elapsed_us, peak_kib) < 0:
            raise Forged
        value_end = at + value_n
        log_end = value_end + log_n
        log = str(body[value_end:log_end], "utf-8", "replace")
        failure = header.get("failure")
        if failure is not None:
            kind, name, message, traceback = failure
            why = Failure(
                kind=FailureKind(kind),
                type=str(name),
                message=str(message),
                traceback=str(traceback),
            )
            return run, Failed(
                index=index, failure=why, log=log, elapsed_us=elapsed_us, peak_kib=peak_kib
            )
        text = bytes(body[at:value_end])
        check_text(text)
        images = []
        at = log_end
        for size, title in header["images"]:
            if size < 0:
                raise Forged
            images.append(
                Image(
                    png=bytes(body[at : at + size]), title=title if isinstance(title, str) else None
                )
            )
            at += size
        return run, Returned(
            index=index,
            json=text,
            images=tuple(images),
            log=log,
            elapsed_us=elapsed_us,
            peak_kib=peak_kib,
        )
    except (KeyError, OverflowError, TypeError, ValueError) as exc:
        raise Forged from exc


@lru_cache(maxsize=1024)
def program_key(digest: str, name: str, entry: str) -> bytes:
    """Return what a worker knows a source text by: the same text under another name is another."""
    return hashlib.sha256(f"{digest}\0{name}\0{entry}".encode()).digest()


def source_frame(key: bytes, script: Script) -> bytes:
    """Return the frame that makes a worker remember the script's source."""
    entry, name = script.entry.encode(), script.name.encode()
    return b"".join(
        p.frame(
            p.SOURCE,
            p.SOURCE_HEADER.pack(key, len(entry)),
            entry,
            len(name).to_bytes(2, "little"),
            name,
            script.source.encode(),
        )
    )


_LEASE_PREFIX = p.LENGTH.pack(1 + p.LEASE_HEADER.size) + bytes((p.LEASE,))
_END_PREFIX = p.LENGTH.pack(1 + p.END_HEADER.size) + bytes((p.END,))


def lease_frame(run: int, lease: Lease, budget_us: int, *, careful: bool = False) -> bytes:
    """Return the frame of a lease that ends after `budget_us` microseconds."""
    return _LEASE_PREFIX + p.LEASE_HEADER.pack(
        run, lease.start, lease.count, budget_us, careful or lease.careful
    )


def end_frame(run: int) -> bytes:
    """Return the frame that ends a run."""
    return _END_PREFIX + p.END_HEADER.pack(run)
