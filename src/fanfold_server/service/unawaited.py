"""Tasks whose end may come when nobody waits for it any more.

The event loop reports an error that nobody was told of as a fault of ours, whenever the garbage
collector comes upon the task: seldom, and never where it was. Called by whoever begins a task and
may leave before it has ended.
"""

from __future__ import annotations

import asyncio
from typing import Any


def seen(task: asyncio.Future[Any]) -> None:
    """Take a task's error as told: to whoever waits for it, and that may be nobody."""
    if not task.cancelled():
        task.exception()
