"""The life of a job as server-sent events.

Source: the HTML standard, "Server-sent events" (event stream format, `Last-Event-ID`, and that a
client stops when it is answered 204).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import orjson

from fanfold_server.http.jobs_schemas import JobOut
from fanfold_server.model.actor import Actor
from fanfold_server.model.errors import UnknownJob
from fanfold_server.model.job import Job
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.unawaited import seen

EVENT_STREAM: Final = "text/event-stream"

ALIVE_S: Final = 15.0
"""A stream on which nothing happens says so at this interval, for the proxies between."""

_RETRY: Final = b"retry: 1000\n\n"
_ALIVE: Final = b": alive\n\n"
_GONE: Final = b"event: gone\ndata: {}\n\n"


def event_id(job: Job) -> str:
    """Name what a reader knows of a job: it has seen all there is if the job's is the same."""
    return f"{job.returned}-{job.failed}-{job.state}"


async def events(
    jobs: Jobs, actor: Actor, job_id: str, *, last_seen: str | None
) -> AsyncIterator[bytes]:
    """Yield an event `progress` now and at each change, and `end` when the job has ended.

    An event tells the whole state, so none before it is missed by a reader who was away.

    Args:
        jobs: the use cases.
        actor: who reads.
        job_id: of the actor's.
        last_seen: the id of the last event that the reader has; it is not sent again.
    """
    yield _RETRY
    watching = aiter(jobs.watch(actor, job_id))
    coming = _coming(watching)
    try:
        while True:
            done, _ = await asyncio.wait((coming,), timeout=ALIVE_S)
            if not done:
                yield _ALIVE
                continue
            try:
                job = coming.result()
            except UnknownJob:
                yield _GONE
                return
            if job is None:
                return
            coming = _coming(watching)
            if event_id(job) != last_seen:
                yield _event(job)
    finally:
        coming.cancel()


def _coming(watching: AsyncIterator[Job]) -> asyncio.Task[Job | None]:
    task = asyncio.create_task(_next(watching))
    task.add_done_callback(seen)  # the reader may have left
    return task


async def _next(watching: AsyncIterator[Job]) -> Job | None:
    return await anext(watching, None)


def _event(job: Job) -> bytes:
    name = "end" if job.state.is_final else "progress"
    members = JobOut.of(job, datetime.now(UTC)).model_dump(by_alias=True)
    return f"id: {event_id(job)}\nevent: {name}\ndata: ".encode() + orjson.dumps(members) + b"\n\n"
