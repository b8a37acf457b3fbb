"""How much memory processes take, each page that they share counted once among them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def shared_out_kib(pids: Iterable[int]) -> int:
    """Add up the proportional set sizes (PSS) of processes; one that has ended has none."""
    return sum(map(_pss_kib, pids))


def _pss_kib(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended, or is not ours to look into
        return 0
    line = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
    return int(line.split()[1])
