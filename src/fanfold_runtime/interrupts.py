"""SIGINT, which a script may send to itself: an interrupt of its calls, and of nothing else.

`_thread.interrupt_main` from a timer is a common way to limit a function's time, and a timer that
fires late meets whatever runs by then. In the worker's own code an interrupt would end the worker,
and with it calls that have nothing to do with it.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Interrupts:
    """Raises KeyboardInterrupt in code of a script, or that it has called.

    Args:
        loop: the namespace of the code that calls scripts.

    Attributes:
        in_call: whether that code is calling a script, and takes what this raises for the call's.
    """

    def __init__(self, loop: dict[str, Any]) -> None:
        self._loop = loop
        self.in_call = False
        signal.signal(signal.SIGINT, self._arrive)

    def _arrive(self, _: int, frame: FrameType | None) -> None:
        """Look for code of others between what was interrupted and the loop.

        The loop itself is never interrupted, so that it cannot miss a call's end: an interrupt that
        comes when a call has returned or raised, and before `in_call` is unset, is nobody's.
        """
        while self.in_call and frame is not None and frame.f_globals is not self._loop:
            if not str(frame.f_globals.get("__name__")).startswith(__package__):
                raise KeyboardInterrupt
            frame = frame.f_back
