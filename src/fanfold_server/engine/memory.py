"""How much memory processes take, each page that they share counted once among them.

A zygote may stand behind bubblewrap, and its workers have numbers of another namespace: what is
ours is found from the process that we have started, downwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def family_kib(roots: Iterable[int]) -> dict[int, int]:
    """Add up the proportional set sizes (PSS) of processes and of all that descend from each.

    Args:
        roots: process ids; none descends from another.

    Returns:
        Root → KiB; one that has ended has none.
    """
    children = _children()
    found = {}
    for root in roots:
        family = [root]
        for pid in family:  # it grows while it is walked
            family += children.get(pid, ())
        found[root] = sum(map(_pss_kib, family))
    return found


def _children() -> dict[int, list[int]]:
    """List the children of every process, from this machine's point of view."""
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text(errors="replace")  # its name is its own
            except OSError:  # it has ended
                continue
            parent = int(text.rpartition(")")[2].split()[1])  # a name may hold blanks and brackets
            found.setdefault(parent, []).append(int(folder.name))
    return found


def _pss_kib(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended, or is not ours to look into
        return 0
    line = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
    return int(line.split()[1])
