"""What a call of a script takes, remembered from one run to the next."""

from __future__ import annotations

from fanfold_server.engine.port import Work

MAX_REMEMBERED = 10_000
"""Scripts whose cost per call is remembered."""


class Costs:
    """The last known cost of a call, by script and environment: a run's first leases fit it."""

    def __init__(self) -> None:
        self._call_us: dict[tuple[str, str], float] = {}

    def of(self, work: Work) -> float | None:
        """Return the microseconds of a call; None if such work has never been done."""
        return self._call_us.get((work.script.digest, work.environment.name))

    def remember(self, work: Work, us: int, count: int) -> None:
        """Note that so many calls took so many microseconds, if there were any."""
        if count:
            if len(self._call_us) > MAX_REMEMBERED:
                self._call_us.clear()
            self._call_us[work.script.digest, work.environment.name] = us / count
