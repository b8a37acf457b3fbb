"""What is said of calls that the worker alone cannot speak for: it died, or knows no names."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from fanfold_server.engine.hits import refused
from fanfold_server.engine.worker import Worker
from fanfold_server.model.outcome import Failed, Failure, FailureKind

_TAIL_BYTES = 4_000
_SHOWN_CHARACTERS = 500


def lost(index: int, worker: Worker) -> Failed:
    """Return the outcome of a call that was in hand when its worker died, for the second time."""
    if worker.taken_kib:
        return _failed(index, _memory(worker.taken_kib, worker, index), worker)
    if worker.hit is not None:
        return _failed(index, f"{worker.hit.taken} at {_where(index)}", worker)
    message = f"the worker process {ending(worker)} while it ran {_where(index)}, twice"
    return _failed(index, message, worker)


def never_begun(index: int, worker: Worker, deaths: int) -> Failed:
    """Return the outcome of a call that is not tried: `deaths` workers in a row died before it."""
    how = ending(worker)
    return _failed(index, f"{_where(index)} was not begun: {deaths} workers in a row {how}", worker)


def timed_out(index: int, worker: Worker, limit_s: float) -> Failed:
    """Return the outcome of a call that was killed after `limit_s`, the limit of one call."""
    message = f"{_where(index)} was stopped after {limit_s:g} s, the limit of one call"
    tail = worker.output_tail(_TAIL_BYTES).strip()
    failure = Failure(kind=FailureKind.TIMED_OUT, type="CallTimedOut", message=message)
    return Failed(index=index, failure=failure, log=tail, elapsed_us=int(limit_s * 1e6))


def named(failed: Failed, worker: Worker, environment: str) -> Failed:
    """Put in what a worker does not know: its environment's name, its limits.

    Another failure is returned as it is.
    """
    failure = failed.failure
    if failure.kind is FailureKind.OUT_OF_MEMORY:
        message = _memory(failed.peak_kib, worker, failed.index)
        if failure.message:
            message += f"; {failure.message}"
        return replace(failed, failure=replace(failure, message=message))
    if failure.kind is FailureKind.RAISED and worker.has_lost_processes():
        assert worker.group is not None, "who has lost some has a group"
        message = _memory(worker.group.peak_kib(), worker, failed.index)
        message += f"; {failure.type}: {failure.message}"
        return replace(
            failed, failure=replace(failure, kind=FailureKind.OUT_OF_MEMORY, message=message)
        )
    refusal = refused(failure.kind, worker.pool.zygote.limits)
    if refusal is not None:
        message = f"{refusal} at {_where(failed.index)}; {failure.message}"
        return replace(failed, failure=replace(failure, message=message))
    if failure.kind not in {
        FailureKind.NO_FIGURES,
        FailureKind.NO_GENERATOR,
        FailureKind.NO_ARROW,
    }:
        return failed
    message = failure.message.replace("this environment", f'the environment "{environment}"', 1)
    return replace(failed, failure=replace(failure, message=message))


def _memory(taken_kib: int, worker: Worker, index: int) -> str:
    limit_mib = worker.pool.zygote.limits.memory_mib
    return f"out of memory: peak {taken_kib >> 10} MiB of {limit_mib} MiB at {_where(index)}"


def ending(worker: Worker) -> str:
    """Say how a worker's process ended."""
    status = worker.exit_status
    if worker.fate:
        return worker.fate
    if worker.hit is not None:
        return f"was killed ({worker.hit.taken})"
    if worker.taken_kib:
        return f"took {worker.taken_kib >> 10} MiB of {worker.pool.zygote.limits.memory_mib} MiB"
    if status is None:
        return "ended"
    if os.WIFSIGNALED(status):
        return f"was killed by signal {_signal_name(os.WTERMSIG(status))}"
    return f"ended with exit status {os.waitstatus_to_exitcode(status)}"


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal
        return str(number)


def _where(index: int) -> str:
    return f"index {index}" if index else "the call"


def _failed(index: int, message: str, worker: Worker) -> Failed:
    tail = worker.output_tail(_TAIL_BYTES).strip()
    if tail:
        message += f"; its last words: {tail[-_SHOWN_CHARACTERS:]}"
    if worker.hit is not None:
        failure = Failure(kind=worker.hit.kind, type=worker.hit.type, message=message)
    elif worker.taken_kib:
        failure = Failure(kind=FailureKind.OUT_OF_MEMORY, type="MemoryError", message=message)
    else:
        failure = Failure(kind=FailureKind.LOST, type="WorkerLost", message=message)
    return Failed(index=index, failure=failure, log=tail)
