"""What is said of a call that has gone over a limit; see `limits.py`."""

from __future__ import annotations

from dataclasses import dataclass

from fanfold_server.engine.limits import Limits
from fanfold_server.model.outcome import FailureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A limit for which a worker is killed.

    Attributes:
        kind: which.
        type: the name of the failure.
        taken: what was taken, and the limit.
    """

    kind: FailureKind
    type: str
    taken: str


def cpu_hit(taken_s: float, limit_s: float) -> Hit:
    """Too much processor time."""
    taken = f"out of processor time: {taken_s:.1f} s of {limit_s:g} s"
    return Hit(kind=FailureKind.OUT_OF_CPU_TIME, type="ProcessorTimeExceeded", taken=taken)


def output_hit(taken_bytes: int, limit_mib: int) -> Hit:
    """Too much was printed."""
    taken = f"too much output: {_mib_up(taken_bytes)} MiB of {limit_mib} MiB were printed"
    return Hit(kind=FailureKind.TOO_MUCH_OUTPUT, type="OutputExceeded", taken=taken)


def space_hit(taken_kib: int, limit_mib: int) -> Hit:
    """Too many temporary files."""
    taken = f"out of temporary space: {_mib_up(taken_kib << 10)} MiB of {limit_mib} MiB"
    return Hit(kind=FailureKind.OUT_OF_SPACE, type="TemporarySpaceExceeded", taken=taken)


def refused(kind: FailureKind, limits: Limits) -> str | None:
    """Say which limit an operation met that was refused; None: the kind is not about that."""
    match kind:
        case FailureKind.OUT_OF_PROCESSES:
            return f"out of processes: all {limits.processes} processes and threads are taken"
        case FailureKind.OUT_OF_FILES:
            return f"out of open files: all {limits.files} are taken"
        case FailureKind.OUT_OF_SPACE:
            return f"out of space: temporary files may take {limits.tmp_mib} MiB"
        case FailureKind.FILE_TOO_LARGE:
            return f"too large a file: a file may have {limits.file_mib} MiB"
        case FailureKind.TOO_MUCH_OUTPUT:  # it came so fast that the limit of files was met first
            return f"too much output: {min(limits.output_mib, limits.file_mib)} MiB may be printed"
        case _:
            return None


def _mib_up(size_bytes: int) -> int:
    return -(-size_bytes >> 20)
