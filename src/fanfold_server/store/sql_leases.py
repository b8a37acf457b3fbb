"""Renewing and releasing leases: operations of `SqlJobs`; and what claims and finishes share.

Locks are taken in one order, a job's row before its batches', jobs by id; SQLite, which has one
writer, needs none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, literal_column, or_, select, tuple_, update

from fanfold_server.model.job import Batch, JobState
from fanfold_server.store.job_rows import AnyRow
from fanfold_server.store.port import Renewal, Signal
from fanfold_server.store.prepared import Prepared
from fanfold_server.store.schema import batch, job
from fanfold_server.store.writing import Transaction

# Written out, not bound: only so do the partial indexes serve.
IS_OPEN = job.c.state.in_([literal_column("'queued'"), literal_column("'running'")])
LEASED = batch.c.state == literal_column("'leased'")
WAITING = batch.c.state == literal_column("'waiting'")

BATCH = (batch.c.job_id, batch.c.number, batch.c.start, batch.c["count"], batch.c.fence)
ITS_KEY = and_(batch.c.job_id == bindparam("b_job"), batch.c.number == bindparam("b_number"))
_WORK = "#"
LEASE = Prepared(
    update(batch)
    .where(ITS_KEY)
    .values(
        state="leased",
        fence=bindparam("b_fence"),
        lease_by=bindparam("b_by"),
        lease_until=bindparam("b_until"),
    )
)
_GIVE_UP = Prepared(update(batch).where(ITS_KEY).values(state="waiting", lease_by=None))
_WAIT = Prepared(
    update(job)
    .where(job.c.id == bindparam("j_id"))
    .values(waiting=job.c.waiting + bindparam("j_more"))
)
_LOCK_JOBS = Prepared(
    select(job.c.id, job.c.uuid, job.c.state)
    .where(job.c.uuid.in_(bindparam("uuids", expanding=True)))
    .order_by(job.c.id)
    .with_for_update()
)
_HELD = Prepared(
    select(*BATCH, batch.c.state, batch.c.lease_by, batch.c.lease_until)
    .where(tuple_(batch.c.job_id, batch.c.number).in_(bindparam("keys", expanding=True)))
    .with_for_update()
)
DROP = Prepared(
    update(batch)
    .where(
        batch.c.job_id.in_(bindparam("ids", expanding=True)),
        or_(WAITING, LEASED),
    )
    .values(state="dropped")
)


def renew(
    transaction: Transaction, agent: str, batches: Collection[Batch], *, lease_s: float,
    now: datetime,
) -> Renewal:  # fmt: skip
    """See `JobStore.renew`."""
    connection = transaction.connection
    jobs, mine = _mine(connection, agent, batches)
    if mine:
        until = now + timedelta(seconds=lease_s)
        lease = [
            key_of(row) | {"b_by": row.lease_by, "b_until": until, "b_fence": row.fence}
            for row in mine.values()
        ]
        LEASE.run_each(connection, lease)
        freed = [row for row in mine.values() if row.state == "waiting"]
        wait_again(connection, freed, by=-1)
    running = {row.uuid for row in jobs if not JobState(row.state).is_final}
    return Renewal(
        lost=frozenset(batches) - mine.keys(),
        ended=frozenset(one.job for one in batches if one.job not in running),
    )


def release(transaction: Transaction, agent: str, batches: Collection[Batch]) -> None:
    """See `JobStore.release`."""
    _, mine = _mine(transaction.connection, agent, batches)
    if not mine:
        return
    _GIVE_UP.run_each(transaction.connection, [key_of(row) for row in mine.values()])
    wait_again(transaction.connection, [row for row in mine.values() if row.state == "leased"])
    for one in mine:
        transaction.tell(Signal.READY, one.job)


def _mine(
    connection: Connection, agent: str, batches: Collection[Batch]
) -> tuple[Sequence[AnyRow], dict[Batch, AnyRow]]:
    """Lock the batches' jobs; give those jobs, and the rows of the batches the agent holds."""
    uuids = list({one.job for one in batches})
    jobs = _LOCK_JOBS.rows(connection, {"uuids": uuids}) if uuids else []
    ids = {row.uuid: row.id for row in jobs if not JobState(row.state).is_final}
    keys = {(ids[one.job], one.number): one for one in batches if one.job in ids}
    mine = {}
    for row in held_rows(connection, keys):
        one = keys[row.job_id, row.number]
        if holds(row, agent, one):
            mine[one] = row
    return jobs, mine


def holds(row: AnyRow, agent: str, one: Batch) -> bool:
    """Tell whether a lease is the agent's; one that ran out is, until another takes the batch."""
    return row.state in {"leased", "waiting"} and is_of(row, agent, one)


def is_of(row: AnyRow, agent: str, one: Batch) -> bool:
    """Tell whether the last to lease a batch was the agent, under this fence."""
    return row.fence == one.fence and (row.lease_by or "").rpartition(_WORK)[0] == agent


def lease_by(agent: str, first: int) -> str:
    """Name the holder of leases: the agent, and the first of the batches that it runs as one."""
    return f"{agent}{_WORK}{first}"


def held_rows(connection: Connection, keys: Iterable[tuple[int, int]]) -> Sequence[AnyRow]:
    """Lock batches and give their rows."""
    wanted = sorted(keys)
    return _HELD.rows(connection, {"keys": wanted}) if wanted else []


def wait_again(connection: Connection, rows: Sequence[AnyRow], *, by: int = 1) -> None:
    """Add the batches to what their jobs have waiting; `by` = -1 takes them away."""
    counts = Counter(row.job_id for row in rows)
    if counts:
        _WAIT.run_each(
            connection, [{"j_id": job_id, "j_more": by * n} for job_id, n in counts.items()]
        )


def key_of(row: AnyRow) -> dict[str, Any]:
    """Give the parameters of `ITS_KEY`."""
    return {"b_job": row.job_id, "b_number": row.number}
