"""Futures of calls on the server, and what their exceptions are raised as."""

from __future__ import annotations

import builtins
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from fanfold import errors

if TYPE_CHECKING:
    from fanfold.jobs import CallResult

T = TypeVar("T")


class RemoteTraceback(Exception):
    """The frames of the function's own source on the server; the cause of what is re-raised."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteFuture(Future[T]):
    """The future of a call on the server.

    Attributes:
        job_id: of the job that the call is part of, once it has been sent.
        index: of the call in its job, from 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.job_id: str | None = None
        self.index = 0
        self._runs = False
        self._forgotten: Callable[[], None] | None = None
        self._cancelling = threading.Lock()

    def running(self) -> bool:
        """Tell whether the server has begun with the job that the call is part of."""
        return self._runs and not self.done()

    def cancel(self) -> bool:
        """Cancel the call, also one that runs; False if it has its outcome already."""
        with self._cancelling:
            if self.cancelled():
                return True
            if not super().cancel():
                return False
            self.set_running_or_notify_cancel()  # tells those who wait
        if self._forgotten is not None:
            self._forgotten()
        return True

    def belong(self, job_id: str, index: int, forgotten: Callable[[], None]) -> None:
        """Tell of which job the call is a part, and whom to tell when it is cancelled."""
        self.job_id, self.index, self._forgotten = job_id, index, forgotten

    def began(self) -> None:
        """Tell that the server has begun with the job."""
        self._runs = True

    def settle(self, result: CallResult) -> bool:
        """Take the outcome of the call, unless somebody has cancelled it; say whether it did."""
        with self._cancelling:
            if self.done() or not self.set_running_or_notify_cancel():
                return False
        if result.error is None:
            self.set_result(result.value)
        else:
            self.set_exception(exception_of(result.error))
        return True

    def fail(self, exc: BaseException) -> None:
        """End the call, if it has no outcome, with an error that is none of its own."""
        with self._cancelling:
            if self.done() or not self.set_running_or_notify_cancel():
                return
        self.set_exception(exc)


def failure_of_job(error: Mapping[str, Any], otherwise: str) -> errors.CallFailed:
    """Make the exception of a job that ended early, from its error object."""
    message = str(error.get("errorMessage") or otherwise)
    return errors.CallFailed(message, details=dict(error))


def exception_of(error: errors.CallFailed) -> BaseException:
    """Make the exception that a call has raised, with the remote traceback as its cause.

    One of Python's own is raised as such; any other as the `CallFailed` that it is here.
    """
    raised: BaseException = error
    name = str(error.details.get("type") or error.details.get("errorType") or "")
    found = getattr(builtins, name, None) if isinstance(error, errors.CallRaised) else None
    if isinstance(found, type) and issubclass(found, Exception):
        message = error.message.removeprefix(f"{name}: ") if error.message != name else ""
        try:
            raised = found(_key(message)) if found is KeyError else found(*filter(None, [message]))
        except TypeError:  # such as UnicodeDecodeError, which wants to be made of five things
            raised = error
    if error.traceback and not hasattr(raised, "__notes__"):  # where it stands already
        raised.__cause__ = RemoteTraceback(error.traceback)
    return raised


def _key(message: str) -> object:
    """Read the key that a KeyError names."""
    try:
        return json.loads(message.replace("'", '"'))
    except ValueError:
        return message
