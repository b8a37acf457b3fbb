"""The shapes of what is said about jobs: our own API's, and the compatible wire's."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import override

from fanfold_server.http.answers import AnswerBody
from fanfold_server.http.run_bodies import INT32_MAX, StopCondition
from fanfold_server.http.schemas import iso_ms
from fanfold_server.http.strict import NO_NUL
from fanfold_server.model.job import WITH_RESULT, Job, JobState, TableState
from fanfold_server.service.entries import ErrorGroup, OutcomeEntry
from fanfold_server.service.progress import progress_of
from fanfold_server.service.summing import Summary

_SHARES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")


# -------------------------------------------------------------------------- the compatible surface


class OmlFilter(BaseModel):
    """Which jobs: those that match every filter that is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[
        str | None,
        Field(
            description="FINISH, cancelled or running, in any case; or a state of fanfold's own.",
            max_length=40,
        ),
    ] = None
    comments: Annotated[
        str | None,
        Field(
            description="A pattern for the comments, in which `%` stands for any text and `_` for "
            "any character.",
            max_length=4000,
            pattern=NO_NUL,
        ),
    ] = None
    age: Annotated[
        int | None,
        Field(description="Created more than so many seconds ago.", ge=0, le=INT32_MAX),
    ] = None


class OmlPoll(BaseModel):
    """A job that has not ended."""

    created_date: Annotated[
        str,
        Field(
            alias="createdDate",
            description="v1: ` Mar 12,2025 22:55`, with the blank; v2: `2026-01-26 20:35:22 UTC`.",
        ),
    ]
    status: Annotated[str, Field(description="`job is still running`.")]
    elapsed_time: Annotated[str, Field(alias="elapsedTime", description="Such as `00:13:32`.")]


class OmlJob(BaseModel):
    """A job of the compatible listing."""

    created_date: Annotated[str, Field(alias="createdDate", description="UTC.")]
    job_id: str
    status: Annotated[str, Field(description="FINISH, cancelled, or `job is still running`.")]
    elapsed_time: Annotated[str, Field(alias="elapsedTime")]
    comments: str | None


class OmlJobList(BaseModel):
    """One's jobs, the newest first."""

    result: list[OmlJob]


class DeletedJobs(BaseModel):
    """What was deleted."""

    result: str
    count: int


# ------------------------------------------------------------------------------------ our own: in


class Extend(BaseModel):
    """How many calls the longer job has, those of the old one included."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, json_schema_extra={"example": {"times": 5000}}
    )

    times: Annotated[int, Field(ge=1, le=INT32_MAX)]
    stopWhen: Annotated[  # noqa: N815
        StopCondition | None,
        Field(description="When to end before that; without it, all of them are run."),
    ] = None


# ----------------------------------------------------------------------------------- our own: out


class JobScript(AnswerBody):
    """The version of a script that a job runs, whatever has become of the script since."""

    name: str
    owner: str
    version: int
    digest: Annotated[str, Field(description="SHA-256 of the source, in hexadecimal.")]


class Stopped(AnswerBody):
    """How a job has ended before its last call."""

    at: Annotated[int, Field(description="The last call that counts; the job has no more.")]
    asked: Annotated[int, Field(description="How many calls were asked for.")]


class Eta(AnswerBody):
    """When the rest will be done if it goes on like this: seconds from now."""

    seconds: float
    low: Annotated[float, Field(description="Lower end of the band that holds in 95 of 100 cases.")]
    high: Annotated[float, Field(description="Its upper end.")]


class ResultTableOut(AnswerBody):
    """The table as which a job's result is written."""

    name: str
    state: Annotated[
        TableState | None,
        Field(description="waiting, written or failed; null: the job ended without a result."),
    ]
    error: Annotated[
        dict[str, Any] | None, Field(description="Why there is no table: an error object.")
    ]

    @classmethod
    def of(cls, job: Job) -> Self | None:
        """Tell of the table, if one is asked for."""
        if job.spec.result_table is None:
            return None
        lost = job.state.is_final and job.state not in WITH_RESULT
        state = None if lost else job.table_state
        return cls(name=job.spec.result_table, state=state, error=job.table_error)


