"""The distribution of a job's numbers, from one look at each: what a simulation is run for. Pure.

Mean and variance by Welford's recurrence, which does not lose digits to large means. Quantiles from
a sketch whose answers are right to a relative error of `ACCURACY`, in memory that does not grow
with the numbers.

Source: B. P. Welford, Note on a method for calculating corrected sums of squares and products
(1962); C. Masson, J. E. Rim, H. K. Lee, DDSketch (VLDB 2019).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import ceil, exp, inf, isfinite, log, sqrt

import orjson

ACCURACY = 0.005
"""Relative error of a quantile, at most."""

Z_95 = 1.959964
"""Standard errors to each side of an interval that holds the mean in 95 of 100 cases."""

_WIDTH = log((1 + ACCURACY) / (1 - ACCURACY))
_MIDDLE = 2 / (1 + exp(_WIDTH))


class Summary:
    """What is known of the numbers so far.

    Attributes:
        count: how many.
        mean: of them; 0 if there are none.
        low, high: the smallest and the largest.
    """

    __slots__ = ("_negative", "_positive", "_squares", "_zeros", "count", "high", "low", "mean")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.low = inf
        self.high = -inf
        self._squares = 0.0
        self._zeros = 0
        self._positive: dict[int, int] = {}
        self._negative: dict[int, int] = {}

    def add(self, number: float) -> None:
        """Take a finite number in."""
        self.count += 1
        before = number - self.mean
        self.mean += before / self.count
        self._squares += before * (number - self.mean)
        self.low = min(self.low, number)
        self.high = max(self.high, number)
        if not number:
            self._zeros += 1
            return
        bins = self._positive if number > 0 else self._negative
        place = ceil(log(abs(number)) / _WIDTH)
        bins[place] = bins.get(place, 0) + 1

    @property
    def variance(self) -> float | None:
        """The sample variance (divided by `count` - 1); None of fewer than two numbers."""
        return self._squares / (self.count - 1) if self.count > 1 else None

    @property
    def standard_error(self) -> float | None:
        """Of the mean."""
        return None if self.variance is None else sqrt(self.variance / self.count)

    def interval(self) -> tuple[float, float] | None:
        """Return where the mean is in 95 of 100 cases, by the normal approximation."""
        error = self.standard_error
        return None if error is None else (self.mean - Z_95 * error, self.mean + Z_95 * error)

    def quantile(self, share: float) -> float | None:
        """Return the number below which a share of all is, to within `ACCURACY` of it.

        Args:
            share: 0 … 1.
        """
        if not self.count:
            return None
        rank = share * (self.count - 1)
        seen = 0
        for number, count in self._ascending():
            seen += count
            if seen > rank:
                return min(max(number, self.low), self.high)
        return self.high

    def _ascending(self) -> Iterator[tuple[float, int]]:
        """Yield a number for each bin, and how many are in it."""
        for place in sorted(self._negative, reverse=True):
            yield -_middle(place), self._negative[place]
        if self._zeros:
            yield 0.0, self._zeros
        for place in sorted(self._positive):
            yield _middle(place), self._positive[place]


def _middle(place: int) -> float:
    try:
        return _MIDDLE * exp(place * _WIDTH)
    except OverflowError:
        return inf


def value_of(text: bytes) -> object:
    """Decode a value; a number that no double holds becomes an infinity."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text, parse_int=float)


def number_in(value: object, member: str | None) -> float | None:
    """Find the number in a call's value: the value itself, or a member of it; None without one."""
    if member is not None:
        value = value.get(member) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None
