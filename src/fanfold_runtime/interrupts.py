"""Signals that a script handles, or sends to itself: an affair of its calls, and of nothing else.

`_thread.interrupt_main` from a timer and an alarm whose handler raises are common ways to limit a
function's time, and a timer that fires late meets whatever runs by then. In the worker's own code
an exception would end the worker, and with it calls that have nothing to do with it.
"""

from __future__ import annotations

import functools
import os
import signal
from types import FrameType
from typing import Any, Callable

_set: Any = signal.signal
_get: Any = signal.getsignal


class Interrupts:
    """Lets handlers run in code of a script, or that it has called, and nowhere else.

    `signal.signal` and `signal.getsignal` speak of the script's own handlers, as ever.

    Attributes:
        in_call: whether the loop is calling a script, and takes what a handler raises for the
            call's.
    """

    def __init__(self) -> None:
        self._loop: dict[str, Any] = {}
        self.in_call = True

        @functools.wraps(_set)
        def set_handler(signalnum: Any, handler: Any) -> Any:
            return _bare(_set(signalnum, _Handler(self, handler) if callable(handler) else handler))

        @functools.wraps(_get)
        def get_handler(signalnum: Any) -> Any:
            return _bare(_get(signalnum))

        signal.signal, signal.getsignal = set_handler, get_handler

    def begin(self, loop: dict[str, Any]) -> None:
        """Take SIGINT for KeyboardInterrupt.

        Args:
            loop: the namespace of the code that calls scripts.
        """
        self._loop = loop
        self.in_call = False
        os.register_at_fork(after_in_child=self._be_a_child)
        _set(signal.SIGINT, _Handler(self, signal.default_int_handler))

    def _be_a_child(self) -> None:
        """In a process that a script has forked nothing is ours, whichever thread did it."""
        self.in_call = True

    def reach(self, frame: FrameType | None) -> bool:
        """Look for code of others between what was interrupted and the loop.

        The loop itself is never interrupted, so that it cannot miss a call's end: a signal that
        comes when a call has returned or raised, and before `in_call` is unset, is nobody's.
        """
        while self.in_call and frame is not None and frame.f_globals is not self._loop:
            if not str(frame.f_globals.get("__name__")).startswith(__package__):
                return True
            frame = frame.f_back
        return False


class _Handler:
    """A handler that is called where it may raise."""

    __slots__ = ("_interrupts", "handler")

    def __init__(self, interrupts: Interrupts, handler: Callable[[int, Any], Any]) -> None:
        self._interrupts = interrupts
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._interrupts.reach(frame):
            self.handler(number, frame)


def _bare(handler: Any) -> Any:
    return handler.handler if isinstance(handler, _Handler) else handler
