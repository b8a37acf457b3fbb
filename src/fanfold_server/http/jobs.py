"""Our own API of jobs: all that the compatible wire has no words for."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response

from fanfold_server.http.accept import chosen
from fanfold_server.http.answers import Json, Nothing
from fanfold_server.http.columnar import ARROW, PARQUET
from fanfold_server.http.idempotency import idempotency
from fanfold_server.http.jobs_events import EVENT_STREAM, event_id, events
from fanfold_server.http.jobs_images import CONTENT_SECURITY_POLICY, archive, contact_sheet
from fanfold_server.http.jobs_paths import JobId
from fanfold_server.http.jobs_results import CSV, NDJSON, csv_table, ndjson, summarized
from fanfold_server.http.jobs_schemas import (
    ErrorGroupOut,
    ErrorGroups,
    Extend,
    ImageList,
    ImageOut,
    JobDetail,
    JobList,
    JobOut,
    OutcomeList,
    OutcomeOut,
    SummaryOut,
)
from fanfold_server.http.streams import sized_or_chunked, streamed
from fanfold_server.http.surface import (
    Caller,
    CallerRoute,
    JobsOf,
    SubmittingOf,
    Surface,
    SurfaceOf,
)
from fanfold_server.model.errors import InvalidBody, InvalidField, JobRunning, UnknownImage
from fanfold_server.model.job import Job, JobState
from fanfold_server.model.submission import Idempotency
from fanfold_server.service.jobs import JobFilter
from fanfold_server.service.planning import first_index

ROOT: Final = "/api/v1/jobs"
router = APIRouter(prefix=ROOT, tags=["jobs"], route_class=CallerRoute)

JSON: Final = "application/json"
HTML: Final = "text/html"
ZIP: Final = "application/zip"
PNG: Final = "image/png"
_IMAGE: Final = re.compile(r"(\d{1,10})-(\d{1,6})\.png", re.ASCII)

From = Annotated[int | None, Query(alias="from", ge=0, description="The first call's index.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Entries of a page.")]


async def _idempotency(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Of the client's choice: a second request with the same key makes no "
            "second job, and is answered with the first one.",
        ),
    ] = None,
) -> Idempotency | None:
    return idempotency(request.scope["headers"], request.scope["path"], body=await request.body())


Key = Annotated[Idempotency | None, Depends(_idempotency)]


def _forms(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Document the forms of an answer, of which the header Accept chooses."""
    return {200: {"content": {media_type: {} for media_type in media_types}}}


# --------------------------------------------------------------------------------------- to look at


@router.get("", response_model=JobList)
async def list_jobs(
    *,
    jobs: JobsOf,
    caller: Caller,
    state: Annotated[list[JobState] | None, Query(description="In one of these states.")] = None,
    script: Annotated[str | None, Query(description="Of this script.", max_length=300)] = None,
    comments: Annotated[
        str | None,
        Query(
            description="Whose comments match: `%` stands for any text, `_` for any character.",
            max_length=4000,
        ),
    ] = None,
    created_from: Annotated[
        AwareDatetime | None, Query(alias="createdFrom", description="At this time or later.")
    ] = None,
    created_before: Annotated[
        AwareDatetime | None, Query(alias="createdBefore", description="Before this time.")
    ] = None,
    after: Annotated[
        str | None, Query(description="The member `next` of the page before.", max_length=36)
    ] = None,
    limit: Limit = 100,
) -> Json:
    """List your jobs, the newest first; those that match every filter."""
    wanted = JobFilter(
        states=frozenset(state) if state else None,
        script=_plain(script, "script"),
        comments=_plain(comments, "comments"),
        created_after=created_from,
        created_before=created_before,
    )
    page = await jobs.listing(caller, wanted, limit=limit, after=_plain(after, "after"))
    now = datetime.now(UTC)
    following = page[-1].id if len(page) == limit else None
    return Json(JobList(jobs=[JobOut.of(job, now) for job in page], next=following))


@router.get("/{jobId}", response_model=JobDetail)
async def read_job(jobs: JobsOf, caller: Caller, job_id: JobId) -> Json:
    """Look at a job: its state, counts, speed, what it runs and when it will be done."""
    return Json(JobDetail.of(await jobs.get(caller, job_id), datetime.now(UTC)))


@router.get("/{jobId}/outcomes", response_model=OutcomeList)
async def list_outcomes(
    *,
    jobs: JobsOf,
    caller: Caller,
    job_id: JobId,
    state: Annotated[
        Literal["waiting", "returned", "failed"] | None, Query(description="Only these.")
    ] = None,
    start: From = 0,
    limit: Limit = 100,
) -> Json:
    """List what came of each call: time, attempts, memory, log, error with traceback."""
    entries = await jobs.outcomes(caller, job_id, state=state, start=start or 0, limit=limit)
    following = entries[-1].index + 1 if len(entries) == limit else None
    return Json(OutcomeList(outcomes=[OutcomeOut.of(e) for e in entries], next=following))


