"""What the store knows of environments; `port.py` says what every method guarantees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class EnvironmentUses(Protocol):
    """Who will run where."""

    async def open_jobs(self) -> Mapping[tuple[str, int | None], Mapping[str, int]]:
        """Count the jobs that have not ended: by environment and version, then by owner."""
        ...
