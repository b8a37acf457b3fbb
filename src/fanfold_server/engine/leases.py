"""How the calls of a work are shared among workers. Pure: no clock, no I/O.

A worker takes a *guided share* of what is left (1 / 2P of it) together with a time limit. When the
time is up it returns what it has done and the tail is shared again. Known-small work goes out as
one lease. Calls that a worker held when it died are leased again *carefully*, one by one, so that a
second death convicts the call that was in hand.

Source: guided self-scheduling (Polychronopoulos and Kuck, 1987), with a time limit per lease.
"""

from __future__ import annotations

from dataclasses import dataclass

SMALL_WORK_US = 1_000.0
"""Work that is known to take less than this in all is given to one worker as one lease."""

DEEP_BELOW_US = 2_000.0
"""Workers hold two leases at once if a call is known to take less than this."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Calls start … start+count-1, held by one worker. `careful`: report each call by itself."""

    start: int
    count: int
    careful: bool = False

    @property
    def end(self) -> int:
        return self.start + self.count


class Leases:
    """The calls of one work: what waits, what is out; the rest has its outcome.

    Args:
        start: first index.
        count: how many calls, ≥ 1.
        degree: how many workers share them, ≥ 1.
        call_us: microseconds that a call of this script is known to take; None if unknown.
    """

    __slots__ = ("_call_us", "_degree", "_suspects", "_waiting", "left", "out")

    def __init__(self, start: int, count: int, degree: int, call_us: float | None = None) -> None:
        self._waiting: list[tuple[int, int]] = [(start, count)]  # lowest index last
        self._suspects: list[tuple[int, int]] = []
        self._degree = degree
        self._call_us = call_us
        self.left = count
        """Calls that wait."""
        self.out = 0
        """Calls that workers hold."""

    @property
    def is_over(self) -> bool:
        return not self.left and not self.out

    @property
    def degree(self) -> int:
        """How many workers are worth having now."""
        if self._call_us is not None and self._call_us * self.left < SMALL_WORK_US:
            return 1
        return self._degree

    @property
    def depth(self) -> int:
        """How many leases a worker may hold at once.

        A second one waits behind the first, however long that takes: only where calls are known to
        be short, and only while enough is left for the other workers.
        """
        is_short = self._call_us is not None and self._call_us < DEEP_BELOW_US
        return 2 if is_short and self.left >= self._degree else 1

    def be_alone(self) -> None:
        """Let one worker at a time have calls: others would be convicted with the culprit."""
        self._degree = 1

    def learn(self, call_us: float) -> None:
        """Take note of what a call has cost."""
        self._call_us = call_us if self._call_us is None else 0.5 * (self._call_us + call_us)

    def take(self) -> Lease | None:
        """Give out the next lease, lowest indexes first; None if nothing waits."""
        if self._suspects:
            start, count = self._suspects.pop()
            return self._give(Lease(start, count, careful=True))
        if not self._waiting:
            return None
        start, count = self._waiting.pop()
        if self._call_us is not None and self._call_us * self.left < SMALL_WORK_US:
            share = count
        else:
            share = min(count, -(-self.left // (2 * self._degree)))
        if share < count:
            self._waiting.append((start + share, count - share))
        return self._give(Lease(start, share))

    def _give(self, lease: Lease) -> Lease:
        self.left -= lease.count
        self.out += lease.count
        return lease

    def returned(self, lease: Lease, done: int) -> None:
        """Take back a lease of which the first `done` calls have their outcome."""
        self.out -= lease.count
        tail = lease.count - done
        if tail:
            back = self._suspects if lease.careful else self._waiting
            back.append((lease.start + done, tail))
            self.left += tail

    def lost(self, held: list[tuple[Lease, int]], *, convict: bool = False) -> int | None:
        """Take back the leases of a dead worker, in the order in which it held them.

        Args:
            held: each lease with the number of its first calls whose outcome is known; only the
                first of them can have been begun.
            convict: it is known that the call in hand is to blame.

        Returns:
            The index of the convicted call, to be recorded as lost; None if all are retried.
        """
        convicted: int | None = None
        for position, (lease, done) in enumerate(held):
            self.out -= lease.count
            start, count = lease.start + done, lease.count - done
            if not count:
                continue
            if (lease.careful or convict) and position == 0:
                convicted = start
                start, count = start + 1, count - 1
            if count:
                began = position == 0 or lease.careful
                (self._suspects if began else self._waiting).append((start, count))
                self.left += count
        self._suspects.sort(reverse=True)
        self._waiting.sort(reverse=True)
        return convicted

    def unstarted(self, held: list[Lease]) -> None:
        """Take back leases that a retiring worker had not begun."""
        for lease in held:
            self.returned(lease, 0)

    def stop(self) -> int:
        """Forget what waits; return how many calls that were."""
        forgotten, self.left = self.left, 0
        self._waiting.clear()
        self._suspects.clear()
        return forgotten
