"""How much memory a worker holds with all that it has started: what no resource limit bounds.

The limit of a process does not see its children, nor memory that it shares with them. So a zygote
looks at its workers' trees a few times a second. What is read first counts pages that a fork has
not copied yet as everybody's; only who is over the limit by that is measured exactly.

Source: proc_pid_status(5), proc_pid_smaps(5).
"""

from __future__ import annotations

PERIOD_S = 0.2
"""How often workers are looked at."""

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
        with open("/proc/%d/%s" % (pid, name)) as file:
            lines = file.read().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(fields))
