"""Whose processes are whose, seen from outside.

Where bubblewrap is in force, a server's child is its monitor, whose child is the first process of
the new namespace, whose child is the zygote.
"""

from __future__ import annotations

import psutil

WRAPPERS = {"bwrap"}


def zygote_below(child: psutil.Process) -> psutil.Process | None:
    """Return the zygote that a server's child is or wraps; None if it has ended or not begun."""
    try:
        while child.name() in WRAPPERS:
            (child,) = child.children()
    except (psutil.NoSuchProcess, ValueError):
        return None
    return child


def offspring(child: psutil.Process) -> set[psutil.Process]:
    """Return the workers of the zygote that a server's child is or wraps, and what they started."""
    zygote = zygote_below(child)
    try:
        return set() if zygote is None else set(zygote.children(recursive=True))
    except psutil.NoSuchProcess:
        return set()
