"""A job: a run that belongs to the server. Its life, and what is asked of it.

    queued ──▶ running ──▶ succeeded | partly_failed | failed | timed_out
       │          │
       └──────────┴─────▶ cancelled

`TRANSITIONS` is the only place that knows this.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fanfold_server.model.apply import OnError, ServiceLevel
from fanfold_server.model.stopping import StopWhen


class JobState(StrEnum):
    """Where a job is in its life.

    `partly_failed`: every call has its outcome, some failed (onError "continue").
    `failed`: a failed call ended it (onError "fail", or more failures than allowed), or all failed.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTLY_FAILED = "partly_failed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


class TableState(StrEnum):
    """What has become of the table that a job's result is to be written as."""

    WAITING = "waiting"
    WRITTEN = "written"
    FAILED = "failed"


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset((JobState.RUNNING, JobState.CANCELLED, JobState.TIMED_OUT)),
    JobState.RUNNING: frozenset(
        (
            JobState.SUCCEEDED,
            JobState.PARTLY_FAILED,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.TIMED_OUT,
        )
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.PARTLY_FAILED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.TIMED_OUT: frozenset(),
}


WITH_RESULT = frozenset((JobState.SUCCEEDED, JobState.PARTLY_FAILED))
"""States of jobs that have an answer."""

PRIORITY: tuple[ServiceLevel, ...] = (
    ServiceLevel.TPURGENT,
    ServiceLevel.TP,
    ServiceLevel.HIGH,
    ServiceLevel.MEDIUM,
    ServiceLevel.LOW,
)
"""The order of the queue: what stands first is run first."""


def final_state(*, total: int, failed: int, on_error: OnError) -> JobState:
    """Return how a job ends of which every call has its outcome."""
    if not failed:
        return JobState.SUCCEEDED
    if on_error is OnError.FAIL or failed == total:
        return JobState.FAILED
    return JobState.PARTLY_FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a job runs; enough to run it after its script has changed or gone.

    Attributes:
        owner: the account that submitted it, in upper case.
        verb: do-eval, index-apply, table-apply, row-apply or group-apply.
        times: how many calls, ≥ 0; 1 for do-eval and table-apply; 0 where row-apply or group-apply
            were given no rows: such a job has ended as soon as it is submitted.
        asked: how many calls were asked for, of a job that has ended before its last one.
        stop_when: when the job ends before its last call; of index-apply.
        parameters: JSON text of an object.
        timeout_s: 1800 … 43200: how long it may run, from its start.
        call_timeout_s: how long one call may take, > 0; None: no limit of its own.
        max_failures: failed calls with which the job still goes on under "continue"; None: any.
        canary: run the first call alone, and the rest only if it returns.
        digest: of the script's source.
        result_table: the owner's table as which the result is written; None: it is not.
        table_overwrite: in place of one of that name.
        callback_url: whom to tell of its end.
        callback_origin: under which scheme, host and port that one knows this server.
        environment_version: of an environment that was built by fanfold; None for any other.
        request: digest of the request with whose idempotency key it was made; None without one.
    """

    owner: str
    api_version: str
    verb: str
    script_name: str
    script_owner: str
    script_version: int
    digest: str
    source: str
    entry: str
    environment: str
    times: int
    parameters: bytes
    degree: int
    seed: int
    graphics: bool
    service: ServiceLevel
    on_error: OnError
    timeout_s: int
    call_timeout_s: float | None = None
    max_failures: int | None = None
    canary: bool = False
    comments: str | None = None
    result_table: str | None = None
    table_overwrite: bool = False
    callback_url: str | None = None
    callback_origin: str | None = None
    environment_version: int | None = None
    stop_when: StopWhen | None = None
    asked: int | None = None
    request: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands.

    Attributes:
        id: a UUID, 36 characters.
        returned, failed: calls that have that outcome; the rest wait or run.
        taken: how many of the returned were taken from the job that this one goes on from.
        error: why the job ended early: the first failed call's error object, or our own.
        table_state: of `spec.result_table`, if there is one.
        table_error: the error object that says why there is no table.
        ahead: calls of others that are before it in the queue; 0 once it runs.
    """

    id: str
    spec: JobSpec
    state: JobState
    created: datetime
    started: datetime | None
    finished: datetime | None
    returned: int
    failed: int
    error: dict[str, object] | None
    ahead: int = 0
    taken: int = 0
    table_state: TableState | None = None
    table_error: dict[str, object] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it has ended, and its result is written wherever it is to be."""
        wants = self.table_state is TableState.WAITING and self.state in WITH_RESULT
        return self.state.is_final and not wants

    @property
    def waiting(self) -> int:
        return self.spec.times - self.returned - self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """What a long list says of a job."""

    id: str
    state: JobState
    created: datetime
    finished: datetime | None
    comments: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A contiguous range of a job's calls, leased to one agent: scheduled, stored, retried whole.

    Attributes:
        number: 0, 1, … in index order.
        fence: counts the leases; a finish under an older one is refused.
    """

    job: str
    number: int
    start: int
    count: int
    fence: int
