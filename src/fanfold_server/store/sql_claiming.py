"""Claiming batches: an operation of `SqlJobs`.

Claims come one at a time, in all processes, so that caps hold exactly; a batch that another
transaction has in its hands is passed over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, literal_column, or_, select, text, update

from fanfold_server.model.job import Batch, JobSpec
from fanfold_server.store.fairness import Line, share_out
from fanfold_server.store.job_rows import SPEC_COLUMNS, AnyRow, spec_of
from fanfold_server.store.port import Claimed, Signal
from fanfold_server.store.prepared import Prepared
from fanfold_server.store.schema import batch, job, script, source
from fanfold_server.store.sql_leases import (
    BATCH,
    IS_OPEN,
    ITS_KEY,
    LEASE,
    LEASED,
    WAITING,
    held_rows,
    key_of,
    lease_by,
    wait_again,
)
from fanfold_server.store.sql_network import NETWORK_COLUMNS, script_network
from fanfold_server.store.writing import Transaction

MAX_JOINED = 500
"""Batches of one work, at most: so many are written down in one commit."""

_COUNT = 3  # of `BATCH`; rows have a method of that name
_CLAIM_KEY = 0x66616E67
_CLAIM_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_CLAIM_LOCK_IF_FREE = text("SELECT pg_try_advisory_xact_lock(:key)")

# Written out, not bound: only so does the partial index serve.
_CLAIMABLE = job.c.waiting > literal_column("0")

_EXPIRED = Prepared(
    select(batch.c.job_id, batch.c.number)
    .where(LEASED, batch.c.lease_until < bindparam("now"))
    .order_by(batch.c.job_id)
)
_LIVE = Prepared(
    select(
        job.c.id,
        job.c.owner,
        job.c.degree,
        func.count(batch.c.lease_by.distinct()).label("works"),
        func.min(batch.c.lease_until).label("first_end"),
    )
    .select_from(batch.join(job))
    .where(LEASED)
    .group_by(job.c.id, job.c.owner, job.c.degree)
)


def _lines() -> Any:
    """Go from line to line by the index, whatever number of jobs stands in each."""
    lines = (
        select(func.min(job.c.line).label("line")).where(_CLAIMABLE).cte("lines", recursive=True)
    )
    following = (
        select(func.min(job.c.line)).where(_CLAIMABLE, job.c.line > lines.c.line).scalar_subquery()
    )
    lines = lines.union_all(select(following).where(lines.c.line.is_not(None)))
    oldest = (
        select(func.min(job.c.id)).where(_CLAIMABLE, job.c.line == lines.c.line).scalar_subquery()
    )
    return select(lines.c.line, oldest.label("oldest")).where(lines.c.line.is_not(None))


_LINES = Prepared(_lines())
_CANDIDATES = Prepared(
    select(job.c.id, job.c.degree, job.c.waiting)
    .where(
        _CLAIMABLE,
        job.c.line == bindparam("its_line"),
        job.c.id.not_in(bindparam("full", expanding=True)),
        or_(job.c.deadline.is_(None), job.c.deadline > bindparam("now")),
    )
    .order_by(job.c.id)
    .limit(bindparam("most"))
)
_ITS_SCRIPT = and_(script.c.owner == job.c.script_owner, script.c.name == job.c.script_name)
_PICKED = Prepared(
    select(job.c.id, job.c.uuid, job.c.state, job.c.canary, job.c.waiting, job.c.deadline,
           *(job.c[name] for name in SPEC_COLUMNS if name != "canary"),
           source.c.text.label("source_text"), *NETWORK_COLUMNS)
    .select_from(job.join(source).outerjoin(script, _ITS_SCRIPT))
    .where(job.c.id.in_(bindparam("ids", expanding=True)), _CLAIMABLE)
    .order_by(job.c.id)
    .with_for_update(of=job)
)  # fmt: skip
_TAKE_ALL = Prepared(
    select(*BATCH)
    .where(batch.c.job_id.in_(bindparam("ids", expanding=True)), WAITING)
    .order_by(batch.c.job_id, batch.c.number)
    .with_for_update(skip_locked=True)
)
_TAKE_SOME = Prepared(
    select(*BATCH)
    .where(batch.c.job_id == bindparam("its_job"), WAITING)
    .order_by(batch.c.number)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_FREE = Prepared(update(batch).where(ITS_KEY).values(state="waiting"))
_START = Prepared(
    update(job)
    .where(job.c.id == bindparam("j_id"))
    .values(
        state="running",
        waiting=job.c.waiting - bindparam("j_taken"),
        started=func.coalesce(job.c.started, bindparam("j_now", type_=job.c.started.type)),
        deadline=func.coalesce(job.c.deadline, bindparam("j_deadline", type_=job.c.deadline.type)),
    )
)
_LOCK_IDS = Prepared(
    select(job.c.id)
    .where(job.c.id.in_(bindparam("ids", expanding=True)), IS_OPEN)
    .order_by(job.c.id)
    .with_for_update()
)


def claim(
    transaction: Transaction, agent: str, *, wanted: int, lease_s: float, now: datetime,
    per_owner: int, calls_at_once: Callable[[JobSpec], int], may_wait: bool = True,
) -> list[Claimed] | None:  # fmt: skip
    """See `JobStore.claim`; None: it may not wait for another process that claims, and one does."""
    connection = transaction.connection
    if connection.dialect.name == "postgresql":
        lock = _CLAIM_LOCK if may_wait else _CLAIM_LOCK_IF_FREE
        if connection.scalar(lock, {"key": _CLAIM_KEY}) is False:
            return None
    leased = _LIVE.rows(connection, {})
    if any(row.first_end < now for row in leased):
        _free_expired(connection, now)
        leased = _LIVE.rows(connection, {})
    live: Counter[str] = Counter()
    held: dict[int, int] = {}
    full = [0]
    for job_id, owner, degree, works, _ in leased:
        live[owner] += works
        held[job_id] = works
        if works >= degree:
            full.append(job_id)

    def candidates(line: Line, most: int) -> list[tuple[int, int]]:
        found = _CANDIDATES.rows(
            connection,
            {"its_line": f"{line.rank}{line.owner}", "full": full, "now": now, "most": most},
        )
        return [
            (job_id, min(waiting, degree - held.get(job_id, 0)))
            for job_id, degree, waiting in found
        ]

    lines = [Line(int(line[0]), line[1:], oldest) for line, oldest in _LINES.rows(connection, {})]
    picked = share_out(lines, live=live, wanted=wanted, per_owner=per_owner, candidates=candidates)
    if not picked:
        return []
    jobs = _PICKED.rows(connection, {"ids": list(picked)})
    claimed = _take(connection, jobs, picked, agent=agent, until=now + timedelta(seconds=lease_s),
                    now=now, calls_at_once=calls_at_once)  # fmt: skip
    taken = Counter(one.batch.job for one in claimed)
    for row in jobs:
        if taken[row.uuid] == row.waiting:
            transaction.withhold(Signal.READY, row.uuid)
    return claimed


def _free_expired(connection: Connection, now: datetime) -> None:
    """Let batches wait again whose lease has run out; their agents may still renew or finish."""
    expired = _EXPIRED.rows(connection, {"now": now})
    if not expired:
        return
    ids = list({job_id for job_id, _ in expired})
    open_ids = {row.id for row in _LOCK_IDS.rows(connection, {"ids": ids})}
    keys = [(job_id, number) for job_id, number in expired if job_id in open_ids]
    still = [row for row in held_rows(connection, keys) if _has_expired(row, now)]
    if still:
        _FREE.run_each(connection, [key_of(row) for row in still])
        wait_again(connection, still)


def _take(
    connection: Connection, jobs: Sequence[AnyRow], picked: dict[int, int], *, agent: str,
    until: datetime, now: datetime, calls_at_once: Callable[[JobSpec], int],
) -> list[Claimed]:  # fmt: skip
    specs = {row.id: spec_of(row, row.source_text) for row in jobs}
    calls = {row.id: calls_at_once(specs[row.id]) for row in jobs}
    found: dict[int, list[AnyRow]] = {row.id: [] for row in jobs}
    whole = [
        row.id
        for row in jobs
        if picked[row.id] >= row.waiting and not row.canary and calls[row.id] == 1
    ]
    if whole:
        for one in _TAKE_ALL.rows(connection, {"ids": whole}):
            found[one.job_id].append(one)
    works: dict[int, list[list[AnyRow]]] = {}
    for row in jobs:
        most = 1 if calls[row.id] == 1 else _share(row)
        if row.id not in whole:
            some = {"its_job": row.id, "most": min(picked[row.id] * most, row.waiting)}
            found[row.id] = _TAKE_SOME.rows(connection, some)
        joined = _joined(found[row.id], most=most, calls=calls[row.id])
        works[row.id] = joined[: picked[row.id]]
    starts = {row.id: row.deadline or now + timedelta(seconds=row.timeout_s) for row in jobs}
    uuids = {row.id: row.uuid for row in jobs}
    networks = {row.id: script_network(row.network_grant, row.network_limit) for row in jobs}
    leases, claimed = [], []
    for job_id in picked:
        for work in works.get(job_id, ()):
            by = lease_by(agent, work[0].number)
            for row in work:
                fence = row.fence + 1
                leases.append(key_of(row) | {"b_by": by, "b_until": until, "b_fence": fence})
                its = Batch(job=uuids[job_id], number=row.number, start=row.start,
                            count=row[_COUNT], fence=fence)  # fmt: skip
                claimed.append(
                    Claimed(spec=specs[job_id], batch=its, deadline=starts[job_id],
                            work=work[0].number, network=networks[job_id])
                )  # fmt: skip
    if not leases:
        return []
    LEASE.run_each(connection, leases)
    taken = Counter(lease["b_job"] for lease in leases)
    _START.run_each(
        connection,
        [
            {"j_id": job_id, "j_taken": count, "j_now": now, "j_deadline": starts[job_id]}
            for job_id, count in taken.items()
        ],
    )
    return claimed


def _share(row: AnyRow) -> int:
    """Return how many batches one work of a job may hold, so that others have their part."""
    rest: int = row.waiting if row.degree == 1 else -(-row.waiting // (2 * row.degree))
    return min(rest, MAX_JOINED)


def _joined(rows: Sequence[AnyRow], *, most: int, calls: int) -> list[list[AnyRow]]:
    """Put batches together that follow one another and never ran.

    Args:
        rows: by number.
        most: batches of a work.
        calls: of a work; a batch of more is one by itself.
    """
    works: list[list[AnyRow]] = []
    count = 0
    for row in rows:
        last = works[-1] if works else None
        fits = (
            last is not None
            and len(last) < most
            and count + row[_COUNT] <= calls
            and last[-1].number + 1 == row.number
            and last[-1].start + last[-1][_COUNT] == row.start
            # One that its agents died with, or that gave it back, is tried by itself.
            and not (last[-1].fence or row.fence)
        )
        if last is not None and fits:
            last.append(row)
            count += row[_COUNT]
        else:
            works.append([row])
            count = row[_COUNT]
    return works


def _has_expired(row: AnyRow, now: datetime) -> bool:
    return row.state == "leased" and row.lease_until is not None and row.lease_until < now
