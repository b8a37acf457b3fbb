"""Finds and kills what a zygote that was killed could not: the processes of its workers.

While a zygote lives, it is the parent of all that its workers leave behind. A script can kill it,
since both have one user id; then the orphans are known by their user id, if the zygote had one of
its own, and by their environment, which names the zygote's directory.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from fanfold_server.engine.scratch import PREFIX

LIMIT_S = 2.0
"""How long strays are hunted: they may fork faster than they are found."""


def kill_strays(home: Path, uid: int | None) -> int:
    """Kill the processes of a zygote that has ended; return how many were found.

    Args:
        home: the zygote's directory.
        uid: its own user id; None if it shared the server's.
    """
    killed = 0
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        found = [pid for pid in _processes() if _belongs(pid, home, uid)]
        if not found:
            break
        for pid in found:
            killed += _kill(pid, home, uid)
    return killed


def _processes() -> list[int]:
    try:
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    except OSError:  # not Linux: the death of the parent has to do
        return []


def _belongs(pid: int, home: Path, uid: int | None) -> bool:
    """Tell whether a process is of this zygote; one that has ended is nobody's."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")  # its name is its own
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or is another user's
        return False
    if "\nState:\tZ" in status:
        return False
    if os.fsencode(home) in environment:
        return pid != os.getpid()
    # a program may have been started with an environment of its own; it is not another server's
    is_of_uid = uid is not None and f"\nUid:\t{uid}\t" in status
    return is_of_uid and PREFIX.encode() not in environment


def _kill(pid: int, home: Path, uid: int | None) -> bool:
    """Kill a process unless its number has passed on to another."""
    with suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if _belongs(pid, home, uid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
        finally:
            os.close(handle)
    return False
