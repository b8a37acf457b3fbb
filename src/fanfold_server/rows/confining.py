"""What a process that runs users' SQL gives up when it starts."""

from __future__ import annotations

import ctypes
import resource
import signal
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000


def die_with_the_server() -> None:
    """Be killed when the server ends, however it does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def leave_the_network() -> None:
    """Have no network, where the host lets us: a way out that nobody can find by SQL, either.

    As root that needs nothing more; otherwise a user namespace, which some hosts forbid.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def keep_memory_private() -> None:
    """Let no other process of this account look into this one's memory, alive or dead."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(size_mib: int) -> None:
    """Take no more than that from now on; what is mapped from files does not count.

    What is there already is not the query's: libraries set a gigabyte of addresses aside, and use
    next to nothing of it.
    """
    status = Path("/proc/self/status").read_text("ascii")
    taken_kib = next(int(line.split()[1]) for line in status.splitlines() if "VmData:" in line)
    size_bytes = taken_kib * 1024 + size_mib * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, size_bytes))
