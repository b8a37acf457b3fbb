"""`Ledger` over SQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from fanfold_server.model.job import Job, JobLine, JobState
from fanfold_server.store.job_rows import (
    BATCH_COLUMNS,
    CONTENT_COLUMNS,
    batch_of,
    failure_of,
    job_of,
)
from fanfold_server.store.port import (
    BatchRecord,
    CallFailure,
    FailureGroup,
    JobFilter,
    Queue,
    Usage,
)
from fanfold_server.store.schema import batch, failure, job, source
from fanfold_server.store.sql_accounts import Transactions
from fanfold_server.store.sql_leases import IS_OPEN, LEASED

_LINES = select(job.c.uuid, job.c.state, job.c.created, job.c.finished, job.c.comments)
_STATES = {state.value: state for state in JobState}  # a look-up, for very many


class SqlLedger:
    """`Ledger` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def job(self, job_id: str, *, owner: str | None) -> Job | None:
        asked = (
            select(job, source.c.text.label("source_text"))
            .select_from(job.join(source))
            .where(job.c.uuid == job_id)
        )
        if owner is not None:
            asked = asked.where(job.c.owner == owner)
        async with self._database.read() as connection:
            row = (await connection.execute(asked)).one_or_none()
            if row is None:
                return None
            ahead = 0
            if row.state == JobState.QUEUED:
                ahead = await connection.scalar(_calls_before(row.line, row.id)) or 0
        return job_of(row, row.source_text, ahead=ahead)

    async def submitted(self, owner: str, key: str) -> Job | None:
        asked = (
            select(job, source.c.text.label("source_text"))
            .select_from(job.join(source))
            .where(job.c.owner == owner, job.c.idempotency_key == key)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(asked)).one_or_none()
        return None if row is None else job_of(row, row.source_text)

    async def jobs(
        self, which: JobFilter, *, limit: int | None = None, after: str | None = None
    ) -> list[Job]:
        asked = _limited(_newest_first(select(job), which, after), limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(asked)).all()
        return [job_of(row, "") for row in rows]

    async def lines(
        self, which: JobFilter, *, limit: int, after: str | None = None
    ) -> list[JobLine]:
        asked = _newest_first(_LINES, which, after).limit(limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(asked)).all()
        return [
            JobLine(id=uuid, state=_STATES[state], created=created, finished=end, comments=comments)
            for uuid, state, created, end, comments in rows
        ]

    async def batches(
        self, job_id: str, *, first: int = 0, limit: int | None = None, content: bool = False
    ) -> list[BatchRecord]:
        columns = [batch.c[name] for name in BATCH_COLUMNS]
        if content:
            columns += [batch.c[name] for name in CONTENT_COLUMNS]
        asked = (
            select(*columns)
            .where(batch.c.job_id == _id(job_id), batch.c.number >= first)
            .order_by(batch.c.number)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(_limited(asked, limit))).all()
        return [batch_of(row, job_id, content=content) for row in rows]

    async def failures(
        self, job_id: str, *, start: int = 0, limit: int | None = None
    ) -> list[CallFailure]:
        asked = (
            select(failure)
            .where(failure.c.job_id == _id(job_id), failure.c["index"] >= start)
            .order_by(failure.c["index"])
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(_limited(asked, limit))).all()
        return [failure_of(row) for row in rows]

    async def failure_groups(self, job_id: str, *, samples: int = 5) -> list[FailureGroup]:
        alike = (failure.c.code, failure.c.type, failure.c.place, failure.c.pattern)
        ranked = (
            select(
                *alike,
                failure.c["index"].label("number"),
                failure.c.message,
                func.count().over(partition_by=alike).label("size"),
                func.row_number()
                .over(partition_by=alike, order_by=failure.c["index"])
                .label("rank"),
            )
            .where(failure.c.job_id == _id(job_id))
            .subquery()
        )
        asked = (
            select(ranked)
            .where(ranked.c.rank <= samples)
            .order_by(ranked.c.rank, ranked.c.size.desc(), ranked.c.number)
        )
        groups: dict[tuple[Any, ...], list[Any]] = {}
        async with self._database.read() as connection:
            for row in await connection.execute(asked):
                groups.setdefault((row.code, row.type, row.place, row.pattern), []).append(row)
        return [
            FailureGroup(
                code=code,
                type=type_,
                place=place,
                pattern=pattern,
                message=rows[0].message,
                count=rows[0].size,
                indexes=tuple(row.number for row in rows),
            )
            for (code, type_, place, pattern), rows in groups.items()
        ]

    async def usage(self, owner: str, *, now: datetime) -> Usage:
        leases = (
            select(func.count())
            .select_from(batch.join(job))
            .where(LEASED, batch.c.lease_until >= now, job.c.owner == owner)
        )
        counts = (select(job.c.state, func.count()).where(job.c.owner == owner, IS_OPEN)).group_by(
            job.c.state
        )
        stored = select(func.sum(job.c.size_bytes)).where(job.c.owner == owner)
        async with self._database.read() as connection:
            by_state = {row[0]: row[1] for row in await connection.execute(counts)}
            return Usage(
                queued_jobs=by_state.get(JobState.QUEUED.value, 0),
                running_jobs=by_state.get(JobState.RUNNING.value, 0),
                leases=await connection.scalar(leases) or 0,
                stored_bytes=int(await connection.scalar(stored) or 0),
            )

    async def queue(self, *, now: datetime) -> Queue:
        counts = (
            select(job.c.state, func.count(), func.min(job.c.created))
            .where(IS_OPEN)
            .group_by(job.c.state)
        )
        leases = select(func.count()).where(LEASED, batch.c.lease_until >= now)
        async with self._database.read() as connection:
            by_state = {row[0]: row for row in await connection.execute(counts)}
            live = await connection.scalar(leases) or 0
        queued = by_state.get(JobState.QUEUED.value)
        running = by_state.get(JobState.RUNNING.value)
        return Queue(
            queued=0 if queued is None else queued[1],
            running=0 if running is None else running[1],
            oldest=None if queued is None else queued[2],
            leases=live,
        )


