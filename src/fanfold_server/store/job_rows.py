"""Between rows and the words of `model.job` and the port."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Row

from fanfold_server.model.apply import OnError, ServiceLevel
from fanfold_server.model.job import PRIORITY, Batch, Job, JobSpec, JobState, TableState
from fanfold_server.model.outcome import Failure, FailureKind
from fanfold_server.model.stopping import StopWhen
from fanfold_server.store.port import BatchRecord, BatchState, CallFailure, Content

AnyRow = Row[*tuple[Any, ...]]

SPEC_COLUMNS = tuple(member.name for member in fields(JobSpec) if member.name != "source")
"""The members of a spec that are columns of `job`, under the same names."""

_RANKS = {level: rank for rank, level in enumerate(PRIORITY)}
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?")
_FRAME = re.compile(r'^ *File ".*", (line \d+(?:, in .*)?)$', re.MULTILINE)


def clean(text: str) -> str:
    """Return what every database can keep: no lone surrogates, no U+0000."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def line_of(spec: JobSpec) -> str:
    """Return the line in which a job stands: its level's rank, one digit, then its owner."""
    return f"{_RANKS[spec.service]}{spec.owner}"


def spec_values(spec: JobSpec) -> dict[str, Any]:
    """Give the columns of `job` that say what it runs."""
    values: dict[str, Any] = {name: getattr(spec, name) for name in SPEC_COLUMNS}
    values["service"] = spec.service.value
    values["on_error"] = spec.on_error.value
    if spec.stop_when is not None:
        values["stop_when"] = json.dumps(spec.stop_when.members())
    values["table_state"] = None if spec.result_table is None else TableState.WAITING.value
    if spec.comments is not None:
        values["comments"] = clean(spec.comments)
    return values


def spec_of(row: AnyRow, source: str) -> JobSpec:
    """Read `spec_values` back."""
    values = {name: getattr(row, name) for name in SPEC_COLUMNS}
    values["service"] = ServiceLevel(values["service"])
    values["on_error"] = OnError(values["on_error"])
    if values["stop_when"] is not None:
        values["stop_when"] = StopWhen.of_members(json.loads(values["stop_when"]))
    return JobSpec(**values, source=source)


def job_of(row: AnyRow, source: str, *, ahead: int = 0) -> Job:
    """Read a row of `job`."""
    return Job(
        id=row.uuid,
        spec=spec_of(row, source),
        state=JobState(row.state),
        created=row.created,
        started=row.started,
        finished=row.finished,
        returned=row.returned,
        failed=row.failed,
        taken=row.taken,
        error=None if row.error is None else json.loads(row.error),
        ahead=ahead,
        table_state=None if row.table_state is None else TableState(row.table_state),
        table_error=None if row.table_error is None else json.loads(row.table_error),
    )


def error_text(error: Mapping[str, object]) -> str:
    """Write an error object; texts of workers in it are cleaned."""
    cleaned = {key: clean(v) if isinstance(v, str) else v for key, v in error.items()}
    return json.dumps(cleaned)


def content_values(content: Content | None) -> dict[str, bytes | None]:
    """Give the columns of `batch` that hold its content."""
    if content is None:
        return {"values": None, "meters": None, "logs": None, "images": None}
    return {
        "values": content.values,
        "meters": content.meters,
        "logs": content.logs,
        "images": content.images,
    }


def batch_of(row: AnyRow, job: str, *, content: bool) -> BatchRecord:
    """Read `BATCH_COLUMNS`, and with `content` `CONTENT_COLUMNS` after them."""
    there = content and row[_VALUES] is not None
    return BatchRecord(
        batch=Batch(
            job=job, number=row.number, start=row.start, count=row[_COUNT], fence=row.fence
        ),
        state=BatchState(row.state),
        returned=row.returned,
        failed=row.failed,
        finished=row.finished,
        content=Content(
            values=row[_VALUES], meters=row.meters, logs=row.logs, images=row.images
        ) if there else None,
        size_bytes=row.size_bytes,
    )  # fmt: skip


BATCH_COLUMNS = ("number", "start", "count", "state", "fence", "returned", "failed", "finished",
                 "size_bytes")  # fmt: skip
CONTENT_COLUMNS = ("values", "meters", "logs", "images")
# Rows have methods of these names.
_COUNT = BATCH_COLUMNS.index("count")
_VALUES = len(BATCH_COLUMNS)


def failure_values(job_id: int, failed: CallFailure) -> dict[str, Any]:
    """Give the columns of `failure`."""
    failure = failed.failure
    message, traceback = clean(failure.message), clean(failure.traceback)
    return {
        "job_id": job_id,
        "index": failed.index,
        "code": int(failure.kind),
        "type": clean(failure.type),
        "message": message,
        "traceback": traceback,
        "log": clean(failed.log),
        "attempts": failed.attempts,
        "elapsed_us": failed.elapsed_us,
        "peak_kib": failed.peak_kib,
        "place": place_of(traceback),
        "pattern": pattern_of(message),
    }


def failure_of(row: AnyRow) -> CallFailure:
    """Read a row of `failure`."""
    return CallFailure(
        index=row[1],
        failure=Failure(
            kind=FailureKind(row.code),
            type=row.type,
            message=row.message,
            traceback=row.traceback,
        ),
        log=row.log,
        attempts=row.attempts,
        elapsed_us=row.elapsed_us,
        peak_kib=row.peak_kib,
    )


def place_of(traceback: str) -> str:
    """Return the innermost frame of a traceback, "line 3, in f"; empty if there is none."""
    frames = _FRAME.findall(traceback)
    return frames[-1] if frames else ""


def pattern_of(message: str) -> str:
    """Return a message's first 500 characters with the numbers replaced by `#`."""
    return _NUMBER.sub("#", message[:500])


def error_of(failed: CallFailure) -> dict[str, object]:
    """Return the error object of a job that a failed call ends, if its agent gave none."""
    failure = failed.failure
    return {
        "errorMessage": failure.message or failure.type,
        "errorCode": int(failure.kind),
        "errorType": failure.type,
        "traceback": failure.traceback,
        "index": failed.index,
    }
