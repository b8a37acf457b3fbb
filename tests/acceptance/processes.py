"""What a server leaves on its machine, seen from outside through /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.calm import Stopwatch
from tests.family import zygote_below

POLL_S = 0.02


def until(condition: Callable[[], object], limit_s: float, what: str) -> float:
    """Wait until the condition holds; give the seconds that it took. Fails after `limit_s`."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < limit_s, f"not within {limit_s} s: {what}"
        time.sleep(POLL_S)
    return time.monotonic() - began


def promised(condition: Callable[[], object], within_s: float, what: str) -> None:
    """Wait until the condition holds, which is promised within so long: see `Stopwatch`."""
    watch = Stopwatch()
    while not condition():
        counted = watch.counted_s()
        assert counted < within_s, f"not within {within_s} s: {what}"
        time.sleep(POLL_S)


def holders(marker: str) -> set[int]:
    """Find the processes that have a file open whose name holds the marker.

    Descriptors are inherited by whatever a process forks, whatever session, name or namespace that
    takes for itself; a path of an unlinked file still shows its name.
    """
    found = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            links = [os.readlink(entry) for entry in (folder / "fd").iterdir()]  # noqa: PTH115
        except OSError:  # it has ended, or is not ours to look into
            continue
        if any(marker in link for link in links):
            found.add(int(folder.name))
    return found


def zygotes(server_pid: int) -> list[psutil.Process]:
    """List the processes that fork workers: the server's own children, or what wraps them wraps."""
    found = (zygote_below(child) for child in psutil.Process(server_pid).children())
    return [zygote for zygote in found if zygote is not None]


def workers(server_pid: int) -> list[psutil.Process]:
    """List the workers of a server: what its zygotes have forked."""
    found = []
    for zygote in zygotes(server_pid):
        try:
            found += zygote.children()
        except psutil.NoSuchProcess:
            continue
    return found


def descriptors(pid: int) -> dict[str, int]:
    """Count the open descriptors of a process by kind, such as socket or pipe."""
    counts: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            link = os.readlink(entry)  # noqa: PTH115  # "socket:[1]" is no path
        except OSError:
            continue
        kind = link.partition(":")[0] if ":" in link else link
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def is_gone(pid: int) -> bool:
    """Say whether a process has ended; one that only waits to be collected has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
