"""When a job has seen enough: the condition under which it ends before its last call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

MIN_CALLS = 30
"""So many numbers are asked for if nothing else is said: fewer say little of their own spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopWhen:
    """A precision of the mean that will do.

    Attributes:
        se: standard error at or below which the mean is known well enough, > 0; None: any.
        relative_se: the same as a share of the mean's size, > 0; None: any. One of the two is
            given; of both, both have to hold.
        min_calls: numbers before which the condition is not looked at, ≥ 2.
        member: of values that are objects, whose number; None: the value itself.
    """

    se: float | None = None
    relative_se: float | None = None
    min_calls: int = MIN_CALLS
    member: str | None = None

    def is_met(self, count: int, mean: float, squares: float) -> bool:
        """Say whether numbers will do.

        Args:
            count: how many there are, ≥ 2.
            mean: of them.
            squares: the sum of the squares of their distances from it.
        """
        error = sqrt(squares / (count - 1) / count)
        return (self.se is None or error <= self.se) and (
            self.relative_se is None or error <= self.relative_se * abs(mean)
        )

    def members(self) -> dict[str, Any]:
        """Write it as JSON has it; `of_members` reads it back."""
        return {
            "se": self.se,
            "relativeSe": self.relative_se,
            "minCalls": self.min_calls,
            "member": self.member,
        }

    @classmethod
    def of_members(cls, members: Mapping[str, Any]) -> StopWhen:
        """Read what `members` wrote."""
        return cls(
            se=members["se"],
            relative_se=members["relativeSe"],
            min_calls=members["minCalls"],
            member=members["member"],
        )
