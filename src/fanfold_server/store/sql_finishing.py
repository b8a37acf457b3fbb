"""Recording what came of batches: an operation of `SqlJobs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from fanfold_server.model.apply import OnError
from fanfold_server.model.job import JobState, final_state
from fanfold_server.store.job_rows import (
    AnyRow,
    content_values,
    error_of,
    error_text,
    failure_values,
)
from fanfold_server.store.port import BatchResult, CallFailure, Signal
from fanfold_server.store.prepared import Prepared
from fanfold_server.store.schema import batch, failure, job
from fanfold_server.store.sql_callbacks import tell_of_ends
from fanfold_server.store.sql_leases import DROP, ITS_KEY, held_rows, holds, is_of, key_of
from fanfold_server.store.writing import Transaction

_TALLY = Prepared(
    select(job.c.id, job.c.uuid, job.c.state, job.c.times, job.c.on_error, job.c.max_failures,
           job.c.canary, job.c.returned, job.c.failed, job.c.size_bytes, job.c.waiting,
           job.c.unfinished, job.c.callback_url, job.c.stop_when,
           job.c.result_table)
    .where(job.c.uuid.in_(bindparam("uuids", expanding=True)))
    .order_by(job.c.id)
    .with_for_update()
)  # fmt: skip
_RECORD = Prepared(
    update(batch)
    .where(ITS_KEY)
    .values(
        {
            "state": "finished",
            "returned": bindparam("b_returned"),
            "failed": bindparam("b_failed"),
            "finished": bindparam("b_finished"),
            "size_bytes": bindparam("b_size"),
            "values": bindparam("b_values"),
            "meters": bindparam("b_meters"),
            "logs": bindparam("b_logs"),
            "images": bindparam("b_images"),
        }
    )
)
_COUNT = Prepared(
    update(job)
    .where(job.c.id == bindparam("j_id"))
    .values(
        state=bindparam("j_state"),
        returned=bindparam("j_returned"),
        failed=bindparam("j_failed"),
        size_bytes=bindparam("j_size"),
        waiting=bindparam("j_waiting"),
        unfinished=bindparam("j_unfinished"),
        finished=bindparam("j_finished"),
        error=bindparam("j_error"),
    )
)


@dataclass(slots=True)
class _Tally:
    """A job's counts while results are added to it."""

    row: AnyRow
    state: JobState
    returned: int
    failed: int
    size_bytes: int
    waiting: int
    unfinished: int
    error: str | None = None
    touched: bool = False
    dropped: bool = False
    opened: bool = False
    failures: list[CallFailure] = field(default_factory=list)

    def add(self, result: BatchResult, *, was_waiting: bool) -> None:
        """Count a result; end the job if this ends it."""
        self.touched = True
        self.returned += result.returned
        self.failed += len(result.failures)
        self.failures += result.failures
        self.size_bytes += result.size_bytes
        if result.content is not None:
            self.size_bytes += result.content.size_bytes
        self.unfinished -= 1
        self.waiting -= was_waiting
        on_error = OnError(self.row.on_error)
        if result.failures and self._is_over(result, on_error):
            self.state, self.dropped = JobState.FAILED, True
        elif not self.unfinished and self.row.stop_when is not None:
            pass  # whoever weighs its values settles where it ends
        elif not self.unfinished:
            self.state = final_state(total=self.row.times, failed=self.failed, on_error=on_error)
        elif self.row.canary and result.batch.number == 0:
            self.waiting, self.opened = self.unfinished, True
        if self.state.is_final:
            self.waiting = self.unfinished = 0
        if self.state is JobState.FAILED:
            self.error = error_text(result.error or error_of(result.failures[0]))

    def _is_over(self, result: BatchResult, on_error: OnError) -> bool:
        if (self.row.canary and result.batch.number == 0) or any(
            failed.failure.kind.is_fatal for failed in result.failures
        ):
            return True
        if self.row.stop_when is not None:
            return False  # the failed call may be beyond its end: see `Settling`
        most = self.row.max_failures
        return on_error is OnError.FAIL or (most is not None and self.failed > most)


