"""What is measured for operators: families of samples, as Prometheus has them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the buckets in which durations are counted."""

Labels = tuple[tuple[str, str], ...]


class MetricKind(StrEnum):
    """How the samples of a family change."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A value; `suffix` follows the family's name, in histograms."""

    value: float
    labels: Labels = ()
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The samples of one name.

    Attributes:
        name: with its unit, and `_total` of a counter.
        meaning: one sentence.
    """

    name: str
    kind: MetricKind
    meaning: str
    samples: tuple[Sample, ...]


class Durations:
    """Counts durations by `SECONDS`."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum_s = 0.0

    def note(self, elapsed_s: float) -> None:
        self._counts[bisect_left(SECONDS, elapsed_s)] += 1
        self._sum_s += elapsed_s

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self._counts)

    def add(self, others: Durations) -> None:
        """Count those of others, too."""
        self._counts = [
            one + other for one, other in zip(self._counts, others._counts, strict=True)
        ]
        self._sum_s += others._sum_s

    def samples(self, labels: Labels = ()) -> Iterator[Sample]:
        """Give the samples of a histogram."""
        total = 0
        for end, count in zip((*map(str, SECONDS), "+Inf"), self._counts, strict=True):
            total += count
            yield Sample(value=total, labels=(*labels, ("le", end)), suffix="_bucket")
        yield Sample(value=total, labels=labels, suffix="_count")
        yield Sample(value=self._sum_s, labels=labels, suffix="_sum")


def counter(name: str, meaning: str, *samples: Sample) -> Family:
    """Make a family of what only grows."""
    return Family(name=name, kind=MetricKind.COUNTER, meaning=meaning, samples=samples)


def gauge(name: str, meaning: str, *samples: Sample) -> Family:
    """Make a family of what goes up and down."""
    return Family(name=name, kind=MetricKind.GAUGE, meaning=meaning, samples=samples)
