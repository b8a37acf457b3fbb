"""`CallbackStore` over SQL; and the delivery that the end of a job writes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)

from fanfold_server.model.callback import Delivery, DeliveryState, Due, Secrets, delivery_id
from fanfold_server.store.job_rows import AnyRow, clean, job_of
from fanfold_server.store.port import Signal
from fanfold_server.store.schema import callback_secret, delivery, insert_new, job
from fanfold_server.store.sql_accounts import Transactions
from fanfold_server.store.writing import Transaction, Writer

OVERLAP = timedelta(hours=24)
"""So long after a rotation the secret before it signs, too."""

# Written out, not bound: only so does the partial index serve.
_WAITS = delivery.c.state == literal_column("'waiting'")
_NEXT = select(func.min(delivery.c.due)).where(_WAITS)
_DUE = (
    select(delivery.c.job_id, delivery.c.fence)
    .where(_WAITS, delivery.c.due <= bindparam("now"))
    .order_by(delivery.c.attempts, delivery.c.due)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_TAKE = (
    update(delivery)
    .where(delivery.c.job_id == bindparam("d_job"))
    .values(
        fence=delivery.c.fence + 1,
        attempts=delivery.c.attempts + 1,
        due=bindparam("d_until"),
    )
)
_JOBS = select(job).where(job.c.id.in_(bindparam("ids", expanding=True)))
_ITS_JOB = select(job.c.id).where(job.c.uuid == bindparam("its_uuid")).scalar_subquery()
_RECORD = (
    update(delivery)
    .where(delivery.c.job_id == _ITS_JOB, delivery.c.fence == bindparam("its_fence"), _WAITS)
    .values(
        state=bindparam("d_state"),
        due=bindparam("d_due"),
        last=bindparam("d_last"),
        status=bindparam("d_status"),
        error=bindparam("d_error"),
    )
)
_DELIVERY = (
    select(delivery, job.c.uuid, job.c.callback_url)
    .select_from(delivery.join(job))
    .where(job.c.uuid == bindparam("its_uuid"))
)
_SECRET = select(callback_secret).where(callback_secret.c.owner == bindparam("its_owner"))
_ROTATE = (
    update(callback_secret)
    .where(callback_secret.c.owner == bindparam("its_owner"))
    .values(
        before=callback_secret.c.secret,
        secret=bindparam("c_new", type_=callback_secret.c.secret.type),
        rotated=bindparam("c_now", type_=callback_secret.c.rotated.type),
    )
)


def tell_of_ends(transaction: Transaction, ids: Collection[int], now: datetime) -> None:
    """Write the deliveries of jobs that end in this transaction, where somebody is to be told."""
    ended = select(
        job.c.id, literal("waiting"), literal(0), literal(0),
        literal(now, delivery.c.created.type), literal(now, delivery.c.due.type),
    ).where(job.c.id.in_(ids), job.c.callback_url.is_not(None))  # fmt: skip
    names = ["job_id", "state", "attempts", "fence", "created", "due"]
    written = transaction.connection.execute(insert(delivery).from_select(names, ended))
    if written.rowcount:
        transaction.tell(Signal.DUE, "")


class SqlCallbacks:
    """`CallbackStore` over SQL."""

    def __init__(self, database: Transactions, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def next_due(self) -> datetime | None:
        async with self._database.read() as connection:
            found: datetime | None = await connection.scalar(_NEXT)
        return found

    async def take(self, *, limit: int, now: datetime, lease_s: float) -> list[Due]:
        def operation(transaction: Transaction) -> list[Due]:
            connection = transaction.connection
            rows = connection.execute(_DUE, {"now": now, "most": limit}).all()
            if not rows:
                return []
            until = now + timedelta(seconds=lease_s)
            connection.execute(_TAKE, [{"d_job": row.job_id, "d_until": until} for row in rows])
            found = connection.execute(_JOBS, {"ids": [row.job_id for row in rows]})
            jobs = {row.id: job_of(row, "") for row in found}
            return [Due(job=jobs[row.job_id], fence=row.fence + 1) for row in rows]

        return await self._writer.run(operation, synced=False)

    async def record(
        self,
        due: Due,
        state: DeliveryState,
        *,
        now: datetime,
        again: datetime,
        status: int | None = None,
        error: str | None = None,
    ) -> bool:
        values = {
            "its_uuid": due.job.id,
            "its_fence": due.fence,
            "d_state": state.value,
            "d_due": again,
            "d_last": now,
            "d_status": status,
            "d_error": None if error is None else clean(error),
        }

        def operation(transaction: Transaction) -> bool:
            return bool(transaction.connection.execute(_RECORD, values).rowcount)

        return await self._writer.run(operation)

    async def delivery(self, job: str) -> Delivery | None:
        async with self._database.read() as connection:
            row = (await connection.execute(_DELIVERY, {"its_uuid": job})).one_or_none()
        if row is None:
            return None
        return Delivery(
            id=delivery_id(row.uuid),
            job=row.uuid,
            url=row.callback_url,
            state=DeliveryState(row.state),
            attempts=row.attempts,
            created=row.created,
            due=row.due,
            last=row.last,
            status=row.status,
            error=row.error,
        )

    async def secrets(self, owner: str, *, new: bytes, now: datetime) -> Secrets:
        # Most of the time it is there, and nothing need be written.
        async with self._database.read() as connection:
            row = (await connection.execute(_SECRET, {"its_owner": owner})).one_or_none()
        if row is not None:
            return _secrets(row, now)
        return await self._writer.run(
            lambda transaction: _secrets(_own(transaction.connection, owner, new, now), now)
        )

    async def rotate(self, owner: str, *, new: bytes, now: datetime) -> Secrets:
        def operation(transaction: Transaction) -> Secrets:
            connection = transaction.connection
            row = _own(connection, owner, new, now)
            if row.secret != new:  # else it is the first one, or this call is repeated
                connection.execute(_ROTATE, {"its_owner": owner, "c_new": new, "c_now": now})
                row = connection.execute(_SECRET, {"its_owner": owner}).one()
            return _secrets(row, now)

        return await self._writer.run(operation)


def _own(connection: Connection, owner: str, new: bytes, now: datetime) -> AnyRow:
    """Give an account's secret; make it if there is none."""
    values: dict[str, Any] = {"owner": owner, "secret": new, "rotated": now}
    connection.execute(insert_new(connection.dialect.name, callback_secret), values)
    return connection.execute(_SECRET.with_for_update(), {"its_owner": owner}).one()


def _secrets(row: AnyRow, now: datetime) -> Secrets:
    overlaps = row.before is not None and now < row.rotated + OVERLAP
    return Secrets(
        keys=(row.secret, row.before) if overlaps else (row.secret,), rotated=row.rotated
    )
