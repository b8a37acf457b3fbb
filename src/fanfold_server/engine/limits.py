"""What a worker may take, and which limits hold at which service level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fanfold_server.model.apply import ServiceLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one worker may take. A worker is a process with all that it starts.

    Attributes:
        memory_mib: private memory of a process (RLIMIT_DATA), and of the worker (a watchdog's
            limit, and a control group's with room for temporary files), in MiB.
        files: open descriptors of a process.
        processes: processes and threads of the worker in a control group; else of its user id, in
            force only with an own user id.
        file_mib: largest file, in MiB.
        tmp_mib: temporary files, in MiB: behind bubblewrap of the workers of one owner together,
            else of the worker (a watchdog's limit).
        output_mib: what a call may print, in MiB.
        cpu_s: processor time of one call; None: no limit.
        cpus: processors that the worker may keep busy, in force in a control group; None: all.
        call_s: wall time of one call; None: no limit but what a run asks for.
    """

    memory_mib: int
    files: int
    processes: int
    file_mib: int
    tmp_mib: int = 1024
    output_mib: int = 256
    cpu_s: float | None = None
    cpus: float | None = None
    call_s: float | None = None


class Tiers:
    """The limits of all service levels; levels with the same limits are one tier.

    Args:
        usual: of levels that have none of their own.
        levels: of those that have.
    """

    def __init__(self, usual: Limits, levels: Mapping[ServiceLevel, Limits] | None = None) -> None:
        self._levels = [(levels or {}).get(level, usual) for level in ServiceLevel]
        self._tiers = [*dict.fromkeys(self._levels)]
        numbers = map(self._tiers.index, self._levels)
        self._numbers = dict(zip(ServiceLevel, numbers, strict=True))

    def number(self, level: ServiceLevel) -> int:
        """Return the tier of a level."""
        return self._numbers[level]

    def of(self, level: ServiceLevel) -> Limits:
        """Return what holds at a level."""
        return self._tiers[self._numbers[level]]

    def __getitem__(self, number: int) -> Limits:
        return self._tiers[number]

    def __len__(self) -> int:
        return len(self._tiers)

    def by_level(self) -> dict[ServiceLevel, Limits]:
        """Return what holds, level by level."""
        return dict(zip(ServiceLevel, self._levels, strict=True))
