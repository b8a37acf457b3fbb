"""Limits that are promised, measured so that a busy machine does not break them.

"Dead within 2 s" is promised of a machine that has a processor to spare, and a test may run on one
that others keep busy. The kernel counts how long anybody has waited for a processor or for a disk
(/proc/pressure); what a `Stopwatch` counts is the rest. On a quiet machine that is all the time,
and the promise is held to the letter. A tenth of the time always counts, so that whatever hangs is
found out on the busiest machine; and all of it where the kernel counts nothing.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

PRESSURES = (Path("/proc/pressure/cpu"), Path("/proc/pressure/io"))
ALWAYS = 0.1
"""The share of the time that counts however busy the machine is."""


class Stopwatch:
    """Counts the seconds since it was made in which nobody had to wait for the machine."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._waited_s = _waited_s()

    def counted_s(self) -> float:
        """Give the seconds that count."""
        passed = time.monotonic() - self._began
        return max(passed * ALWAYS, passed - (_waited_s() - self._waited_s))


def _waited_s() -> float:
    """Say how long, since the machine started, something has waited for processors and disks."""
    total_us = 0
    for pressure in PRESSURES:
        try:
            some = pressure.read_text()
        except OSError:  # a kernel that does not count, or counts for its own alone
            continue
        found = re.search(r"^some .*total=(\d+)$", some, re.MULTILINE)
        total_us += int(found.group(1)) if found else 0
    return total_us / 1e6