class JobOut(AnswerBody):
    """A job as it stands."""

    id: str
    state: JobState
    owner: str
    verb: Annotated[str, Field(description="What was asked for: do-eval, index-apply, …")]
    script: JobScript
    environment: str
    environment_version: Annotated[
        int | None, Field(description="Of an environment that was built by fanfold.")
    ]
    seed: int
    graphics: bool
    service: str
    degree: Annotated[int, Field(description="Workers that it may have at once.")]
    on_error: str
    max_failures: int | None
    canary: bool
    stop_when: Annotated[
        dict[str, object] | None, Field(description="When it ends before its last call.")
    ]
    stopped: Annotated[
        Stopped | None, Field(description="Of a job that has ended before its last call.")
    ]
    timeout: Annotated[int, Field(description="Seconds that it may run.")]
    call_timeout: Annotated[float | None, Field(description="Seconds that a call may run.")]
    comments: str | None
    result_table: Annotated[
        ResultTableOut | None, Field(description="The table as which the result is written.")
    ]
    callback_url: Annotated[str | None, Field(description="Where its end is told.")]
    times: Annotated[int, Field(description="How many calls; 1 for do-eval.")]
    returned: Annotated[int, Field(description="Calls that returned.")]
    failed: Annotated[int, Field(description="Calls that failed.")]
    taken: Annotated[
        int, Field(description="Of the returned: those of the job that was resumed or extended.")
    ]
    waiting: Annotated[int, Field(description="Calls that have no outcome.")]
    ahead: Annotated[int, Field(description="Place in the queue: calls that come before it.")]
    created: Annotated[str, Field(description="UTC, ISO 8601 with milliseconds.")]
    started: str | None
    finished: str | None
    elapsed_s: Annotated[
        float | None, Field(description="Since it started; to its end, if it has ended.")
    ]
    rate_per_s: Annotated[float | None, Field(description="Calls done per second, on average.")]
    eta: Annotated[Eta | None, Field(description="While it runs and has done something.")]
    error: Annotated[
        dict[str, object] | None,
        Field(description="Why it has no result: the error object that `result` answers."),
    ]

    @classmethod
    def of(cls, job: Job, now: datetime) -> Self:
        """Describe a job at a moment."""
        return cls(**_described(job, now))


class JobDetail(JobOut):
    """A job as it stands, with its arguments."""

    parameters: Annotated[str, Field(description="The keyword arguments, as JSON text.")]

    @classmethod
    @override
    def of(cls, job: Job, now: datetime) -> Self:
        """Describe a job at a moment."""
        return cls(**_described(job, now), parameters=job.spec.parameters.decode())


class JobList(AnswerBody):
    """One's jobs, the newest first."""

    jobs: list[JobOut]
    next: Annotated[
        str | None, Field(description="What `after` is to be for the next page; null at the end.")
    ]


class OutcomeOut(AnswerBody):
    """What came of one call."""

    index: int
    state: Annotated[str, Field(description="waiting, returned or failed.")]
    attempts: Annotated[int, Field(description="How often it was begun.")]
    elapsed_us: Annotated[int | None, Field(description="Microseconds, where measured.")]
    peak_kib: Annotated[int | None, Field(description="Peak memory in KiB, where measured.")]
    log: Annotated[str, Field(description="The end of what it printed.")]
    error: Annotated[
        dict[str, object] | None, Field(description="Code, type, message and traceback.")
    ]

    @classmethod
    def of(cls, entry: OutcomeEntry) -> Self:
        """Describe an outcome."""
        return cls(
            index=entry.index,
            state=entry.state,
            attempts=entry.attempts,
            elapsed_us=entry.elapsed_us,
            peak_kib=entry.peak_kib,
            log=entry.log,
            error=entry.error,
        )


class OutcomeList(AnswerBody):
    """Outcomes in index order."""

    outcomes: list[OutcomeOut]
    next: Annotated[
        int | None, Field(description="What `from` is to be for the next page; null at the end.")
    ]


