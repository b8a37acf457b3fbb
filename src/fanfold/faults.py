"""What can go wrong on the caller's side, and the family that the server's errors belong to.

The classes of the server's codes are in `errors.py`, which is written from the server's own list.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import ClassVar

BY_CODE: dict[int, type[FanfoldError]] = {}
"""Which class an `errorCode` has: those of `errors.py`, by themselves."""


_ADVICE = {
    "ModuleNotFoundError": (
        "Functions import what their environment has: client.environments.list() names those there "
        "are, client.using(environment=…) chooses one."
    ),
    "FileNotFoundError": (
        "Functions run on the server, and see no file of yours: a file's rows come as the data of "
        "table_apply, data=Path(…), or as a table, client.tables.load; objects through client.ds."
    ),
    "OutputTooLong": (
        "What a call returns may have so many items, rows or characters: return a summary, call "
        "the function more often, or have the operator raise the setting max_output_len."
    ),
}
"""What to do about errors of functions that stay a riddle to who has written them; by type."""


class FanfoldError(Exception):
    """Something went wrong.

    Attributes:
        message: one sentence for a person.
        code: the server's stable number; 0 for what went wrong on this side.
        status: the HTTP status that the server answered; 0 without one.
        details: whatever the server knows more, by its own names ("field", "index", …).
    """

    code: ClassVar[int] = 0

    def __init_subclass__(cls, *, code: int | None = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.code = code
            BY_CODE[code] = cls

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int = 0,
        details: Mapping[str, object] | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.status = status
        self.details = dict(details or {})
        super().__init__(self.message)
        if self.traceback and sys.version_info >= (3, 11):
            # Whoever sees nothing but what Python prints has to see the line of the function, too.
            self.add_note(f"\n{self.where}:\n{self.traceback.rstrip()}")
        advice = _ADVICE.get(str(self.details.get("errorType")))
        if advice is not None and sys.version_info >= (3, 11):
            self.add_note(f"\n{advice}")

    @property
    def where(self) -> str:
        """Say which call of the function it was."""
        index = self.details.get("index")
        return "In the function" if index is None else f"In the function, at call {index}"

    @property
    def traceback(self) -> str:
        """The frames of the function's own source, as Python prints them; empty if none."""
        text = self.details.get("traceback")
        return text if isinstance(text, str) else ""


class Refused(FanfoldError):
    """The server refuses, and this version of the client does not know its code."""


class Unreachable(FanfoldError):
    """The server cannot be reached."""


class NotUnderstood(FanfoldError):
    """The server answered something that is not an answer of fanfold."""


class NotLoggedIn(FanfoldError):
    """No server, or no way to log in, is known: run "fanfold login URL"."""


class NotPortable(FanfoldError):
    """The function cannot run anywhere else as it stands."""


class NotSendable(FanfoldError, TypeError):
    """An argument has no JSON form."""


class BuildFailed(FanfoldError):
    """The environment could not be built."""


class JobCancelled(FanfoldError):
    """The job was cancelled."""


class Detached(FanfoldError):
    """You have left a job that goes on."""


class WaitedTooLong(FanfoldError, TimeoutError):
    """The job has not ended in the time that it was waited for; it goes on."""
