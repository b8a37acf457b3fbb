"""The memory of preloaded libraries in pages of 2 MiB, for the sake of the forks that follow.

A fork copies an entry of the page table for each page of memory of the process's own, and the
child's end takes each back. With NumPy, pandas and Matplotlib loaded these are 20,000 of 4 KiB, and
they are half of what a process costs that serves one run. A page of 2 MiB has one entry; the kernel
parts it in a child, and only there, when that writes to it, and copies 4 KiB as ever.

Python takes memory for its objects in pieces of 1 MiB, between which libraries would be mapped. So
room is made for them beside one another before anything is loaded.

Source: https://docs.kernel.org/admin-guide/mm/transhuge.html, madvise(2), proc_pid_pagemap(5).
"""

from __future__ import annotations

import array
import os
from collections.abc import Iterator
from contextlib import suppress

from fanfold_runtime import kernel

RESERVED_BYTES = 44 << 20
"""What Python's objects take with pandas and Matplotlib loaded; what is not used is given back."""

_LARGEST_BYTES = 479
"""Of a `bytes` that Python puts into such a piece of memory."""

_KEPT = 512
"""Of so many in a row one is kept, which is at least one in each piece."""

_HUGE = 2 << 20
_COLLAPSE = 25
_PRESENT = 1 << 63
_FULL_ENOUGH = 0.75
"""The part of 2 MiB that must be in use: the rest of it will be."""


def reserve() -> list[bytes]:
    """Make room; who lets go of what is returned gives back what nothing else has come to use."""
    try:
        # a list that grows would move, and leave gaps
        held = [b""] * (RESERVED_BYTES // (_LARGEST_BYTES + 33))
        for at in range(len(held)):
            held[at] = bytes(_LARGEST_BYTES)
    except MemoryError:  # what is loaded may fit all the same
        return []
    return held[::_KEPT]


def compact() -> None:
    """Put the memory of this process into large pages, as far as this kernel does that."""
    with suppress(OSError):  # it does not; or it does not tell of its pages
        page = os.sysconf("SC_PAGE_SIZE")
        with open("/proc/self/maps") as maps:
            places = [line.split() for line in maps]
        with open("/proc/self/pagemap", "rb", buffering=0) as pages:
            for start, end in _stretches(places, pages.fileno(), page):
                kernel.advise(start, end - start, _COLLAPSE)


def _stretches(places: list[list[str]], pages: int, page: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of memory that is the process's own, and in use."""
    for addresses, rights, _, _, _, *name in places:
        if rights != "rw-p" or name not in ([], ["[heap]"]):
            continue
        low, high = (int(address, 16) for address in addresses.split("-"))
        begun = end = -(-low // _HUGE) * _HUGE
        for at in range(begun, high - _HUGE + 1, _HUGE):
            if _part_in_use(pages, at, page) >= _FULL_ENOUGH:
                end = at + _HUGE
                continue
            if end > begun:
                yield begun, end
            begun = end = at + _HUGE
        if end > begun:
            yield begun, end


def _part_in_use(pages: int, start: int, page: int) -> float:
    entries = array.array("Q", os.pread(pages, _HUGE // page * 8, start // page * 8))
    return sum(entry >= _PRESENT for entry in entries) * page / _HUGE
