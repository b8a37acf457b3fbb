"""Being told to end: Ctrl-C and its like, which may come at any moment and are never lost."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """Listens to the signals that end a program, from `opened` on.

    Python raises what a handler raises wherever the program is at that moment: also between the
    start of a process and the `try` that ends it, while something is being cleaned up, or in a
    finaliser, which drops it. Here a signal is only noted; it interrupts what was said to be
    interruptible, at once or when the program gets there.
    """

    def __init__(self) -> None:
        self._told: int | None = None
        self._is_interruptible = False
        self._heard: list[int] = []

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Listen, and end in the signal's manner at the end of the block, if one has come."""
        # What whoever started us has set to be ignored (nohup, a shell's &) stays ignored.
        before = {
            number: handler
            for number in _SIGNALS
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN
        }
        self._heard = [*before]
        for number in before:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        self._end_if_told()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal end what is in this block.

        Raises:
            KeyboardInterrupt: SIGINT has come, now or since the last such block.
            SystemExit: another has; the status is 128 and its number.
        """
        self._is_interruptible = True
        try:
            self._end_if_told()
            yield
        finally:
            self._is_interruptible = False

    def wait(self) -> None:
        """Wait until told to end; SIGINT is what was waited for.

        Raises:
            SystemExit: it was another signal.
        """
        # Blocked, a signal waits for `sigwait`. `pause` would sleep through one that comes just
        # before it: the handler has run by then, and nothing else will wake it.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._heard)
        try:
            number = self._told or signal.sigwait(self._heard)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._heard)
        self._told = None if number == signal.SIGINT else int(number)
        self._end_if_told()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._told = number
        if self._is_interruptible:
            self._end_if_told()

    def _end_if_told(self) -> None:
        if self._told == signal.SIGINT:
            raise KeyboardInterrupt
        if self._told is not None:
            sys.exit(128 + self._told)
