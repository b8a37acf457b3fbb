"""A /tmp and a /dev/shm of each worker's own, where all of them see the same files.

In a bubble, both are symbolic links below a descriptor of whoever follows them, always the same
number: `/proc/self/fd/3/tmp`. A worker has its own directory there. Who cannot be told apart by
mounts, which nobody in the bubble may make, is told apart by the kernel's own word for "mine". A
child process has what its parent has, and so has a program that `subprocess` or `multiprocessing`
starts.
"""

from __future__ import annotations

import _posixsubprocess
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fanfold_runtime.removing import remove

PLACE = "/tmp"  # noqa: S108  # the place itself is meant
_MEMORY = "/dev/shm"  # noqa: S108  # here, too
_NAMES = ("tmp", "shm")
_OWN = "/proc/self/fd/"


def make(folder: str, descriptor: int) -> None:
    """Make a directory what both lie in for this process and those that it starts."""
    os.mkdir(folder, 0o700)
    for name in _NAMES:
        os.mkdir(os.path.join(folder, name), 0o700)
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if opened == descriptor:
        os.set_inheritable(descriptor, True)
    else:
        os.dup2(opened, descriptor, inheritable=True)
        os.close(opened)


def folders_of(folder: str) -> list[str]:
    """List the directories that `make` makes, those within others first."""
    return [*(os.path.join(folder, name) for name in _NAMES), folder]


def keep_in_programs(descriptor: int) -> None:
    """Have programs that are started inherit the descriptor, as they do 0, 1 and 2.

    `subprocess` and `multiprocessing` close all others, by one function.
    """
    start: Any = _posixsubprocess.fork_exec

    def start_with_tmp(args: Any, programs: Any, close: Any, kept: Any, *more: Any) -> Any:
        if _is_open(descriptor):
            kept = tuple(sorted({*kept, descriptor}))
        return start(args, programs, close, kept, *more)

    for module, name in ((_posixsubprocess, "fork_exec"), (subprocess, "_fork_exec")):
        if hasattr(module, name):
            setattr(module, name, start_with_tmp)
    if hasattr(subprocess, "_HAVE_POSIX_SPAWN_CLOSEFROM"):
        subprocess._HAVE_POSIX_SPAWN_CLOSEFROM = False  # noqa: SLF001  # would close it


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class Temporary:
    """What both looked like before the first run; they are as empty after each.

    Attributes:
        names: what /tmp is called, if it is this process's own.
    """

    def __init__(self) -> None:
        tmp, memory = _descriptor_of(PLACE), _descriptor_of(_MEMORY)
        self._descriptor = memory if tmp is None else tmp
        self.names = () if tmp is None else (PLACE, os.path.realpath(PLACE))
        self._before = self._look()

    def reasons(self) -> Iterator[str]:
        """Remove what was left; yield why the worker is unfit if that was not all."""
        if self._look() == self._before:
            return
        with suppress(OSError):
            for name in _NAMES:
                _empty("%s%s/%s" % (_OWN, self._descriptor, name))
        if self._look() != self._before:
            yield "its own /tmp or /dev/shm was changed, or could not be emptied"

    def _look(self) -> list[tuple[int, ...]]:
        """Tell which directories they are, and by sizes whether something is in them (tmpfs)."""
        if self._descriptor is None:
            return []
        try:
            found = [os.fstat(self._descriptor)]
            found += [os.stat(name, dir_fd=self._descriptor) for name in _NAMES]
        except OSError:  # a script has closed it
            return [(-1,)]
        return [(at.st_dev, at.st_ino, at.st_mode, at.st_size, at.st_nlink) for at in found]


def _descriptor_of(place: str) -> int | None:
    """Return below which descriptor a place is; None where it is not ours to empty."""
    try:
        target = os.readlink(place)
    except OSError:
        return None
    return int(target[len(_OWN) :].partition("/")[0]) if target.startswith(_OWN) else None


def _empty(folder: str) -> None:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            remove(path)
        else:
            os.unlink(path)
