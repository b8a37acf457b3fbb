"""Landlock: which files a process may open, whom it may signal. It can only be made stricter.

It looks at opening, making, removing and renaming; not at stat, chmod or at connecting to a socket
that has a path.

Source: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import os
import stat
import struct
from typing import Iterable

from fanfold_runtime.kernel import syscall

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_GET_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11

READ = _EXECUTE | _READ_FILE | _READ_DIR
WRITE = ((_IOCTL_DEV << 1) - 1) & ~(_MAKE_CHAR | _MAKE_BLOCK)
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_ABSTRACT_SOCKETS, _SIGNALS = 1, 2

# (version from which the kernel knows them, what it knows)
_FILES_SINCE = ((1, _REFER - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))
_SCOPES_SINCE = ((6, _ABSTRACT_SOCKETS | _SIGNALS),)
_SIZE_SINCE = ((1, 8), (4, 8), (6, 8))


def version() -> int:
    """Return the version of Landlock that the kernel has; 0 if it has none."""
    try:
        return syscall(_CREATE, None, 0, _GET_VERSION)
    except OSError:
        return 0


def opened(paths: Iterable[str], rights: int) -> list[tuple[int, int]]:
    """Return rules for the places that exist: (descriptor, rights beneath it).

    The descriptors are the caller's to close.
    """
    rules = []
    for path in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        is_folder = stat.S_ISDIR(os.fstat(place).st_mode)
        rules.append((place, rights if is_folder else rights & _OF_FILES))
    return rules


def restrict(rules: Iterable[tuple[int, int]], abi: int) -> None:
    """Leave this process, and what it starts, only what the rules allow.

    Args:
        abi: what `version` has returned; from 6 on, processes and abstract sockets that are not of
            this domain are out of reach, too.
    """
    handled, scopes, size = (
        sum(what for since, what in table if abi >= since)
        for table in (_FILES_SINCE, _SCOPES_SINCE, _SIZE_SINCE)
    )
    attributes = struct.pack("=QQQ", handled, 0, scopes)
    ruleset = syscall(_CREATE, attributes[:size], size, 0)
    try:
        for place, rights in rules:
            rule = struct.pack("=Qi", rights & handled, place)
            syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        syscall(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
