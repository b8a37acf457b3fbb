"""Which limit an exception tells of: the system says no in the words of an ordinary error."""

from __future__ import annotations

import _thread
import errno
import os
import resource

from fanfold_runtime import protocol as p

_KINDS = {
    errno.EMFILE: p.OUT_OF_FILES,
    errno.ENOSPC: p.OUT_OF_SPACE,
    errno.EDQUOT: p.OUT_OF_SPACE,
    errno.EFBIG: p.FILE_TOO_LARGE,
    errno.ENOMEM: p.OUT_OF_MEMORY,
}
_NO_THREAD = "can't start new thread"
_FORKING = frozenset(
    ("_execute_child", "_fork_exec", "_launch", "_posix_spawn", "spawn_posix", "spawnv_passfds")
)
"""Functions of the standard library that start processes."""


def limit_of(exc: BaseException) -> int | None:
    """Return the kind of failure if what was raised tells of a limit, else None."""
    if isinstance(exc, MemoryError):
        return p.OUT_OF_MEMORY
    if isinstance(exc, OSError):
        if exc.errno == errno.EAGAIN:  # also of what was asked not to wait
            return p.OUT_OF_PROCESSES if _was_forking(exc) else None
        if exc.errno == errno.EFBIG and _is_output_full():
            return p.TOO_MUCH_OUTPUT
        return _KINDS.get(exc.errno or 0)
    if type(exc) is RuntimeError and exc.args and str(exc.args[0]) == _NO_THREAD:
        return p.OUT_OF_PROCESSES
    return None


def _is_output_full() -> bool:
    """Say whether it is the file of what is printed that may not grow."""
    try:
        return os.fstat(1).st_size >= resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    except OSError:  # a script has closed it
        return False


def _was_forking(exc: BaseException) -> bool:
    """Say whether it was a new process that could not be had: by where it was, or by trying."""
    step = exc.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is not None and step.tb_frame.f_code.co_name in _FORKING:
        return True
    try:
        _thread.start_new_thread(int, ())
    except RuntimeError:
        return True
    return False
