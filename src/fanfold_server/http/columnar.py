"""The values of a job as an Arrow stream and as Parquet: typed columns, made while they are sent.

The types are found in one pass over the stored values, and the file is written in a second one, by
a process of its own (`columnar_process.py`): neither it nor the server holds more than a batch.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

import orjson

from fanfold_server.http import columnar_frames as frames
from fanfold_server.http.jobs_results import CSV, NDJSON, errors_of
from fanfold_server.model.actor import Actor
from fanfold_server.model.errors import NoCommonType
from fanfold_server.model.job import Job
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.unawaited import seen

ARROW: Final = "application/vnd.apache.arrow.stream"
PARQUET: Final = "application/vnd.apache.parquet"

AT_ONCE: Final = 2
"""Conversions under way in one server; further ones wait for their turn."""

PIECE_BYTES: Final = 1 << 18

_FORMS: Final = {ARROW: frames.ARROW, PARQUET: frames.PARQUET}


class Columnar:
    """Makes tables of jobs that have ended, a few at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def table(
        self, jobs: Jobs, actor: Actor, job: Job, *, form: str, start: int
    ) -> AsyncIterator[bytes]:
        """Yield the file; the first piece comes when it is certain that there is one.

        Args:
            form: `ARROW` or `PARQUET`.
            start: the first call's index.

        Raises:
            NoCommonType: at the first piece: the values are not a table of typed columns.
        """
        keys = await jobs.keys(job)
        has = [frames.KEYED] if keys is not None else []
        if job.failed:
            has.append(frames.FAILING)
        async with self._turns:
            process = await _started(_FORMS[form], *has)
            writing: asyncio.Task[None] | None = None
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                said = asyncio.create_task(process.stdout.readline())
                said.add_done_callback(seen)
                await _send(process.stdin, _frames(jobs, actor, job, start=start))
                answer = await said
                if not answer:
                    raise RuntimeError(f"the process ended ({await process.wait()})")
                if (why := orjson.loads(answer)["why"]) is not None:
                    raise NoCommonType(_advice(form, why))
                second = _frames(jobs, actor, job, start=start, keys=keys, failing=bool(job.failed))
                writing = asyncio.create_task(_send(process.stdin, second))
                writing.add_done_callback(seen)  # the reader may have left
                while piece := await process.stdout.read(PIECE_BYTES):
                    yield piece
                await writing
                if status := await process.wait():
                    raise RuntimeError(f"the process ended in the middle ({status})")
            finally:
                if writing is not None:
                    writing.cancel()
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


async def _started(form: str, *has: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-s", "-m", "fanfold_server.http.columnar_process", form, *has),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Not the server's own variables: they may hold secrets.
        env={"PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/nonexistent"},
        limit=PIECE_BYTES,
    )


async def _send(target: asyncio.StreamWriter, pieces: AsyncIterator[bytes]) -> None:
    """Write everything, unless the process ends before: then its status says why."""
    with suppress(ConnectionError):
        async for piece in pieces:
            target.write(piece)
            await target.drain()


async def _frames(
    jobs: Jobs,
    actor: Actor,
    job: Job,
    *,
    start: int,
    keys: Sequence[str] | None = None,
    failing: bool = False,
) -> AsyncIterator[bytes]:
    """Yield one pass over the values; with keys and messages if they are given and asked for."""
    async for stretch in jobs.values(actor, job.id, start=start):
        if keys is not None:
            there = keys[stretch.start - 1 : stretch.start - 1 + stretch.count]
            yield frames.pack(frames.KEYS, content=orjson.dumps(there))
        if failing and (failed := await errors_of(jobs, actor, job.id, stretch)):
            told = {str(index): error and error["message"] for index, error in failed.items()}
            yield frames.pack(frames.FAILED, content=orjson.dumps(told))
        yield frames.pack(frames.VALUES, stretch.start, stretch.ndjson)
    yield frames.pack(frames.END)


def _advice(form: str, why: str) -> str:
    return (
        f"The values are no table that {form} can hold: {why}. "
        f"Ask for {NDJSON}, application/json or {CSV}, which hold any values."
    )
