"""Ctrl-C where an event loop runs: told from every other way in which a task is cancelled.

A loop answers Ctrl-C by cancelling its main task, and so does a notebook's kernel. Who waits for a
job then sees a cancellation like any other, though somebody may be there to be asked. So the signal
is counted on its way to whoever handled it before.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """Counts Ctrl-C while somebody waits; may be entered by many at once.

    Attributes:
        count: how often it was pressed by now.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiting = 0
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        self._waiting += 1
        if self._waiting == 1 and threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._waiting -= 1
        if self._waiting or self._before is None:
            return
        if signal.getsignal(signal.SIGINT) == self._pressed:
            signal.signal(signal.SIGINT, self._before)
        self._before = None

    def _pressed(self, number: int, frame: FrameType | None) -> Any:
        self.count += 1
        return self._before(number, frame)
