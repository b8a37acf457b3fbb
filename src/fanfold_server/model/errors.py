"""The caller's mistakes and our own failures, each a class with a stable code.

A class's docstring is its default message; an instance names the offending thing. What a *user's
function* does wrong is not here: that is an Outcome (see `outcome.py`). HTTP statuses are not here
either: `http/errors.py` alone maps classes to statuses.

Codes: 1024 and 1026 are the compatible wire's own; 20xx the request, 21xx identity and rights,
3xxx the user's function (see `FailureKind`), 50xx the server.
"""

from __future__ import annotations

from typing import ClassVar


class FanfoldError(Exception):
    """Something went wrong."""

    code: ClassVar[int] = 5000

    def __init__(self, message: str | None = None, **details: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.details = details
        super().__init__(self.message)


# ------------------------------------------------------------------ the caller's mistake: request


class CallerError(FanfoldError):
    """The request cannot be carried out as it stands."""

    code = 2000


class InvalidBody(CallerError):
    """The request body is not a JSON object."""

    code = 2001


class InvalidField(CallerError):
    """A member of the request has a wrong value."""

    code = 2002


class InvalidParameters(CallerError):
    """The member "parameters" must be text that holds a JSON object."""

    code = 2003


class InvalidSource(CallerError):
    """The source text cannot be stored as a script."""

    code = 2004


class ScriptExists(CallerError):
    """A script of this name exists; send "overwrite": true to store a new version."""

    code = 2005


class BodyTooLarge(CallerError):
    """The request body is larger than this server accepts."""

    code = 2006


class EncodedBody(CallerError):
    """The request body is compressed; send it as it is, without Content-Encoding."""

    code = 2007


class InvalidArguments(CallerError):
    """The function does not take these arguments."""

    code = 2009


class UnknownScript(CallerError):
    """There is no script of this name that you may use."""

    code = 2010


class UnknownVersion(CallerError):
    """The script has no such version."""

    code = 2011


class UnknownEnvironment(CallerError):
    """There is no environment of this name."""

    code = 2012


class EnvironmentLacks(CallerError):
    """The environment lacks a package that the request needs."""

    code = 2013


class UnknownUser(CallerError):
    """There is no user of this name."""

    code = 2014


class UnknownGrant(CallerError):
    """There is no such grant."""

    code = 2015


class UnknownPath(CallerError):
    """There is nothing at this path."""

    code = 2016


class MethodNotAllowed(CallerError):
    """This path does not answer to this method."""

    code = 2017


class JobsUnavailable(CallerError):
    """This server does not run jobs: leave out "asyncFlag"."""

    code = 2018


class AnswerTooLarge(CallerError):
    """The answer is larger than this server sends at once."""

    code = 2020


class UserExists(CallerError):
    """A user of this name exists."""

    code = 2019


class UnknownJob(CallerError):
    """There is no job of this id that is yours."""

    code = 2021


class UnknownImage(CallerError):
    """The job has no such image."""

    code = 2022


class JobRunning(CallerError):
    """The job has not ended yet."""

    code = 2023


class JobNotRunning(CallerError):
    """The job has ended already."""

    code = 2024


class QuotaExceeded(CallerError):
    """You have as much waiting, running or stored as this server allows; details: retry_after_s."""

    code = 2025


class ResultNotReady(CallerError):
    """The job has no result yet: it has not ended."""

    code = 2026


class NotAcceptable(CallerError):
    """There is no such form of this: see the header "Accept" of the request."""

    code = 2027


class NoCommonType(NotAcceptable):
    """The values of a column have no one type, which this form needs: ask for another form."""

    code = 2036


class KeyReused(CallerError):
    """The Idempotency-Key belongs to another request of yours: take a new one."""

    code = 2028


class InvalidRequest(CallerError):
    """What came is no HTTP/1.1 request."""

    code = 2090


class RequestTooSlow(CallerError):
    """The request did not come in the time that this server waits for one."""

    code = 2091


class HeadTooLarge(CallerError):
    """The request line and the headers are larger than this server reads."""

    code = 2092


# ------------------------------------------------------------------ the caller's mistake: rows


class InvalidQuery(CallerError):
    """The query has to be one SELECT statement, or the name of a table."""

    code = 2040


class UnknownTable(CallerError):
    """There is no table of this name that you may read."""

    code = 2041


class UnknownColumn(CallerError):
    """The query gives no column of this name."""

    code = 2042


class UnknownSource(CallerError):
    """There is no database of this name."""

    code = 2043


class UnsupportedColumn(CallerError):
    """A column has a type that cannot be handed to a function."""

    code = 2044


class QueryTimedOut(CallerError):
    """The query took longer than this server allows."""

    code = 2045


class QueryTooLarge(CallerError):
    """The query needs more memory, or gives more rows, than this server allows."""

    code = 2046


class InvalidTable(CallerError):
    """The data cannot be read as a table."""

    code = 2047


class AskRefused(CallerError):
    """The function has asked for something that it may not have."""

    code = 2060


# ------------------------------------------------------------------ the caller's mistake: places


class EnvironmentNotFound(CallerError):
    """There is no environment of this name that was built here."""

    code = 2070


class InvalidEnvironment(CallerError):
    """What the environment is to be made from cannot be read."""

    code = 2071


class EnvironmentExists(CallerError):
    """An environment of this name exists; send "overwrite": true to make a new version."""

    code = 2072


class EnvironmentInUse(CallerError):
    """The environment is in use; wait for its runs to end, or cancel them."""

    code = 2073


class UnknownBuild(CallerError):
    """There is no build of this id."""

    code = 2074


class BuildFailed(CallerError):
    """The environment could not be made."""

    code = 2075


class PackageGone(CallerError):
    """A package of the environment cannot be had any more from where it came."""

    code = 2078


class PreloadRefused(CallerError):
    """The environment cannot be preloaded."""

    code = 2076


class NotPreloaded(CallerError):
    """You have not preloaded this environment."""

    code = 2077


class UnknownDatastore(CallerError):
    """There is no datastore, or no object in it, of this name that you may use."""

    code = 2061


class DatastoreExists(CallerError):
    """A datastore of this name exists: overwrite it, or append to it."""

    code = 2062


class NotGrantable(CallerError):
    """The datastore may not be granted: save it with grantable=True."""

    code = 2063


class TableExists(CallerError):
    """A table of this name exists: overwrite it, or take another name."""

    code = 2064


class NotTabular(CallerError):
    """The job's result is no table."""

    code = 2065


# ------------------------------------------------------------------ the caller's mistake: identity


class UnknownSecret(CallerError):
    """There is no secret of this name that you, or this script, may have."""

    code = 2080


class Unauthenticated(CallerError):
    """A valid token is needed: send the header "Authorization: Bearer <token>"."""

    code = 2101


class TokenExpired(Unauthenticated):
    """The token has expired: obtain a new one."""

    code = 2102


class WrongCredentials(Unauthenticated):
    """The user name or the password is wrong."""

    code = 2103


class TooManyAttempts(CallerError):
    """Too many failed logins: wait before you try again."""

    code = 2104


class Forbidden(CallerError):
    """You may not do this."""

    code = 2105


class UnknownToken(CallerError):
    """You have no access token of this name."""

    code = 2107


class TokenExists(CallerError):
    """You have an access token of this name already."""

    code = 2108


class NoAccounts(CallerError):
    """This server has no account yet: add one with "fanfold user add"."""

    code = 2106


# ------------------------------------------------------------------ ours


class ServerError(FanfoldError):
    """The server failed; the request may be sent again."""

    code = 5000


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
