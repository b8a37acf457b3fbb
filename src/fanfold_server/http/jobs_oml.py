"""The compatible surface of jobs, v1 and v2: poll, fetch, delete; v2 also list and cancel.

What is odd here is so on the wire: 302 without `Location`, dates that are not ISO 8601, a failed
job whose result is an error object. A job is reached through both versions, however it was made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from fanfold_server.http.answers import Json
from fanfold_server.http.jobs_paths import JobId
from fanfold_server.http.jobs_schemas import DeletedJobs, OmlFilter, OmlJobList, OmlPoll
from fanfold_server.http.links import job_url
from fanfold_server.http.oml import ROOT
from fanfold_server.http.schemas import Done
from fanfold_server.http.streams import sized_or_chunked
from fanfold_server.http.surface import Caller, CallerRoute, JobsOf, Surface, SurfaceOf
from fanfold_server.model.actor import Actor
from fanfold_server.model.errors import InvalidField, JobNotRunning, ResultNotReady
from fanfold_server.model.job import Job, JobLine, JobState
from fanfold_server.service.jobs import JobFilter, Jobs

router = APIRouter(prefix=ROOT, tags=["jobs"], route_class=CallerRoute)

STILL_RUNNING: Final = "job is still running"
FINISHED: Final = "FINISH"
CANCELLED: Final = "cancelled"
PAGE: Final = 1000
"""Jobs of a listing that are in memory at once."""

_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
_LONGEST_S: Final = 100 * 3600 - 1
_RUNNING: Final = frozenset(state for state in JobState if not state.is_final)
_ENDED: Final = frozenset(JobState) - _RUNNING - {JobState.CANCELLED}
_WORDS: Final = {
    "finish": _ENDED,
    "finished": _ENDED,
    "cancelled": frozenset((JobState.CANCELLED,)),
    "canceled": frozenset((JobState.CANCELLED,)),
    STILL_RUNNING: _RUNNING,
    "running": _RUNNING,
}
_STATUS_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    202: {"description": "The job waits or runs.", "model": OmlPoll},
    302: {
        "description": "The job has ended, well or badly. There is no `Location`, on purpose.",
        "headers": {
            "Content-Location": {
                "description": "Where the result is.",
                "schema": {"type": "string"},
            }
        },
    },
}
_RESULT_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "What a synchronous call would have answered.",
        "content": {"application/json": {"schema": {"type": "object", "required": ["result"]}}},
    },
}

OmlFilters = Annotated[OmlFilter, Query()]


# ------------------------------------------------------------------------------------------ status


@router.get("/v1/jobs/{jobId}", status_code=202, responses=_STATUS_RESPONSES)
async def poll_job_v1(
    request: Request, surface: SurfaceOf, jobs: JobsOf, caller: Caller, job_id: JobId
) -> Response:
    """Ask whether a job has ended: 202 while it has not, 302 without `Location` when it has."""
    job = await jobs.get(caller, job_id)
    return _status(request, surface, job, "v1", _date_v1(job.created))


@router.get("/v2/jobs/{jobId}", status_code=202, responses=_STATUS_RESPONSES)
async def poll_job_v2(
    request: Request, surface: SurfaceOf, jobs: JobsOf, caller: Caller, job_id: JobId
) -> Response:
    """Ask whether a job has ended: 202 while it has not, 302 without `Location` when it has."""
    job = await jobs.get(caller, job_id)
    return _status(request, surface, job, "v2", _date_v2(job.created))


def _status(request: Request, surface: Surface, job: Job, version: str, created: str) -> Response:
    if job.is_settled:
        url = job_url(request.scope, surface.public_url, version=version, job=job.id)
        headers = {"Content-Location": f"{url}/result", "Content-Length": "0"}
        return Response(status_code=302, headers=headers)
    members = {
        "createdDate": created,
        "status": STILL_RUNNING,
        "elapsedTime": _elapsed(job, datetime.now(UTC)),
    }
    return Json(members, status_code=202)


# ------------------------------------------------------------------------------------------ result


@router.get("/v1/jobs/{jobId}/result", responses=_RESULT_RESPONSES)
async def fetch_result_v1(jobs: JobsOf, caller: Caller, job_id: JobId) -> Response:
    """Fetch what a synchronous call would have answered; 404 while there is nothing yet."""
    return await _result(jobs, caller, job_id)


@router.get("/v2/jobs/{jobId}/result", responses=_RESULT_RESPONSES)
async def fetch_result_v2(jobs: JobsOf, caller: Caller, job_id: JobId) -> Response:
    """Fetch what a synchronous call would have answered; 404 while there is nothing yet."""
    return await _result(jobs, caller, job_id)


async def _result(jobs: Jobs, caller: Actor, job_id: str) -> Response:
    result = await jobs.result(caller, job_id)
    if result is None:
        raise ResultNotReady(f"The job {job_id} has no result yet: it has not ended.")
    spec = result.job.spec
    headers = {
        "Fanfold-Seed": str(spec.seed),
        "Fanfold-Script-Version": str(spec.script_version),
    }
    if result.error is not None:
        return Json(result.error, status_code=400, headers=headers)
    return await sized_or_chunked(result.pieces, chunked=result.graphics, headers=headers)


# ---------------------------------------------------------------------------------- delete, cancel


@router.delete("/v1/jobs/{jobId}", response_model=Done)
async def delete_job_v1(jobs: JobsOf, caller: Caller, job_id: JobId) -> Json:
    """Stop a job that waits or runs, and forget it."""
    job = await jobs.get(caller, job_id)
    if job.state.is_final:
        raise JobNotRunning(
            f"The job {job_id} has ended already, and v1 deletes only what runs; v2 deletes both."
        )
    await jobs.delete(caller, job_id)
    return Json(Done(result="job deleted successfully"))


@router.delete("/v2/jobs/{jobId}", response_model=Done)
async def delete_job_v2(jobs: JobsOf, caller: Caller, job_id: JobId) -> Json:
    """Forget a job with all that it stored; stop it, if it runs."""
    await jobs.delete(caller, job_id)
    return Json(Done(result="job deleted successfully"))


@router.post("/v2/jobs/{jobId}/cancel", response_model=Done)
async def cancel_job_v2(surface: SurfaceOf, jobs: JobsOf, caller: Caller, job_id: JobId) -> Json:
    """Stop a job and keep its record, its comments, and what has finished."""
    if surface.preloading is not None and surface.preloading.has(caller, job_id):
        raise JobNotRunning(
            f"{job_id} is not a job's id but that of a preload: DELETE {ROOT}/v2/preload/conda/"
            "{envName} lets its environment go."
        )
    await jobs.cancel(caller, job_id)
    return Json(Done(result="job cancelled successfully"))


# -------------------------------------------------------------------------------------------- list


@router.get("/v2/jobs", response_model=OmlJobList)
async def list_jobs_v2(jobs: JobsOf, caller: Caller, filters: OmlFilters) -> Response:
    """List your jobs, the newest first; of several filters, all must match."""
    return await sized_or_chunked(_listing(jobs, caller, _wanted(filters)))


@router.delete("/v2/jobs", response_model=DeletedJobs)
async def delete_jobs_v2(jobs: JobsOf, caller: Caller, filters: OmlFilters) -> Json:
    """Delete every job of yours that matches all filters, running ones included.

    At least one filter is required, and one that does not exist is refused.
    """
    if not filters.model_fields_set:
        raise InvalidField(
            "At least one filter is required: status, comments or age (a query parameter)."
        )
    deleted = await jobs.delete_matching(caller, _wanted(filters))
    return Json(DeletedJobs(result="jobs deleted successfully", count=len(deleted)))


async def _listing(jobs: Jobs, caller: Actor, wanted: JobFilter) -> AsyncIterator[bytes]:
    now = datetime.now(UTC)
    after: str | None = None
    lead = b'{"result":['
    while page := await jobs.lines(caller, wanted, limit=PAGE, after=after):
        yield lead + orjson.dumps([_entry(line, now) for line in page])[1:-1]
        lead = b","
        after = page[-1].id
        if len(page) < PAGE:
            break
    yield b"]}" if lead == b"," else lead + b"]}"


def _entry(job: JobLine, now: datetime) -> dict[str, object]:
    return {
        "createdDate": _date_v2(job.created),
        "job_id": job.id,
        "status": _word(job.state),
        "elapsedTime": _elapsed(job, now),
        "comments": job.comments,
    }


def _word(state: JobState) -> str:
    if not state.is_final:
        return STILL_RUNNING
    return CANCELLED if state is JobState.CANCELLED else FINISHED


def _wanted(filters: OmlFilter) -> JobFilter:
    states = None
    if filters.status is not None:
        word = filters.status.strip().lower()
        states = _WORDS.get(word)
        if states is None and word in frozenset(JobState):
            states = frozenset((JobState(word),))
        if states is None:
            words = ", ".join(dict.fromkeys([FINISHED, CANCELLED, "running", *JobState]))
            raise InvalidField(
                f'The query parameter "status" is "{filters.status}"; it should be one of {words}.',
                field="status",
            )
    before = None
    if filters.age is not None:
        before = datetime.now(UTC) - timedelta(seconds=filters.age)
    return JobFilter(states=states, comments=filters.comments, created_before=before)


def _date_v1(moment: datetime) -> str:
    """Write ` Mar 12,2025 22:55`: with the blank before, without seconds and zone."""
    return f" {_MONTHS[3 * moment.month - 3 : 3 * moment.month]} {moment:%d,%Y %H:%M}"


def _date_v2(moment: datetime) -> str:
    return f"{moment.isoformat(' ')[:19]} UTC"


def _elapsed(job: Job | JobLine, now: datetime) -> str:
    """Write `00:13:32`, from the submission to the end or until now; two digits of hours."""
    seconds = int(((job.finished or now) - job.created).total_seconds())
    seconds = min(max(seconds, 0), _LONGEST_S)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
