"""The workers of one owner in one environment: one zygote, its warm and its untouched workers."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from fanfold_server.engine.hits import space_hit
from fanfold_server.engine.uses import note_use
from fanfold_server.engine.worker import Owner, State, Worker
from fanfold_server.engine.zygote import Zygote

if TYPE_CHECKING:
    from fanfold_server.engine.running import LocalRun
    from fanfold_server.engine.watching import Watch

SOCKET_BUFFER = 1 << 20

MAX_RUNS = 20_000
"""A worker that has served so many runs is replaced."""

MAX_AGE_S = 1_800.0
"""A worker that is older than this is replaced."""

SILENCE_S = 15.0
"""How long a process may take to start or to end when told; then whoever did not do it is ended."""

NOTE_S = 10.0
"""How often at most the time of an environment's last use is written down."""

HURRY_S = 0.02
"""Processes for one run that are taken within this time follow one another."""

MAX_STATUS = 0xFFFF
"""Exit statuses have 16 bits."""

MAX_FAILED_STARTS = 3
"""Workers in a row that may end before their first word; then their zygote is ended."""


class Host(Protocol):
    """The engine, as its pools see it."""

    @property
    def owner(self) -> Owner: ...

    def next_worker_number(self) -> int: ...

    def pool_failed(self, pool: Pool, reason: str) -> None: ...

    def worker_exited(self, worker: Worker) -> None: ...


