"""How many calls of a job an agent takes at once: short ones together, long ones batch by batch.

Called by `dispatching.py`. A batch is what is stored and what is lost; what it costs to hand one to
a worker and to get it back is more than a trivial call takes, by a thousand times. So batches that
lie beside one another run as one work, once it is known that they are short.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict

from fanfold_server.model.job import JobSpec
from fanfold_server.service.planning import MAX_BATCH

TARGET_US = 100_000
"""A work is to take about so long: others have their turn, and results come in, in between."""

OVERHEAD_US = 1
"""Of each call, beside what it says itself."""

REMEMBERED = 1000
"""Scripts."""


class Costs:
    """What calls have taken of late, by script and environment."""

    def __init__(self) -> None:
        self._us: OrderedDict[tuple[str, str], float] = OrderedDict()

    def note(self, spec: JobSpec, elapsed: bytes) -> None:
        """Learn from calls that have ended.

        Args:
            spec: of their job.
            elapsed: microseconds of each, little-endian u32; 0 where it is not known.
        """
        taken = array("I", elapsed)
        if not taken:
            return
        mean = sum(taken) / len(taken) + OVERHEAD_US
        key = _key(spec)
        # What has become slower is believed at once, what has become faster by halves.
        self._us[key] = max(mean, (self._us.get(key, mean) + mean) / 2)
        self._us.move_to_end(key)
        if len(self._us) > REMEMBERED:
            self._us.popitem(last=False)

    def calls_at_once(self, spec: JobSpec) -> int:
        """Return how many calls make a work; 1: each batch is one."""
        us = self._us.get(_key(spec))
        if us is None or spec.graphics:
            return 1
        return max(1, min(int(TARGET_US / us), MAX_BATCH))


def _key(spec: JobSpec) -> tuple[str, str]:
    return spec.digest, spec.environment
