"""The few calls of Linux that Python has no word for, by ctypes.

Each raises OSError where the kernel refuses, and where there is no ctypes or no such call.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
from typing import Any

PDEATHSIG = 1
CAPBSET_DROP = 24
CHILD_SUBREAPER = 36
NO_NEW_PRIVS = 38

_SET_SECCOMP = 22
_FILTER = 2
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITIES_V3 = 0x20080522


@functools.lru_cache(maxsize=None)
def _load() -> tuple[Any, Any]:
    """Return the module ctypes and the C library; once, so that children of a fork have both."""
    try:
        import ctypes

        return ctypes, ctypes.CDLL(None, use_errno=True)
    except (ImportError, AttributeError) as exc:
        raise OSError(errno.ENOSYS, "this Python has no ctypes: %s" % exc) from exc


def _check(result: int, ctypes: Any, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))
    return result


def prctl(option: int, value: int = 0) -> None:
    """Change one property of this process."""
    ctypes, libc = _load()
    zero, word = ctypes.c_ulong(0), ctypes.c_ulong(value)
    _check(libc.prctl(option, word, zero, zero, zero), ctypes, "prctl %d" % option)


def tried(option: int, value: int) -> bool:
    """Do so; return whether it worked."""
    try:
        prctl(option, value)
    except OSError:
        return False
    return True


def syscall(number: int, *args: int | bytes | None) -> int:
    """Make a system call; every integer is passed in a whole register."""
    ctypes, libc = _load()
    words = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    return _check(result, ctypes, "system call %d" % number)


def advise(start: int, size: int, advice: int) -> None:
    """Say what a stretch of this process's memory is for."""
    ctypes, libc = _load()
    words = ctypes.c_void_p(start), ctypes.c_size_t(size), ctypes.c_int(advice)
    _check(libc.madvise(*words), ctypes, "madvise %d" % advice)


def filter_calls(program: bytes) -> None:
    """Let a program of struct sock_filter decide on every system call from here on."""
    ctypes, libc = _load()
    text = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(text))
    zero, mode = ctypes.c_ulong(0), ctypes.c_ulong(_FILTER)
    _check(libc.prctl(_SET_SECCOMP, mode, head, zero, zero), ctypes, "seccomp")


def drop_capabilities() -> None:
    """Keep nothing of what makes user id 0 more than any other; it still owns its files."""
    number = 0
    while tried(CAPBSET_DROP, number):
        number += 1
    machine = os.uname().machine
    if machine not in _CAPSET:
        raise OSError(errno.ENOSYS, "capset on %s" % machine)
    head = struct.pack("@Ii", _CAPABILITIES_V3, 0)
    syscall(_CAPSET[machine], head, bytes(24))
