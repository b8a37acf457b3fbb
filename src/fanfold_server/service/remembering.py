"""Answers that hold for a moment, asked for once however many want them, and ahead of time.

Called by whoever checks tokens and finds scripts: every run needs both. Of all the requests that
find nothing remembered one asks the store and the others wait for it; each of them asking for
itself would hold up everybody. What is in use is asked for again a little before it ends, so that
nobody waits at all.

    asked ────────── known ──────────▶ AHEAD ── known, and asked for again ──▶ its end
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, TypeVar

from fanfold_server.service.unawaited import seen

AHEAD = 0.75
"""The part of a value's life after which it is asked for again as soon as somebody wants it."""

K = TypeVar("K")
V = TypeVar("V")


Find = Callable[[], Awaitable[tuple[V, float]]]


class _Entry(NamedTuple, Generic[V]):
    value: V
    ends: float
    ahead: float
    find: Find[V]


class Remembered(Generic[K, V]):
    """Remembers values for a while.

    Args:
        size: so many values are remembered; at more, all are forgotten and asked for again.
        monotonic: gives seconds; what callers of `known` pass as `now`.
    """

    def __init__(self, *, size: int, monotonic: Callable[[], float]) -> None:
        self._size = size
        self._monotonic = monotonic
        self._values: dict[K, _Entry[V]] = {}
        self._asking: dict[K, asyncio.Task[V]] = {}

    def known(self, key: K, now: float) -> V | None:
        """Return a value that still holds; None if it has to be asked for. For the hot path."""
        entry = self._values.get(key)
        if entry is None or now >= entry.ends:
            return None
        if now >= entry.ahead:
            self._begin(key, entry.find)
        return entry.value

    async def ask(self, key: K, find: Find[V]) -> V:
        """Find a value anew, and remember it; or wait for whoever is at it since the last `forget`.

        Args:
            find: gives the value and for how long it holds, seconds; what it raises is raised to
                all who wait. It is called again, ahead of the value's end, if that is in use.
        """
        return await asyncio.shield(self._begin(key, find))

    def forget(self) -> None:
        """Something has changed: neither what is known nor what is being found is used again."""
        self._values.clear()
        self._asking.clear()

    def _begin(self, key: K, find: Find[V]) -> asyncio.Task[V]:
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._find(key, find))
            self._asking[key] = task
            task.add_done_callback(seen)
        return task

    async def _find(self, key: K, find: Find[V]) -> V:
        me, asked = asyncio.current_task(), self._monotonic()
        try:
            value, life_s = await find()
        except BaseException:
            if self._end(key, me):
                self._values.pop(key, None)  # it does not hold any more: the next one is told why
            raise
        if self._end(key, me):
            if len(self._values) >= self._size:
                self._values.clear()
            self._values[key] = _Entry(value, asked + life_s, asked + life_s * AHEAD, find)
        return value

    def _end(self, key: K, task: asyncio.Task[Any] | None) -> bool:
        """Tell whether what a task has found may be used: nothing has changed in between."""
        is_current = self._asking.get(key) is task
        if is_current:
            del self._asking[key]
        return is_current
