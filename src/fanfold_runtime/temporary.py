"""A /tmp of each worker's own, where all of them see the same files.

In a bubble, /tmp is a symbolic link to a descriptor of whoever follows it, always the same number:
`/proc/self/fd/3`. A worker has its own directory there. Who cannot be told apart by mounts, which
nobody in the bubble may make, is told apart by the kernel's own word for "mine". A child process
has what its parent has, and so has a program that `subprocess` or `multiprocessing` starts.
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
_OWN = "/proc/self/fd/"


def make(folder: str, descriptor: int) -> None:
    """Make a directory what /tmp stands for in this process and those that it starts."""
    os.mkdir(folder, 0o700)
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if opened == descriptor:
        os.set_inheritable(descriptor, True)
    else:
        os.dup2(opened, descriptor, inheritable=True)
        os.close(opened)


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
    """What /tmp looked like before the first run; it is as empty after each.

    Attributes:
        names: what it is called, if it is this process's own.
    """

    def __init__(self) -> None:
        try:
            target = os.readlink(PLACE)
        except OSError:  # not ours to empty
            target = ""
        self._descriptor = int(target[len(_OWN) :]) if target.startswith(_OWN) else None
        own = self._descriptor is not None
        self.names = (PLACE, os.path.realpath(PLACE)) if own else ()
        self._before = self._look()

    def reasons(self) -> Iterator[str]:
        """Remove what was left; yield why the worker is unfit if that was not all."""
        if self._look() == self._before:
            return
        with suppress(OSError):
            for name in os.listdir(PLACE):
                path = os.path.join(PLACE, name)
                if os.path.isdir(path) and not os.path.islink(path):
                    remove(path)
                else:
                    os.unlink(path)
        if self._look() != self._before:
            yield "its own /tmp was changed, or could not be emptied"

    def _look(self) -> tuple[int, ...]:
        """Tell which directory it is, and by its size whether something is in it (tmpfs)."""
        if self._descriptor is None:
            return ()
        try:
            found = os.fstat(self._descriptor)
        except OSError:  # a script has closed it
            return (-1,)
        return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_nlink