def _newest_first(asked: Select[Any], which: JobFilter, after: str | None) -> Select[Any]:
    asked = asked.where(*_conditions(which)).order_by(job.c.id.desc())
    if after is None:
        return asked
    before = select(job.c.id).where(job.c.uuid == after)
    if which.owner is not None:  # else the page would tell of another's job
        before = before.where(job.c.owner == which.owner)
    return asked.where(job.c.id < before.scalar_subquery())


def _id(job_id: str) -> Any:
    return select(job.c.id).where(job.c.uuid == job_id).scalar_subquery()


def _limited(asked: Select[Any], limit: int | None) -> Select[Any]:
    return asked if limit is None else asked.limit(limit)


def _conditions(which: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if which.owner is not None:
        conditions.append(job.c.owner == which.owner)
    if which.states:
        conditions.append(job.c.state.in_(sorted(state.value for state in which.states)))
    if which.ids:
        conditions.append(job.c.uuid.in_(sorted(which.ids)))
    if which.comments is not None:
        # Without an escape character SQLite has none, and PostgreSQL a backslash.
        conditions.append(job.c.comments.ilike(which.comments, escape="\x01"))
    if which.created_from is not None:
        conditions.append(job.c.created >= which.created_from)
    if which.created_before is not None:
        conditions.append(job.c.created < which.created_before)
    if which.script is not None:
        conditions.append(job.c.script_name == which.script)
    return conditions


def _calls_before(line: str, job_id: int) -> Select[Any]:
    """Sum the calls without outcomes of the jobs that come first: higher levels, then older."""
    level = func.substr(job.c.line, 1, 1)
    before = or_(level < line[0], and_(level == line[0], job.c.id < job_id))
    return select(func.sum(job.c.times - job.c.returned - job.c.failed)).where(IS_OPEN, before)
