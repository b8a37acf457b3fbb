"""The server's own failures."""

from __future__ import annotations

from fanfold_server.model.errors.family import ServerError


class Unexpected(ServerError):
    """The server met an error that it did not expect; its log has the details."""

    code = 5001


class EngineUnavailable(ServerError):
    """The environment's interpreter could not be started."""

    code = 5002


class RunTimedOut(ServerError):
    """The run took longer than a synchronous call may."""

    code = 5003


class ShuttingDown(ServerError):
    """The server is shutting down."""

    code = 5004


class SecretUnreadable(ServerError):
    """A secret cannot be opened: its key is not there."""

    code = 5020


class IdentityUnavailable(ServerError):
    """The identity provider does not answer, so that its tokens cannot be checked."""

    code = 5030


class Overloaded(ServerError):
    """The server has as many runs waiting as it accepts; try again later."""

    code = 5005


class DiskFull(ServerError):
    """The server has no room left to store this."""

    code = 5006


class TooLate(ServerError):
    """What the job begins with took longer to store than it is kept without the job; try again."""

    code = 5008


class DataUnavailable(ServerError):
    """The data process is not there at the moment; the request may be sent again."""

    code = 5007


class SourceUnavailable(ServerError):
    """The database cannot be reached, or does not let this server in."""

    code = 5010
