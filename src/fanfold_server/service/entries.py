"""A job's ledger as it is listed: an entry for each call, failures in groups."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from fanfold_server.model.job import Job
from fanfold_server.service.folding import error_entry
from fanfold_server.service.planning import is_indexed
from fanfold_server.service.reading import Reading, as_failed
from fanfold_server.store.port import BatchRecord, BatchState, BlobKind, CallFailure, Ledger

MAX_LOG_TAIL = 4_000
"""Characters of a call's log that a listing shows."""

SAMPLES = 10

WAITING, RETURNED, FAILED = "waiting", "returned", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeEntry:
    """What came of one call, as it is listed.

    Attributes:
        state: "waiting", "returned" or "failed".
        attempts: how often its batch was begun.
        elapsed_us, peak_kib: None where it was not measured.
        error: code, type, message, traceback of a failed call.
    """

    index: int
    state: str
    attempts: int
    elapsed_us: int | None
    peak_kib: int | None
    log: str
    error: dict[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Failed calls that failed alike.

    Attributes:
        line: the last frame of the user's own source, "line 3, in f"; empty if there is none.
        pattern: the message with its numbers replaced by `#`.
        sample: the lowest indexes, at most ten.
    """

    code: int
    type: str
    line: str
    pattern: str
    message: str
    count: int
    sample: list[int]


class Entries:
    """Lists what is recorded of calls."""

    def __init__(self, *, ledger: Ledger, reading: Reading) -> None:
        self._ledger = ledger
        self._reading = reading

    async def outcomes(
        self, job: Job, *, state: str | None, start: int, limit: int
    ) -> list[OutcomeEntry]:
        """List outcomes in index order from index `start`; `state` as in `OutcomeEntry`."""
        indexed = is_indexed(job.spec)
        found: list[OutcomeEntry] = []
        if state == FAILED:
            async for failure in self._reading.failures(job.id, start=start):
                found.append(_failed_entry(failure, indexed=indexed))
                if len(found) == limit:
                    break
            return found
        first = await self._reading.batch_of(job.id, start) if start > 1 else 0
        async for record in self._reading.batches(job.id, first=first):
            if state == WAITING and record.returned + record.failed == record.batch.count:
                continue
            for entry in await self._entries(record, start, indexed=indexed):
                if state in {None, entry.state}:
                    found.append(entry)
                    if len(found) == limit:
                        return found
        return found

    async def _entries(
        self, record: BatchRecord, start: int, *, indexed: bool
    ) -> list[OutcomeEntry]:
        """List the outcomes of one batch, from index `start` on."""
        batch = record.batch
        finished = record.state is BatchState.FINISHED
        failed: dict[int, OutcomeEntry] = {}
        logs: dict[int, str] = {}
        elapsed: Sequence[int] = ()
        peak: Sequence[int] = ()
        if finished:
            if record.failed:
                rows = await self._ledger.failures(
                    batch.job, start=max(start, batch.start), limit=batch.count
                )
                failed = {row.index: _failed_entry(row, indexed=indexed) for row in rows}
            meters = await self._reading.form(record, BlobKind.METERS)
            if len(meters) == 8 * batch.count:
                numbers = struct.unpack(f"<{2 * batch.count}I", meters)
                elapsed, peak = numbers[: batch.count], numbers[batch.count :]
            for line in (await self._reading.form(record, BlobKind.LOGS)).splitlines():
                entry = orjson.loads(line)
                logs[entry["index"]] = entry["log"]
        known = batch.start + record.returned + record.failed if finished else batch.start
        entries = []
        for index in range(max(start, batch.start), batch.start + batch.count):
            place = index - batch.start
            entries.append(
                failed.get(index)
                or OutcomeEntry(
                    index=index,
                    state=RETURNED if index < known else WAITING,
                    attempts=max(batch.fence, 1) if index < known else batch.fence,
                    elapsed_us=elapsed[place] if elapsed else None,
                    peak_kib=(peak[place] or None) if peak else None,
                    log=logs.get(index, "")[-MAX_LOG_TAIL:],
                    error=None,
                )
            )
        return entries

    async def groups(self, job: str) -> list[ErrorGroup]:
        """Group the failed calls of a job, the largest group first."""
        return [
            ErrorGroup(
                code=group.code,
                type=group.type,
                line=group.place,
                pattern=group.pattern,
                message=group.message,
                count=group.count,
                sample=list(group.indexes),
            )
            for group in await self._ledger.failure_groups(job, samples=SAMPLES)
        ]


def _failed_entry(row: CallFailure, *, indexed: bool) -> OutcomeEntry:
    error = error_entry(as_failed(row), indexed=indexed)
    error.pop("index", None)
    return OutcomeEntry(
        index=row.index,
        state=FAILED,
        attempts=row.attempts,
        elapsed_us=row.elapsed_us or None,
        peak_kib=row.peak_kib or None,
        log=row.log[-MAX_LOG_TAIL:],
        error=error,
    )
