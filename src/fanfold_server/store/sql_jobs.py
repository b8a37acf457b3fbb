"""`JobStore` over SQL: how jobs begin and end; leases are in `sql_claiming.py` and beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    bindparam,
    delete,
    exists,
    insert,
    literal_column,
    select,
    update,
)

from fanfold_server.model.errors import TooLate
from fanfold_server.model.job import Batch, Job, JobSpec, JobState, TableState
from fanfold_server.store import sql_claiming, sql_finishing, sql_leases
from fanfold_server.store.job_rows import AnyRow, content_values, job_of, line_of, spec_values
from fanfold_server.store.port import (
    BatchResult,
    Claimed,
    Planned,
    Quota,
    Renewal,
    Signal,
)
from fanfold_server.store.prepared import Prepared
from fanfold_server.store.schema import batch, deleted_job, insert_new, job, source
from fanfold_server.store.sql_callbacks import tell_of_ends
from fanfold_server.store.sql_leases import DROP, IS_OPEN
from fanfold_server.store.sql_quotas import Quotas
from fanfold_server.store.writing import Transaction, Writer

SOURCES_KEPT_IN_MIND = 10_000

MARGIN_S = 300
"""So long before an announcement lapses nothing is submitted under it: clocks differ."""

_PRUNE_AT_ONCE = 200

_WITH_SOURCE = select(job, source.c.text.label("source_text")).select_from(job.join(source))
_BY_KEY = _WITH_SOURCE.where(
    job.c.owner == bindparam("its_owner"), job.c.idempotency_key == bindparam("its_key")
)
_BY_UUID = _WITH_SOURCE.where(job.c.uuid == bindparam("its_uuid"))
_OVERDUE = (
    select(job.c.id, job.c.uuid)
    .where(IS_OPEN, job.c.deadline < bindparam("now"))
    .order_by(job.c.id)
    .with_for_update()
)
_END = (
    update(job)
    .where(job.c.id.in_(bindparam("ids", expanding=True)))
    .values(state=bindparam("j_state"), finished=bindparam("j_now"), waiting=0, unfinished=0)
)
_STALE = (
    select(job.c.id, job.c.uuid)
    .where(job.c.finished < bindparam("before"))
    .order_by(job.c.id)
    .limit(_PRUNE_AT_ONCE)
    .with_for_update()
)
_ANNOUNCED = (
    select(deleted_job.c.deleted).where(deleted_job.c.uuid == bindparam("its_uuid"))
).with_for_update()
_COME = delete(deleted_job).where(deleted_job.c.uuid == bindparam("its_uuid"))
_UNUSED_SOURCES = delete(source).where(
    ~exists(select(literal_column("1")).where(job.c.digest == source.c.digest))
)


class SqlJobs:
    """`JobStore` and `Upkeep` over SQL.

    Args:
        writer: runs the operations.
        check_room: raises where no job may be accepted; called in the writer's thread.
    """

    def __init__(self, writer: Writer, *, check_room: Callable[[], None]) -> None:
        self._writer = writer
        self._check_room = check_room
        self._quotas = Quotas()
        # What the writer's thread remembers, so that most submissions need not ask for it.
        self._sources: set[str] = set()
        # `Writer.changes` when a claim had found all that there was.
        self._exhausted: int | None = None

    # ------------------------------------------------------------------ beginning

    async def submit(
        self,
        job_id: str,
        spec: JobSpec,
        plan: Sequence[Planned],
        *,
        now: datetime,
        quota: Quota,
        idempotency_key: str | None = None,
        announced: bool = False,
    ) -> tuple[Job, bool]:
        def operation(transaction: Transaction) -> tuple[Job, bool]:
            connection = transaction.connection
            if idempotency_key is not None:
                earlier = _earlier(connection, spec.owner, idempotency_key)
                if earlier is not None:
                    return earlier, earlier.id == job_id
            self._check_room()
            self._quotas.check(connection, spec.owner, quota)
            if announced:
                _check_announced(connection, job_id, now)
            try:
                self._see_source(connection, spec)
                submitted = _submit(transaction, job_id, spec, plan, now=now, key=idempotency_key)
                if announced and submitted[1]:
                    connection.execute(_COME, {"its_uuid": job_id})
                return submitted
            except Exception:
                # The operation is called again if another process pruned the source; and a
                # source that is rolled back was never stored.
                self._sources.clear()
                raise

        return await self._writer.run(operation)

    def _see_source(self, connection: Connection, spec: JobSpec) -> None:
        """Store a source text unless it is there. In the writer's thread."""
        if spec.digest not in self._sources:
            new = {"digest": spec.digest, "text": spec.source}
            _NEW_SOURCE[connection.dialect.name].run(connection, new)
            if len(self._sources) > SOURCES_KEPT_IN_MIND:
                self._sources.clear()
            self._sources.add(spec.digest)

    # ------------------------------------------------------------------ running

    async def claim(
        self,
        agent: str,
        *,
        wanted: int,
        lease_s: float,
        now: datetime,
        per_owner: int,
        calls_at_once: Callable[[JobSpec], int] = lambda _: 1,
        wait_s: float = 0.0,
    ) -> list[Claimed]:
        began = time.monotonic()

        def operation(transaction: Transaction) -> list[Claimed]:
            waited_s = time.monotonic() - began if wait_s > 0 else 0.0
            claimed = sql_claiming.claim(
                transaction,
                agent,
                wanted=wanted,
                lease_s=lease_s,
                now=now + timedelta(seconds=waited_s),
                per_owner=per_owner,
                calls_at_once=calls_at_once,
                # Neither should submissions wait for another process, nor one that is waited for
                # itself: what could not be claimed is told as ready, and looked for then.
                may_wait=wait_s <= 0 or transaction.is_alone,
            )
            if claimed is None:
                self._exhausted = None
                return []
            has_all = len({(one.batch.job, one.work) for one in claimed}) < wanted
            self._exhausted = self._writer.changes if has_all else None
            return claimed

        if wait_s <= 0:
            return await self._writer.run(operation, synced=False)
        return await self._writer.stand(operation, wait_s=wait_s, is_idle=self._is_exhausted)

    def _is_exhausted(self) -> bool:
        """Tell whether a claim has left nothing, and nothing has come since. In the writer's."""
        return self._exhausted == self._writer.changes

    async def renew(
        self, agent: str, batches: Collection[Batch], *, lease_s: float, now: datetime
    ) -> Renewal:
        if not batches:
            return Renewal(lost=frozenset(), ended=frozenset())
        return await self._writer.run(
            lambda transaction: sql_leases.renew(
                transaction, agent, batches, lease_s=lease_s, now=now
            ),
            synced=False,
        )

    async def finish(
        self, agent: str, results: Sequence[BatchResult], *, now: datetime
    ) -> list[bool]:
        if not results:
            return []
        return await self._writer.run(
            lambda transaction: sql_finishing.finish(transaction, agent, results, now=now),
            patient=True,
        )

    async def release(self, agent: str, batches: Collection[Batch]) -> None:
        if batches:
            await self._writer.run(
                lambda transaction: sql_leases.release(transaction, agent, batches)
            )

    # ------------------------------------------------------------------ ending

    async def cancel(
        self, job_id: str, owner: str | None, *, now: datetime
    ) -> tuple[Job, bool] | None:
        def operation(transaction: Transaction) -> tuple[Job, bool] | None:
            connection = transaction.connection
            asked = _of_owner(_BY_UUID.with_for_update(of=job), owner)
            row = connection.execute(asked, {"its_uuid": job_id}).one_or_none()
            if row is None:
                return None
            if JobState(row.state).is_final:
                return _job(row), False
            _end(transaction, [row], JobState.CANCELLED, now)
            return _job(connection.execute(_BY_UUID, {"its_uuid": job_id}).one()), True

        return await self._writer.run(operation)

    async def expire(self, *, now: datetime) -> list[str]:
        def operation(transaction: Transaction) -> list[str]:
            rows = transaction.connection.execute(_OVERDUE, {"now": now}).all()
            _end(transaction, rows, JobState.TIMED_OUT, now)
            return [row.uuid for row in rows]

        return await self._writer.run(operation)

    async def delete(self, jobs: Collection[str], owner: str | None, *, now: datetime) -> list[str]:
        if not jobs:
            return []
        asked = _of_owner(
            select(job.c.id, job.c.uuid).where(job.c.uuid.in_(jobs)).order_by(job.c.id), owner
        ).with_for_update()

        def operation(transaction: Transaction) -> list[str]:
            rows = transaction.connection.execute(asked).all()
            _delete(transaction, rows, now)
            return [row.uuid for row in rows]

        deleted = await self._writer.run(operation)
        self._quotas.forget_bytes()  # there may be room now
        return deleted

    async def announce(self, job_id: str, *, until: datetime) -> None:
        def operation(transaction: Transaction) -> None:
            # As if it were deleted already, some time from now; repeated, it says the same.
            values = {"uuid": job_id, "deleted": until}
            dialect = transaction.connection.dialect.name
            transaction.connection.execute(insert_new(dialect, deleted_job), values)

        await self._writer.run(operation)

    async def prune(self, *, before: datetime, now: datetime) -> list[str]:
        def some(transaction: Transaction) -> int:
            rows = transaction.connection.execute(_STALE, {"before": before}).all()
            _delete(transaction, rows, now)
            return len(rows)

        def rest(transaction: Transaction) -> list[str]:
            self._sources.clear()
            transaction.connection.execute(_UNUSED_SOURCES)
            gone = select(deleted_job.c.uuid).where(deleted_job.c.deleted <= now)
            return list(transaction.connection.scalars(gone))

        # A few at a time, so that nobody waits long behind this.
        while await self._writer.run(some) == _PRUNE_AT_ONCE:
            pass
        return await self._writer.run(rest)

    async def forget(self, jobs: Collection[str], *, deleted_before: datetime) -> None:
        if not jobs:
            return
        gone = delete(deleted_job).where(
            deleted_job.c.uuid.in_(jobs), deleted_job.c.deleted < deleted_before
        )

        def operation(transaction: Transaction) -> None:
            transaction.connection.execute(gone)

        await self._writer.run(operation)


