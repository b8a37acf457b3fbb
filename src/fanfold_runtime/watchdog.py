"""What a worker holds with all that it has started: what no resource limit bounds.

The limit of a process does not see its children, nor memory that it shares with them. So a zygote
looks at its workers' trees a few times a second. What is read first counts pages that a fork has
not copied yet as everybody's; only who is over the limit by that is measured exactly.

Source: proc_pid_status(5), proc_pid_smaps(5), proc_pid_stat(5).
"""

from __future__ import annotations

import os
from contextlib import suppress

PERIOD_S = 0.2
"""How often workers are looked at."""

SPACE_PERIOD_S = 1.0
"""How often their directories are looked at, where these have no limit of their own."""

MAX_ENTRIES = 20_000
"""Files that are looked at of one worker; it is not worth more time."""

_TICKS = os.sysconf("SC_CLK_TCK")
_ROUGH = ("RssAnon:", "RssShmem:")
_EXACT = ("Pss_Anon:", "Pss_Shmem:")


def tree_of(pid: int) -> list[int]:
    """Return a process and all that it has started and that has not been orphaned."""
    found = [pid]
    for member in found:
        try:
            with open("/proc/%d/task/%d/children" % (member, member)) as file:
                found.extend(int(word) for word in file.read().split())
        except OSError:  # it has ended, or this system tells nothing of children
            continue
    return found


def taken_kib(pid: int, limit_kib: int) -> int:
    """Return what a worker's tree takes if that is more than the limit, else 0."""
    tree = tree_of(pid)
    if sum(_read(member, "status", _ROUGH) for member in tree) <= limit_kib:
        return 0
    taken = sum(_read(member, "smaps_rollup", _EXACT) for member in tree)
    return taken if taken > limit_kib else 0


def _read(pid: int, name: str, fields: tuple[str, ...]) -> int:
    """Return the sum of some fields of a file of /proc, in KiB; 0 if the process has ended."""
    try:
        with open("/proc/%d/%s" % (pid, name), errors="replace") as file:  # its name is its own
            lines = file.read().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(fields))


def cpu_ms(pid: int) -> int:
    """Return the processor time of a worker and of all that it has started, in ms."""
    ticks = 0
    for member in tree_of(pid):
        with suppress(OSError, ValueError, IndexError):  # it has ended
            with open("/proc/%d/stat" % member, errors="replace") as file:
                words = file.read().rpartition(")")[2].split()
            ticks += sum(map(int, words[11:15]))  # its own, and of children that were waited for
    return ticks * 1000 // _TICKS


def space_kib(folder: str, limit_kib: int) -> int:
    """Return what the files below a directory take if that is more than the limit, else 0."""
    taken = entries = 0
    folders = [folder]
    while folders and entries < MAX_ENTRIES:
        with suppress(OSError), os.scandir(folders.pop()) as found:
            for entry in found:
                entries += 1
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    taken += entry.stat(follow_symlinks=False).st_blocks // 2
                if entries >= MAX_ENTRIES:
                    break
    return taken if taken > limit_kib else 0