class ErrorGroupOut(AnswerBody):
    """Calls that failed alike."""

    count: int
    code: int
    type: str
    line: Annotated[str, Field(description="The last line of your own source; may be empty.")]
    pattern: Annotated[str, Field(description="The message, with `#` for its numbers.")]
    message: Annotated[str, Field(description="The message of the first of them.")]
    sample: Annotated[list[int], Field(description="The lowest indexes.")]

    @classmethod
    def of(cls, group: ErrorGroup) -> Self:
        """Describe a group."""
        return cls(
            count=group.count,
            code=group.code,
            type=group.type,
            line=group.line,
            pattern=group.pattern,
            message=group.message,
            sample=group.sample,
        )


class ErrorGroups(AnswerBody):
    """Failed calls in groups, the largest first."""

    errors: list[ErrorGroupOut]


_PAIR = WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2})
"""Two numbers, in words that every reader of OpenAPI knows."""


class SummaryOut(AnswerBody):
    """The distribution of the numbers that have come so far, in index order without a gap."""

    count: Annotated[int, Field(description="Numbers.")]
    without: Annotated[int, Field(description="Values that hold no finite number.")]
    mean: float | None
    variance: Annotated[float | None, Field(description="Of the sample.")]
    standard_error: Annotated[float | None, Field(description="Of the mean.")]
    interval: Annotated[
        Annotated[tuple[float, float], _PAIR] | None,
        Field(description="Holds the mean in 95 of 100 cases, by the normal approximation."),
    ]
    low: Annotated[float | None, Field(description="The smallest.")]
    high: Annotated[float | None, Field(description="The largest.")]
    quantiles: Annotated[
        dict[str, float | None], Field(description="Right to half a per cent of themselves.")
    ]

    @classmethod
    def of(cls, summary: Summary, without: int) -> Self:
        """Describe a summary."""
        some = summary.count > 0
        return cls(
            count=summary.count,
            without=without,
            mean=summary.mean if some else None,
            variance=summary.variance,
            standard_error=summary.standard_error,
            interval=summary.interval(),
            low=summary.low if some else None,
            high=summary.high if some else None,
            quantiles={share: summary.quantile(float(share)) for share in _SHARES},
        )


class ImageOut(AnswerBody):
    """A stored figure."""

    index: int
    number: int
    title: str | None
    href: str
    group: Annotated[str | None, Field(description="Of group-apply: whose rows were drawn.")]


class ImageList(AnswerBody):
    """Figures in the order of calls and of drawing."""

    images: list[ImageOut]
    next: Annotated[
        int | None, Field(description="What `from` is to be for the next page; null at the end.")
    ]


def _described(job: Job, now: datetime) -> dict[str, Any]:
    spec = job.spec
    progress = progress_of(job, now)
    eta = progress.eta_s
    return {
        "id": job.id,
        "state": job.state,
        "owner": spec.owner,
        "verb": spec.verb,
        "script": JobScript(
            name=spec.script_name,
            owner=spec.script_owner,
            version=spec.script_version,
            digest=spec.digest,
        ),
        "environment": spec.environment,
        "environment_version": spec.environment_version,
        "seed": spec.seed,
        "graphics": spec.graphics,
        "service": spec.service,
        "degree": spec.degree,
        "on_error": spec.on_error,
        "max_failures": spec.max_failures,
        "canary": spec.canary,
        "timeout": spec.timeout_s,
        "call_timeout": spec.call_timeout_s,
        "comments": spec.comments,
        "result_table": ResultTableOut.of(job),
        "callback_url": spec.callback_url,
        "times": spec.times,
        "stop_when": spec.stop_when and spec.stop_when.members(),
        "stopped": None if spec.asked is None else Stopped(at=spec.times, asked=spec.asked),
        "returned": job.returned,
        "failed": job.failed,
        "taken": job.taken,
        "waiting": job.waiting,
        "ahead": job.ahead,
        "created": iso_ms(job.created),
        "started": iso_ms(job.started) if job.started else None,
        "finished": iso_ms(job.finished) if job.finished else None,
        "elapsed_s": progress.elapsed_s,
        "rate_per_s": progress.rate_per_s,
        "eta": None if eta is None else Eta(seconds=eta[1], low=eta[0], high=eta[2]),
        "error": job.error,
    }