# ---------------------------------------------------------------------- in the writer's thread


def _earlier(connection: Connection, owner: str, key: str) -> Job | None:
    row = connection.execute(_BY_KEY, {"its_owner": owner, "its_key": key}).one_or_none()
    return None if row is None else _job(row)


def _check_announced(connection: Connection, job_id: str, now: datetime) -> None:
    """Refuse a job whose blobs may be gone; one that this very call has stored is let through."""
    its = {"its_uuid": job_id}
    until = connection.scalar(_ANNOUNCED, its)
    if until is None and connection.execute(_BY_UUID, its).one_or_none() is not None:
        return
    if until is None or until < now + timedelta(seconds=MARGIN_S):
        raise TooLate


def _submit(
    transaction: Transaction,
    job_id: str,
    spec: JobSpec,
    plan: Sequence[Planned],
    *,
    now: datetime,
    key: str | None,
) -> tuple[Job, bool]:
    connection = transaction.connection
    open_ = [planned for planned in plan if planned.taken is None]
    gated = spec.canary and plan[0].taken is None
    returned = sum(planned.count for planned in plan if planned.taken is not None)
    unsettled = spec.stop_when is not None and spec.asked is None
    done = not open_ and not unsettled
    state = JobState.QUEUED if open_ else JobState.RUNNING if unsettled else JobState.SUCCEEDED
    values = spec_values(spec) | {
        "uuid": job_id,
        "idempotency_key": key,
        "state": state.value,
        "created": now,
        "started": None if open_ else now,
        "finished": now if done else None,
        "deadline": None if open_ else now + timedelta(seconds=spec.timeout_s),
        "returned": returned,
        "failed": 0,
        "taken": returned,
        "size_bytes": sum(_size(planned) for planned in plan),
        "line": line_of(spec),
        "waiting": 1 if gated else len(open_),
        "unfinished": len(open_),
    }
    new = _NEW_JOB[connection.dialect.name].rows(connection, values)
    if not new:
        # By this call, before the connection broke; or by another process, with the same key.
        row = connection.execute(_BY_UUID, {"its_uuid": job_id}).one_or_none()
        if row is not None:
            return _job(row), True
        assert key is not None
        earlier = _earlier(connection, spec.owner, key)
        assert earlier is not None
        return earlier, False
    if plan:
        _INSERT_BATCH.run_each(
            connection,
            [_batch_values(new[0].id, number, planned, now) for number, planned in enumerate(plan)],
        )
    transaction.tell(Signal.ENDED if done else Signal.READY, job_id)
    if done:
        tell_of_ends(transaction, [new[0].id], now)
        if spec.result_table is not None:
            transaction.tell(Signal.TABLE, job_id)
    stored = Job(
        id=job_id,
        spec=spec,
        state=state,
        created=now,
        started=values["started"],
        finished=values["finished"],
        returned=returned,
        taken=returned,
        failed=0,
        error=None,
        table_state=None if spec.result_table is None else TableState.WAITING,
    )
    return stored, True


