"""What is asked of a job beyond the run itself."""

from __future__ import annotations

from dataclasses import dataclass

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
    """What is asked of a job beyond the run itself; on the wire, members and headers of the run.

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
