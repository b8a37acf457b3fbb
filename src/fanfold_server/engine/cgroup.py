"""Control groups: the one thing that bounds a worker with all that it starts, by the kernel.

Both versions of the interface are used, each controller where it is: hosts have either, or some
controllers of each. What may be done there depends on who has delegated what to whom, so it is
tried; see `delegation.py`.

Groups are made below the server's own, so that limits of its own hold, too. A worker joins by
itself, before it has run anything: it is given open descriptors, since the kernel asks with whose
rights a file was opened, and writes "0", which means whoever writes.

Source: the kernel's documentation, "Control Group v2" and "Control Groups version 1".
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from fanfold_server.engine.limits import Limits

CONTROLLERS = ("memory", "pids", "cpu")
"""Those that are used. Without the first, none is; without another, its limit is not in force."""

PREFIX = "fanfold-"
PERIOD_US = 100_000
"""The time over which a share of the processors is measured."""

END_LIMIT_S = 2.0
"""How long the processes of a group may take to be gone once they are killed."""

OPEN_WITHOUT: Mapping[str, str] = {
    "memory": "memory of a worker with all that it starts is looked at five times a second only",
    "pids": "processes are counted for all workers of an owner together, and on the lower rungs "
    "not at all where the server is no root",
    "cpu": "workers share the processors freely",
}
"""What stays open where a controller is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One hierarchy of groups.

    Attributes:
        version: 1 or 2.
        own: the server's own group.
        controllers: what it controls, of those that are used.
    """

    version: int
    own: Path
    controllers: tuple[str, ...]

    @property
    def is_v2(self) -> bool:
        return self.version == 2  # noqa: PLR2004  # the very number


class Group:
    """The group of one worker: a directory in each tree.

    Args:
        places: tree → directory.
    """

    __slots__ = ("_places",)

    def __init__(self, places: dict[Tree, Path]) -> None:
        self._places = places

    def doors(self) -> list[int]:
        """Open the files by which a process joins; the caller closes them."""
        with ExitStack() as unless_all:
            opened = []
            for tree, place in self._places.items():
                # A thread that moves itself need not wait for the whole machine, as a process has
                # to (10 ms); what has just been forked is one thread.
                door = place / ("cgroup.procs" if tree.is_v2 else "tasks")
                opened.append(os.open(door, os.O_WRONLY | os.O_CLOEXEC))
                unless_all.callback(os.close, opened[-1])
            unless_all.pop_all()
        return opened

    def is_hurt(self) -> bool:
        """Tell whether the kernel has killed some of its processes only, and the worker lives."""
        tree, _ = self._memory()
        return not tree.is_v2 and self.killed() > 0

    def killed(self) -> int:
        """Return how many of its processes the kernel has killed for want of memory."""
        tree, place = self._memory()
        name = "memory.events" if tree.is_v2 else "memory.oom_control"
        return _number(place / name, "oom_kill")

    def peak_kib(self) -> int:
        """Return the most memory that it has had; 0 if this kernel does not say."""
        tree, place = self._memory()
        name = "memory.peak" if tree.is_v2 else "memory.max_usage_in_bytes"
        try:
            return int((place / name).read_text()) >> 10
        except OSError:  # before Linux 5.19
            return 0

    def _memory(self) -> tuple[Tree, Path]:
        return next(pair for pair in self._places.items() if "memory" in pair[0].controllers)

    def members(self) -> set[int]:
        """Return the numbers of the processes in it."""
        found: set[int] = set()
        for place in self._places.values():
            with suppress(OSError):
                found.update(map(int, (place / "cgroup.procs").read_text().split()))
        return found

    def kill(self) -> None:
        """Kill what is in it, once."""
        for tree, place in self._places.items():
            if tree.is_v2:
                with suppress(OSError):  # before Linux 5.14
                    write(place / "cgroup.kill", "1")
        for pid in self.members():
            with suppress(OSError):
                handle = os.pidfd_open(pid)
                try:
                    if pid in self.members():  # the number has not passed on to another
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)

    def remove(self) -> bool:
        """Remove it if nothing is in it any more; return whether it is gone."""
        for tree, place in list(self._places.items()):
            try:
                place.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return False
            del self._places[tree]
        return True


class Groups:
    """Makes and removes the groups of workers.

    Args:
        trees: where; the first with the controller of memory.
        missing: controller → why it is not used.

    Attributes:
        prefix: what the names of its groups begin with, and nobody else's.
    """

    def __init__(self, trees: Iterable[Tree], missing: Mapping[str, str] | None = None) -> None:
        self._trees = tuple(trees)
        self._missing = dict(missing or {})
        self.prefix = f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}-"
        self._numbers = itertools.count(1)
        self._leaving: list[Group] = []

    @property
    def controllers(self) -> tuple[str, ...]:
        return tuple(name for tree in self._trees for name in tree.controllers)

    def make(self, limits: Limits) -> Group:
        """Make the group of one worker. Raises OSError."""
        self.tidy()
        name = f"{self.prefix}{next(self._numbers)}"
        places: dict[Tree, Path] = {}
        group = Group(places)
        try:
            for tree in self._trees:
                place = tree.own / name
                place.mkdir()
                places[tree] = place
                for file, text in settings_of(tree, limits):
                    write(place / file, text)
                if not tree.is_v2 and "memory" in tree.controllers:
                    with suppress(OSError):  # swap need not be counted here
                        write(place / "memory.memsw.limit_in_bytes", str(memory_bytes(limits)))
        except OSError:
            group.remove()
            raise
        return group

    def release(self, group: Group) -> None:
        """Remove a group that is not needed any more, with what is still in it."""
        if not group.remove():
            group.kill()
            self._leaving.append(group)

    def tidy(self) -> bool:
        """Remove what could not be removed at once, and say whether that was all."""
        if self._leaving:
            self._leaving = [group for group in self._leaving if not group.remove()]
            for group in self._leaving:
                group.kill()
        return not self._leaving

    async def close(self) -> None:
        """Wait for what is left to be gone."""
        deadline = time.monotonic() + END_LIMIT_S
        while not self.tidy() and time.monotonic() < deadline:  # noqa: ASYNC110  # files
            await asyncio.sleep(0.01)

    def describe(self) -> dict[str, str]:
        """Say what is in force, for /health and the log: controller → version."""
        return {name: f"v{tree.version}" for tree in self._trees for name in tree.controllers}

    def missing(self) -> list[str]:
        """Say what is not, and what that leaves open."""
        return [
            f"control group, {name}: {why}; so {OPEN_WITHOUT[name]}"
            for name, why in self._missing.items()
        ]


def settings_of(tree: Tree, limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield the files of a new group and what is written to them."""
    is_two = tree.is_v2
    if "memory" in tree.controllers:
        yield ("memory.max" if is_two else "memory.limit_in_bytes"), str(memory_bytes(limits))
        if is_two:
            yield "memory.oom.group", "1"
    if "pids" in tree.controllers:
        yield "pids.max", str(limits.processes)
    if "cpu" in tree.controllers and limits.cpus is not None:
        quota = max(1000, int(limits.cpus * PERIOD_US))
        if is_two:
            yield "cpu.max", f"{quota} {PERIOD_US}"
        else:
            yield "cpu.cfs_period_us", str(PERIOD_US)
            yield "cpu.cfs_quota_us", str(quota)


def memory_bytes(limits: Limits) -> int:
    """Return the limit of a group: a tenth above what is said, so that Python can raise first.

    Temporary files may be in memory, and then count, too; they have a limit of their own.
    """
    return (limits.memory_mib + limits.memory_mib // 10 + 16 + limits.tmp_mib) << 20


def write(path: Path, text: str) -> None:
    """Write to a file of a group; the error that comes of it names the file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as exc:
        exc.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def _number(path: Path, name: str) -> int:
    """Return the number after a name in a file of "name number" lines; 0 if it is not there."""
    try:
        words = path.read_text().split()
    except OSError:
        return 0
    return int(words[words.index(name) + 1]) if name in words else 0