@router.get("/{jobId}/errors", response_model=ErrorGroups)
async def group_errors(jobs: JobsOf, caller: Caller, job_id: JobId) -> Json:
    """Group the failed calls by class, line and message, with counts and sample indexes."""
    groups = await jobs.errors(caller, job_id)
    return Json(ErrorGroups(errors=[ErrorGroupOut.of(group) for group in groups]))


@router.get(
    "/{jobId}/events",
    response_class=Response,
    responses={
        200: {"content": {EVENT_STREAM: {}}},
        204: {"description": "The job has ended, and you have seen its end: do not come back."},
    },
)
async def follow_job(
    request: Request,
    jobs: JobsOf,
    caller: Caller,
    job_id: JobId,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="The last event that you have.")
    ] = None,
) -> Response:
    """Follow a job by server-sent events: `progress` at each change, and `end`.

    The data of each event is the job as `GET /api/v1/jobs/{jobId}` has it, without `parameters`.
    """
    job = await jobs.get(caller, job_id)
    if job.state.is_final and last_event_id == event_id(job):
        return Nothing()
    if _is_head(request):
        return Response(headers={"Content-Type": EVENT_STREAM})
    body = events(jobs, caller, job_id, last_seen=last_event_id)
    return streamed(body, media_type=EVENT_STREAM)


# ----------------------------------------------------------------------------------------- results


@router.get(
    "/{jobId}/results", response_class=Response, responses=_forms(NDJSON, JSON, CSV, ARROW, PARQUET)
)
async def read_results(
    *,
    request: Request,
    surface: SurfaceOf,
    jobs: JobsOf,
    caller: Caller,
    job_id: JobId,
    start: From = None,
    follow: Annotated[
        bool, Query(description="NDJSON: wait for what has no outcome yet, to the job's end.")
    ] = False,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The last index that you have, for `from`."),
    ] = None,
    formulas: Annotated[
        Literal["keep", "escape"],
        Query(
            description="CSV: `escape` puts an apostrophe before texts that begin with `=`, `+`, "
            "`-`, `@`, a tab or a line break, which spreadsheets may take for formulas."
        ),
    ] = "keep",
) -> Response:
    """Read the values in index order, in the form that the header Accept asks for.

    NDJSON (the default): a line `{"index":1,"value":…}` for each call that returned, and
    `{"index":2,"error":{…}}` for one that failed; of a job that runs, those up to the first call
    without an outcome. To go on after a cut, ask for `from` the index after the last whole line.
    JSON: what the compatible surface answers. CSV: a table with the index in its first column.
    Arrow stream and Parquet: the same table with typed columns, and a column `error` if calls
    failed; 406 if the values of a column have no type in common. All but NDJSON are there when the
    job has ended.
    """
    job = await jobs.get(caller, job_id)
    form = chosen(request.headers.get("accept"), (NDJSON, JSON, CSV, ARROW, PARQUET))
    begin = _begin(start, last_event_id)
    if form == NDJSON:
        first = max(begin or 0, first_index(job.spec))
        follow = follow and not _is_head(request)
        body = ndjson(jobs, caller, job_id, start=first, follow=follow)
        return streamed(body, media_type=NDJSON)
    if not job.state.is_final:
        raise JobRunning(f"The job is {job.state}: until it has ended there is only {NDJSON}.")
    if form == CSV:
        first = max(begin or 0, first_index(job.spec))
        table = csv_table(jobs, caller, job_id, start=first, escape=formulas == "escape")
        return streamed(table, media_type=f"{CSV}; charset=utf-8; header=present")
    if form in {ARROW, PARQUET}:
        first = max(begin or 0, first_index(job.spec))
        columns = surface.columnar.table(jobs, caller, job, form=form, start=first)
        return await sized_or_chunked(columns, media_type=form)
    if begin is not None:
        raise InvalidField('"from" does not go with application/json.', field="from")
    result = await jobs.result(caller, job_id)
    if result is None:
        raise JobRunning("The job has ended, and its result is being written as a table.")
    if result.error is not None:
        return Json(result.error, status_code=400)
    return await sized_or_chunked(result.pieces)


@router.get("/{jobId}/summary", response_model=SummaryOut)
async def summarize_results(
    jobs: JobsOf,
    caller: Caller,
    job_id: JobId,
    member: Annotated[
        str | None,
        Query(description="Of values that are objects: whose number.", max_length=300),
    ] = None,
) -> Json:
    """Sum up the numbers that the calls returned: mean, variance, interval, quantiles.

    Of a job that runs, those up to the first call without an outcome: what is quick does not come
    in before what is slow, which would bias the mean.
    """
    await jobs.get(caller, job_id)
    summary, without = await summarized(jobs, caller, job_id, member=member)
    return Json(SummaryOut.of(summary, without))


def _is_head(request: Request) -> bool:
    """Say whether nobody will read the body, so that there is nothing to wait for."""
    return bool(request.scope.get("fanfold.head"))


def _begin(start: int | None, last_event_id: str | None) -> int | None:
    if start is not None or last_event_id is None:
        return start
    if not (last_event_id.isascii() and last_event_id.isdigit()):
        raise InvalidField('The header "Last-Event-ID" should be an index.', field="Last-Event-ID")
    return int(last_event_id[:10]) + 1


