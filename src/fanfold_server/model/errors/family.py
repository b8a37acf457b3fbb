"""What all errors have in common, and the families that there are."""

from __future__ import annotations

from typing import ClassVar


class FanfoldError(Exception):
    """Something went wrong."""

    code: ClassVar[int] = 5000

    def __init__(self, message: str | None = None, **details: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.details = details
        super().__init__(self.message)


class CallerError(FanfoldError):
    """The request cannot be carried out as it stands."""

    code = 2000


class ServerError(FanfoldError):
    """The server failed; the request may be sent again."""

    code = 5000