def _batch_values(job_id: int, number: int, planned: Planned, now: datetime) -> dict[str, Any]:
    taken = planned.taken is not None
    in_row = taken and not planned.size_bytes
    return content_values(planned.taken if in_row else None) | {
        "job_id": job_id,
        "number": number,
        "start": planned.start,
        "count": planned.count,
        "state": "finished" if taken else "waiting",
        "fence": 0,
        "returned": planned.count if taken else 0,
        "failed": 0,
        "finished": now if taken else None,
        "size_bytes": _size(planned),
    }


def _size(planned: Planned) -> int:
    return planned.size_bytes or (planned.taken.size_bytes if planned.taken else 0)


_INSERT_BATCH = Prepared(insert(batch), [
    "job_id", "number", "start", "count", "state", "fence", "returned", "failed", "finished",
    "size_bytes", "values", "meters", "logs", "images",
])  # fmt: skip
_NEW_SOURCE = {
    dialect: Prepared(insert_new(dialect, source), ["digest", "text"])
    for dialect in ("sqlite", "postgresql")
}
_NEW_JOB = {
    dialect: Prepared(
        insert_new(dialect, job).returning(job.c.id),
        [
            column.name
            for column in job.c
            if column.name not in {"id", "deadline", "error", "table_error"}
        ],
    )
    for dialect in ("sqlite", "postgresql")
}


def _end(transaction: Transaction, rows: Sequence[AnyRow], state: JobState, now: datetime) -> None:
    if not rows:
        return
    ids = [row.id for row in rows]
    transaction.connection.execute(_END, {"ids": ids, "j_state": state.value, "j_now": now})
    DROP.run(transaction.connection, {"ids": ids})
    tell_of_ends(transaction, ids, now)
    for row in rows:
        transaction.tell(Signal.ENDED, row.uuid)


def _delete(transaction: Transaction, rows: Sequence[AnyRow], now: datetime) -> None:
    if not rows:
        return
    connection = transaction.connection
    connection.execute(delete(job).where(job.c.id.in_([row.id for row in rows])))
    connection.execute(insert(deleted_job), [{"uuid": row.uuid, "deleted": now} for row in rows])
    for row in rows:
        transaction.tell(Signal.ENDED, row.uuid)


def _of_owner(asked: Select[Any], owner: str | None) -> Select[Any]:
    return asked if owner is None else asked.where(job.c.owner == owner)


def _job(row: AnyRow) -> Job:
    return job_of(row, row.source_text)