def finish(
    transaction: Transaction, agent: str, results: Sequence[BatchResult], *, now: datetime
) -> list[bool]:
    """See `JobStore.finish`."""
    connection = transaction.connection
    uuids = list({result.batch.job for result in results})
    tallies = {
        row.uuid: _Tally(
            row=row,
            state=JobState(row.state),
            returned=row.returned,
            failed=row.failed,
            size_bytes=row.size_bytes,
            waiting=row.waiting,
            unfinished=row.unfinished,
        )
        for row in _TALLY.rows(connection, {"uuids": uuids})
    }
    keys = [
        (tallies[one.job].row.id, one.number)
        for one in (result.batch for result in results)
        if one.job in tallies
    ]
    held = {(row.job_id, row.number): row for row in held_rows(connection, keys)}
    recorded: list[bool] = []
    records: dict[tuple[int, int], dict[str, Any]] = {}
    for result in results:
        one = result.batch
        tally = tallies.get(one.job)
        row = None if tally is None else held.get((tally.row.id, one.number))
        if tally is None or row is None:
            recorded.append(False)
            continue
        key = row.job_id, row.number
        if key in records or row.state == "finished":
            recorded.append(is_of(row, agent, one))
            continue
        mine = not tally.state.is_final and holds(row, agent, one)
        recorded.append(mine)
        if mine:
            tally.add(result, was_waiting=row.state == "waiting")
            records[key] = key_of(row) | _record(result, now)
    touched = [tally for tally in tallies.values() if tally.touched]
    _store(connection, touched, records, now)
    for tally in touched:
        _tell(transaction, tally)
    called = [t.row.id for t in touched if t.state.is_final and t.row.callback_url is not None]
    if called:
        tell_of_ends(transaction, called, now)
    return recorded


def _record(result: BatchResult, now: datetime) -> dict[str, Any]:
    one = result.batch
    assert result.returned + len(result.failures) <= one.count
    size = result.size_bytes + (0 if result.content is None else result.content.size_bytes)
    content = {f"b_{name}": value for name, value in content_values(result.content).items()}
    return content | {
        "b_returned": result.returned,
        "b_failed": len(result.failures),
        "b_finished": now,
        "b_size": size,
    }


def _store(
    connection: Connection,
    tallies: Sequence[_Tally],
    records: dict[tuple[int, int], dict[str, Any]],
    now: datetime,
) -> None:
    if not records:
        return
    _RECORD.run_each(connection, list(records.values()))
    _COUNT.run_each(
        connection,
        [
            {
                "j_id": tally.row.id,
                "j_state": tally.state.value,
                "j_returned": tally.returned,
                "j_failed": tally.failed,
                "j_size": tally.size_bytes,
                "j_waiting": tally.waiting,
                "j_unfinished": tally.unfinished,
                "j_finished": now if tally.state.is_final else None,
                "j_error": tally.error,
            }
            for tally in tallies
        ],
    )
    failures = [
        failure_values(tally.row.id, failed) for tally in tallies for failed in tally.failures
    ]
    if failures:
        connection.execute(insert(failure), failures)
    dropped = [tally.row.id for tally in tallies if tally.dropped]
    if dropped:
        DROP.run(connection, {"ids": dropped})


def _tell(transaction: Transaction, tally: _Tally) -> None:
    transaction.tell(Signal.RECORDED, tally.row.uuid)
    if tally.state.is_final:
        transaction.tell(Signal.ENDED, tally.row.uuid)
        if tally.row.result_table is not None:
            transaction.tell(Signal.TABLE, tally.row.uuid)
    elif tally.waiting:
        transaction.tell(Signal.READY, tally.row.uuid)
