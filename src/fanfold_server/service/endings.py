"""Why a job that has ended has no answer, as the error object that its result is then."""

from __future__ import annotations

from fanfold_server.model.apply import OnError
from fanfold_server.model.job import Job, JobState
from fanfold_server.model.outcome import FailureKind


def error_of(job: Job) -> dict[str, object] | None:
    """Return the error object of a job that has ended without an answer."""
    match job.state:
        case JobState.CANCELLED:
            return _ended(FailureKind.CANCELLED, "Cancelled", "The job was cancelled.")
        case JobState.TIMED_OUT:
            message = f"The job was stopped after {job.spec.timeout_s} s, its limit."
            return _ended(FailureKind.TIMED_OUT, "TimedOut", message)
        case JobState.FAILED:
            spec = job.spec
            # A job that may end early fails only with a call that ends it, or all of them.
            ended = spec.on_error is OnError.FAIL or (spec.stop_when and job.error is not None)
            if job.waiting or ended or _is_fatal(job.error):
                return job.error or _ended(FailureKind.LOST, "Failed", "The job failed.")
        case _:
            pass
    # None also of a job whose every call failed under "continue": its answer lists them.
    return job.table_error


def _is_fatal(error: dict[str, object] | None) -> bool:
    return error is not None and any(
        kind.is_fatal for kind in FailureKind if kind == error.get("errorCode")
    )


def _ended(kind: FailureKind, name: str, message: str) -> dict[str, object]:
    return {"errorMessage": message, "errorCode": int(kind), "errorType": name}
