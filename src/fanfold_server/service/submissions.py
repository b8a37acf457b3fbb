"""What is said to the use cases of jobs, and what they say: see `jobs.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from fanfold_server.model.errors import KeyReused
from fanfold_server.model.job import Job, JobState
from fanfold_server.model.stopping import StopWhen


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """What makes two submissions one.

    Attributes:
        key: of the client's choice, ≤ 255 characters.
        request: digest of all that was asked with it, 32 bytes.
    """

    key: str
    request: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is asked of a job beyond the run itself; the wire's members and headers.

    Attributes:
        timeout_s: how long it may run, from its start; 1800 … 43200.
        idempotency: a second submission of the owner with the same key is the first job.
        call_timeout_s: how long one call may take, > 0; None: no limit of its own.
        max_failures: failed calls with which the job still goes on under "continue", ≥ 0.
        canary: run the first call alone, and the rest only if it returns.
        stop_when: when it ends before its last call; of index-apply.
        result_table: a table of the owner's as which the result is written.
        table_overwrite: in place of one of that name.
        callback_url: whom to tell of the job's end.
        callback_origin: under which scheme, host and port the caller knows this server.
    """

    api_version: str = "v1"
    timeout_s: int = 1800
    comments: str | None = None
    idempotency: Idempotency | None = None
    call_timeout_s: float | None = None
    max_failures: int | None = None
    canary: bool = False
    stop_when: StopWhen | None = None
    result_table: str | None = None
    table_overwrite: bool = False
    callback_url: str | None = None
    callback_origin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs a listing or a deletion is about: those that fit every member that is given.

    Attributes:
        comments: pattern in which `%` stands for any text and `_` for any character.
        created_before: before this, aware.
        created_after: at or after this, aware.
    """

    states: frozenset[JobState] | None = None
    comments: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    script: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a job ended, as the compatible wire answers it.

    Attributes:
        error: the error object of a job without an answer (failed, cancelled, timed out); with it,
            `pieces` is empty.
        pieces: the body exactly as a synchronous call's, in pieces; read from files as it is sent.
        graphics: whether the body holds images.
    """

    job: Job
    error: dict[str, object] | None
    pieces: AsyncIterator[bytes]
    graphics: bool


def same(job: Job, request: bytes | None) -> Job:
    """Return the job that an idempotency key stands for, if it is what is asked for now.

    What a job of an older release was asked for with is not known.

    Raises:
        KeyReused: it is not.
    """
    if job.spec.request not in {None, request}:
        raise KeyReused(
            f"The Idempotency-Key belongs to the job {job.id}, which was asked for differently: "
            "take a new one."
        )
    return job
