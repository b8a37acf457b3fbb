"""`Settling` over SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, case, delete, func, literal_column, select, update

from fanfold_server.model.apply import OnError
from fanfold_server.model.job import JobState, final_state
from fanfold_server.store.job_rows import AnyRow, content_values, error_text
from fanfold_server.store.port import Cut, Ending, Signal
from fanfold_server.store.schema import batch, failure, job
from fanfold_server.store.sql_accounts import Transactions
from fanfold_server.store.sql_callbacks import tell_of_ends
from fanfold_server.store.sql_leases import DROP
from fanfold_server.store.writing import Transaction, Writer

_JOB = select(job).where(job.c.uuid == bindparam("its_uuid")).with_for_update()
# Written out, not bound: only so does the partial index serve.
_UNSETTLED = select(job.c.uuid).where(
    job.c.state == literal_column("'running'"), job.c.unfinished == literal_column("0")
)
_CUT = (
    update(batch)
    .where(batch.c.job_id == bindparam("b_job"), batch.c.number == bindparam("b_number"))
    .values(
        {
            "count": bindparam("b_count"),
            "fence": batch.c.fence + 1,
            "returned": bindparam("b_returned"),
            "failed": bindparam("b_failed"),
            "size_bytes": bindparam("b_size"),
            "values": bindparam("b_values"),
            "meters": bindparam("b_meters"),
            "logs": bindparam("b_logs"),
            "images": bindparam("b_images"),
        }
    )
)
_FENCE = select(batch.c.fence).where(
    batch.c.job_id == bindparam("b_job"), batch.c.number == bindparam("b_number")
)
_BEYOND = delete(batch).where(
    batch.c.job_id == bindparam("its_id"), batch.c.start > bindparam("at")
)
_FAILED_BEYOND = delete(failure).where(
    failure.c.job_id == bindparam("its_id"), failure.c["index"] > bindparam("at")
)
# What is taken from another job was never leased.
_LEFT = select(
    func.sum(batch.c.returned).label("returned"),
    func.sum(batch.c.failed).label("failed"),
    func.sum(batch.c.size_bytes).label("size_bytes"),
    func.sum(case((batch.c.fence == 0, batch.c.returned), else_=0)).label("taken"),
).where(batch.c.job_id == bindparam("its_id"))


class SqlSettling:
    """`Settling` over SQL."""

    def __init__(self, database: Transactions, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def settle(self, job_id: str, ending: Ending | None, *, now: datetime) -> bool:
        def operation(transaction: Transaction) -> bool:
            connection = transaction.connection
            row = connection.execute(_JOB, {"its_uuid": job_id}).one_or_none()
            if row is None or JobState(row.state).is_final:
                return False
            if ending is None:
                _complete(transaction, row, now)
            elif ending.error is not None:
                values = {"error": error_text(ending.error)}
                _end(transaction, row, JobState.FAILED, now, **values)
                DROP.run(connection, {"ids": [row.id]})
            else:
                _stop(transaction, row, ending, now)
            transaction.tell(Signal.ENDED, row.uuid)
            if row.result_table is not None:
                transaction.tell(Signal.TABLE, row.uuid)
            if row.callback_url is not None:
                tell_of_ends(transaction, [row.id], now)
            return True

        return await self._writer.run(operation)

    async def unsettled(self) -> list[str]:
        async with self._database.read() as connection:
            return list(await connection.scalars(_UNSETTLED))


def _complete(transaction: Transaction, row: AnyRow, now: datetime) -> None:
    assert not row.unfinished
    on_error = OnError(row.on_error)
    state = final_state(total=row.times, failed=row.failed, on_error=on_error)
    _end(transaction, row, state, now)


def _stop(transaction: Transaction, row: AnyRow, ending: Ending, now: datetime) -> None:
    connection = transaction.connection
    its = {"its_id": row.id, "at": ending.at}
    taken = 0 if ending.cut is None else _cut(transaction, row, ending.cut)
    connection.execute(_FAILED_BEYOND, its)
    connection.execute(_BEYOND, its)
    left = connection.execute(_LEFT, {"its_id": row.id}).one()
    assert left.returned + left.failed == ending.at
    state = final_state(total=ending.at, failed=left.failed, on_error=OnError(row.on_error))
    _end(
        transaction, row, state, now,
        times=ending.at,
        asked=row.times,
        returned=left.returned,
        failed=left.failed,
        taken=left.taken + taken,
        size_bytes=left.size_bytes,
    )  # fmt: skip


def _cut(transaction: Transaction, row: AnyRow, cut: Cut) -> int:
    """Shorten a batch; return how many of its calls were taken from another job."""
    connection, kept = transaction.connection, cut.kept
    assert kept.taken is not None
    key = {"b_job": row.id, "b_number": cut.number}
    was_taken = connection.scalar(_FENCE, key) == 0
    content = content_values(None if kept.size_bytes else kept.taken)
    connection.execute(
        _CUT,
        key
        | {f"b_{name}": value for name, value in content.items()}
        | {
            "b_count": kept.count,
            "b_returned": kept.count - cut.failed,
            "b_failed": cut.failed,
            "b_size": kept.size_bytes or kept.taken.size_bytes,
        },
    )
    return kept.count - cut.failed if was_taken else 0


def _end(
    transaction: Transaction, row: AnyRow, state: JobState, now: datetime, **values: object
) -> None:
    transaction.connection.execute(
        update(job)
        .where(job.c.id == row.id)
        .values(state=state.value, finished=now, waiting=0, unfinished=0, **values)
    )
