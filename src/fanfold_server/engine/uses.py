"""Leaving word beside an environment that processes of ours run in it.

Whoever wants to remove one asks on the other side: for the lock alone, after a word in the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from fanfold_server.model.environment import Environment


class Use:
    """Holds an environment's file of uses, shared, until it is closed; the kernel, if we die.

    Raises:
        OSError: the environment is being removed, or has been.
    """

    def __init__(self, environment: Environment) -> None:
        self._descriptor: int | None = None
        if environment.use is not None:
            descriptor = os.open(environment.use, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor

    def close(self) -> None:
        """Give it back. Harmless if it has been."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_going(environment: Environment) -> bool:
    """Tell whether somebody waits for us to leave an environment, or has not waited."""
    if environment.use is None:
        return False
    try:
        return environment.use.stat().st_size > 0
    except FileNotFoundError:
        return True


def note_use(environment: Environment) -> None:
    """Write down that an environment is in use now."""
    if environment.use is not None:
        with contextlib.suppress(OSError):  # it is being removed, or the disk is full
            os.utime(environment.use)
