"""A clock for stretches of independent calls: empties the list of indexes when the time is up."""

from __future__ import annotations

import threading
import time

_clock = time.perf_counter


class Ticker:
    """Empties the list in hand when its deadline has passed.

    A thread of its own, which sleeps while no list is in hand. `list.clear` ends a `map` over the
    list at its next step, so that the limit costs nothing per call.
    """

    def __init__(self) -> None:
        self._armed = threading.Event()
        self._list: list[int] | None = None
        self._deadline = 0.0
        threading.Thread(target=self._run, name="fanfold-ticker", daemon=True).start()

    def arm(self, indexes: list[int], seconds: float) -> None:
        self._list = None
        self._deadline = _clock() + seconds
        self._list = indexes
        self._armed.set()

    def disarm(self) -> None:
        self._armed.clear()
        self._list = None

    def _run(self) -> None:
        while True:
            self._armed.wait()
            indexes = self._list
            left = self._deadline - _clock()
            if left <= 0 and indexes is not None:
                indexes.clear()
            time.sleep(min(max(left, 0.001), 0.005))