@router.get(
    "/{jobId}/images",
    response_class=Response,
    responses={200: {"model": ImageList, "content": {HTML: {}, ZIP: {}}}},
)
async def list_images(
    *,
    request: Request,
    surface: SurfaceOf,
    jobs: JobsOf,
    caller: Caller,
    job_id: JobId,
    start: From = 0,
    limit: Limit = 100,
) -> Response:
    """List the figures, each with its address; or have all of them at once.

    With `Accept: text/html` a page that shows them all and holds them itself; with
    `application/zip` an archive of PNG files. A page of the list ends with a whole call.
    """
    job = await jobs.get(caller, job_id)
    form = chosen(request.headers.get("accept"), (JSON, HTML, ZIP))
    if form == HTML:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        sheet = contact_sheet(jobs, caller, job)
        return streamed(sheet, media_type=f"{HTML}; charset=utf-8", headers=headers)
    if form == ZIP:
        headers = {"Content-Disposition": f'attachment; filename="{job_id}.zip"'}
        return streamed(archive(jobs, caller, job), media_type=ZIP, headers=headers)
    base = f"{_url(request, surface, job)}/images"
    keys = await jobs.keys(job)
    entries = await jobs.images(caller, job_id, start=start or 0, limit=limit)
    following = None
    if len(entries) == limit:
        following = entries[-1].index
        whole = [entry for entry in entries if entry.index < following]
        if whole:
            entries = whole
        else:
            following += 1
    return Json(
        ImageList(
            images=[
                ImageOut(
                    index=entry.index,
                    number=entry.number,
                    title=entry.title,
                    href=f"{base}/{entry.index}-{entry.number}.png",
                    group=keys[entry.index - 1] if keys is not None else None,
                )
                for entry in entries
            ],
            next=following,
        )
    )


@router.get("/{jobId}/images/{image}", response_class=Response, responses=_forms(PNG))
async def read_image(
    jobs: JobsOf,
    caller: Caller,
    job_id: JobId,
    image: Annotated[
        str, Path(description="Index of the call and number of its figure, such as `7-1.png`.")
    ],
) -> Response:
    """Read a figure."""
    found = _IMAGE.fullmatch(image)
    if found is None:
        raise UnknownImage(f'There is no image "{image}"; one is called "7-1.png", for example.')
    png = await jobs.image(caller, job_id, int(found[1]), int(found[2]))
    return Response(png, media_type=PNG)


# ------------------------------------------------------------------------------------------ to act


@router.post("/{jobId}/cancel", response_model=JobOut)
async def cancel_job(jobs: JobsOf, caller: Caller, job_id: JobId) -> Json:
    """Stop a job; its record and what has finished stay."""
    return Json(JobOut.of(await jobs.cancel(caller, job_id), datetime.now(UTC)))


@router.post("/{jobId}/resume", response_model=JobOut, status_code=201)
async def resume_job(
    *,
    request: Request,
    surface: SurfaceOf,
    submitting: SubmittingOf,
    caller: Caller,
    job_id: JobId,
    key: Key,
) -> Json:
    """Make a new job that keeps what has returned, and runs what failed or is missing.

    It runs the script's current version, so that a mended function can be tried on what it failed.
    All else is as it was: there are no members to ask for it.
    """
    if (await request.body()).translate(None, b" \t\r\n") not in {b"", b"{}"}:
        raise InvalidBody("A job is resumed as it was submitted: send no body, or {}.")
    job = await submitting.resume(caller, job_id, idempotency=key)
    return _created(request, surface, job)


@router.post("/{jobId}/extend", response_model=JobOut, status_code=201)
async def extend_job(
    *,
    request: Request,
    surface: SurfaceOf,
    submitting: SubmittingOf,
    caller: Caller,
    job_id: JobId,
    key: Key,
    body: Extend,
) -> Json:
    """Make a new job of more calls that keeps the values of the old one.

    Version, parameters and seed are the same, so it equals a job that had so many from the start.
    """
    job = await submitting.extend(
        caller,
        job_id,
        body.times,
        stop_when=None if body.stopWhen is None else body.stopWhen.condition,
        idempotency=key,
    )
    return _created(request, surface, job)


@router.delete("/{jobId}", status_code=204, response_class=Nothing)
async def delete_job(jobs: JobsOf, caller: Caller, job_id: JobId) -> Nothing:
    """Forget a job with all that it stored; stop it, if it runs."""
    await jobs.delete(caller, job_id)
    return Nothing()


def _created(request: Request, surface: Surface, job: Job) -> Json:
    headers = {"Location": _url(request, surface, job)}
    return Json(JobOut.of(job, datetime.now(UTC)), status_code=201, headers=headers)


def _url(request: Request, surface: Surface, job: Job) -> str:
    return f"{surface.base_url(request)}{ROOT}/{job.id}"


def _plain(text: str | None, field: str) -> str | None:
    """Refuse a NUL, which a database may not take."""
    if text is not None and "\0" in text:
        raise InvalidField(f'The query parameter "{field}" holds a NUL.', field=field)
    return text