class Pool:
    """Lends workers to runs.

    A *warm* worker may have served runs before; an *untouched* one has not, and is what a script
    of another owner gets, once.

    Attributes:
        waiting: runs that want (more) workers, first come first served.
        workers: every worker that lives, by its number.
        has_worked: some worker has started: what fails now has been spoilt since.
        kept: somebody has asked for it to be there: it stays though nobody uses it.
        is_hurried: those that want an untouched worker follow one another closely.
    """

    def __init__(
        self, *, owner: str, zygote: Zygote, host: Host, watch: Watch, max_frame_bytes: int
    ) -> None:
        self.owner = owner
        self.zygote = zygote
        self.waiting: deque[LocalRun] = deque()
        self.workers: dict[int, Worker] = {}
        self.last_used = time.monotonic()
        self.starting = 0
        self.spares_wanted = 1
        self.has_worked = False
        self.kept = False
        self.is_hurried = False
        self._is_closed = False
        self._failed_starts = 0
        self._idle: list[Worker] = []
        self._host = host
        self._watch = watch
        self._max_frame_bytes = max_frame_bytes
        self._wanted_early: list[bool] = []
        self._noted = self._taken = float("-inf")
        zygote.on_message = self._message
        zygote.on_end = self._zygote_ended
        zygote.ready.add_done_callback(self._ready)

    # ------------------------------------------------------------------ lending

    def take(self, *, untouched: bool) -> Worker | None:
        """Return an idle worker, the most recently used first; None if there is none."""
        self.last_used = now = time.monotonic()
        idle = self._idle
        if untouched:
            for position, worker in enumerate(idle):
                if not worker.runs:
                    self.is_hurried = now - self._taken < HURRY_S
                    self._taken = now
                    return idle.pop(position)
            return None
        return idle.pop() if idle else None

    def give_back(self, worker: Worker) -> None:
        """Take a worker back after a run that left it fit; an old one is replaced."""
        now = time.monotonic()
        worker.state = State.IDLE
        worker.idle_since = now
        if worker.runs >= MAX_RUNS or now - worker.born > MAX_AGE_S:
            self.end(worker)
        else:
            self._idle.append(worker)

    def note_use(self) -> None:
        """Leave word beside the environment that it is in use; called every now and then."""
        if self.last_used - self._noted >= NOTE_S:
            self._noted = self.last_used
            note_use(self.zygote.environment)

    @property
    def untouched(self) -> int:
        return self.starting + sum(not w.runs for w in self._idle)

    @property
    def busy(self) -> int:
        return len(self.workers) - len(self._idle)

    def trim(self, now: float, keep: int, idle_s: float) -> None:
        """End workers that have been idle for long, but for the `keep` youngest."""
        while len(self._idle) > keep and now - self._idle[0].idle_since > idle_s:
            self.end(self._idle.pop(0))

    # ------------------------------------------------------------------ processes

    def grow(self, *, once: bool = False) -> None:
        """Ask for one more worker; before the zygote is ready the wish is kept.

        Args:
            once: it is meant for one run, and begins with less; for others it is as good.
        """
        self.starting += 1
        if self.zygote.ready.done():
            self._fork(once)
        else:
            self._wanted_early.append(once)

    def grow_late(self) -> None:
        """Ask for a worker more than there are cores, for the run that has waited longest.

        If that wants an untouched one, idle warm ones need not stay.
        """
        once = self.waiting[0].single_use
        if once:
            self.trim(time.monotonic(), 0, 0.0)
        self.grow(once=once)

    def _ready(self, ready: asyncio.Future[None]) -> None:
        if ready.exception() is None and not self._is_closed:
            for once in self._wanted_early:
                self._fork(once)
            self._wanted_early.clear()

    def _fork(self, once: bool) -> None:
        ours, theirs = socket.socketpair()
        side, their_side = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        side.setblocking(False)
        with theirs, their_side:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
            ours.setblocking(False)
            log = os.memfd_create("fanfold-output", os.MFD_CLOEXEC)
            # append, so that emptying it is safe while the worker's children still write
            appending = os.open(f"/proc/self/fd/{log}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            os.close(log)
            worker = Worker(
                self._host.next_worker_number(),
                self._host.owner,
                appending,
                side,
                max_frame_bytes=self._max_frame_bytes,
            )
            worker.pool = self
            worker.side.open()
            self.workers[worker.number] = worker
            doors = self._join(worker)
            if doors is not None:
                numbers = (theirs.fileno(), their_side.fileno(), appending)
                self.zygote.fork(worker.number, numbers, doors, once=once)
                for door in doors:
                    os.close(door)
        connecting = asyncio.ensure_future(
            asyncio.get_running_loop().create_connection(lambda: worker, sock=ours)
        )
        connecting.add_done_callback(functools.partial(_connected, worker, ours))

    def _join(self, worker: Worker) -> list[int] | None:
        """Make the worker's control group, if there are any here; return how it is joined.

        None if it cannot be made: then the zygote is ended, since nothing goes on with less.
        """
        groups = self.zygote.groups
        if groups is None:
            return []
        try:
            worker.group = groups.make(self.zygote.limits)
            return worker.group.doors()
        except OSError as exc:
            reason = f"no control group can be made: {exc}"
            asyncio.get_running_loop().call_soon(self.zygote.fail, reason)
            return None

    def _leave_group(self, worker: Worker) -> None:
        group, worker.group = worker.group, None
        if group is not None and self.zygote.groups is not None:
            self.zygote.groups.release(group)

    def started(self, worker: Worker) -> None:
        """Take note of a worker's first word."""
        self.has_worked = True
        self._failed_starts = 0
        if worker.state is State.STARTING:
            self.starting -= 1
            self.give_back(worker)

    def end(self, worker: Worker) -> None:
        """End a worker with all that it started; `worker_exited` follows."""
        if worker.state is State.STARTING:
            self.starting -= 1
        worker.state = State.DEAD
        worker.asked_at = time.monotonic()
        if worker in self._idle:
            self._idle.remove(worker)
        self.zygote.kill(worker.number)

    def _message(self, message: dict[str, Any]) -> None:
        worker = self.workers.get(message["id"])
        if worker is None:
            return
        if message["op"] == "forked":
            worker.pid = int(message["pid"])
        elif message["op"] == "measured":
            self._watch.measured(worker, int(message["cpu_ms"]))
        elif message["op"] == "exited":
            status = int(message["status"])
            if not 0 <= status <= MAX_STATUS:
                raise ValueError(status)
            worker.exit_status = status
            worker.taken_kib = int(message["memory_kib"])
            if message["tmp_kib"]:
                worker.hit = space_hit(int(message["tmp_kib"]), self.zygote.limits.tmp_mib)
            if worker.run is not None:  # else nobody asks why it ended
                self._look_at_memory(worker)
            if worker.silent:
                self.bury(worker)
            # else: what it still sent is read first; the end of its channel follows

    def _look_at_memory(self, worker: Worker) -> None:
        """Note what a worker took if the kernel has killed it for that."""
        group = worker.group
        if group is not None and not worker.taken_kib and group.killed():
            worker.taken_kib = group.peak_kib() or self.zygote.limits.memory_mib << 10

    def bury(self, worker: Worker) -> None:
        """Forget a worker whose process and channel have both ended."""
        if self.workers.pop(worker.number, None) is None:
            return
        if worker.state is State.STARTING:
            self.starting -= 1
            self._failed_starts += 1
        if worker in self._idle:
            self._idle.remove(worker)
        worker.state = State.DEAD
        self._leave_group(worker)
        if self._failed_starts >= MAX_FAILED_STARTS and self.zygote.is_alive:
            worker.shut()
            self.zygote.abort()
            return
        try:
            self._host.worker_exited(worker)
        finally:
            worker.shut()

    def check(self, now: float) -> None:
        """End a worker that does not start, and a zygote that neither forks nor buries.

        A script can stop either, since they have the same user id. A zygote that was only stopped
        is woken, before anybody waits for it.
        """
        self.zygote.wake()
        for worker in list(self.workers.values()):
            if now - worker.asked_at < SILENCE_S:
                continue
            if worker.state is State.STARTING and worker.pid:
                self.end(worker)
            elif worker.state in {State.STARTING, State.DEAD}:
                self.zygote.abort()
                return

    def _zygote_ended(self) -> None:
        words = self.zygote.last_words()
        for worker in list(self.workers.values()):
            worker.hang_up()
            worker.silent = True
            worker.fate = worker.fate or "ended with the process that starts workers"
            self.bury(worker)
        self._host.pool_failed(self, words)

    async def close(self) -> None:
        """End the zygote and every worker."""
        self._is_closed = True
        self.zygote.on_end = lambda: None
        for worker in self.workers.values():
            worker.state = State.DEAD
            worker.hang_up()
            worker.shut()
        workers = [*self.workers.values()]
        self.workers.clear()
        self._idle.clear()
        await self.zygote.close()
        for worker in workers:
            self._leave_group(worker)


def _connected(worker: Worker, ours: socket.socket, connecting: asyncio.Future[Any]) -> None:
    """A worker's channel has its transport, or will never have one."""
    if connecting.cancelled() or connecting.exception() is not None:
        ours.close()
        worker.connection_lost(None)
    else:
        worker.attached()
