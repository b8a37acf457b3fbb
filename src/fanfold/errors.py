"""The errors of the server, a class for each code. Written by `make reference`."""

from __future__ import annotations

from fanfold.faults import FanfoldError


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


class UserExists(CallerError):
    """A user of this name exists."""

    code = 2019


class AnswerTooLarge(CallerError):
    """The answer is larger than this server sends at once."""

    code = 2020


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


class KeyReused(CallerError):
    """The Idempotency-Key belongs to another request of yours: take a new one."""

    code = 2028


class NoCommonType(NotAcceptable):
    """The values of a column have no one type, which this form needs: ask for another form."""

    code = 2036


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


class NoAccounts(CallerError):
    """This server has no account yet: add one with "fanfold user add"."""

    code = 2106


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


class Overloaded(ServerError):
    """The server has as many runs waiting as it accepts; try again later."""

    code = 5005


class DiskFull(ServerError):
    """The server has no room left to store this."""

    code = 5006


class DataUnavailable(ServerError):
    """The data process is not there at the moment; the request may be sent again."""

    code = 5007


class TooLate(ServerError):
    """What the job begins with took longer to store than it is kept without the job; try again."""

    code = 5008


class SourceUnavailable(ServerError):
    """The database cannot be reached, or does not let this server in."""

    code = 5010


class CallFailed(FanfoldError):
    """A call of the function has no value."""


class CallTooLong(CallFailed):
    """len() of the returned object is over the limit (the compatible wire's own number)."""

    code = 1024


class CallPrinted(CallFailed):
    """The function printed, and the server is set to refuse that as the compatible service does."""

    code = 1026


class CallRaised(CallFailed):
    """The function raised an exception."""

    code = 3001


class CallLoad(CallFailed):
    """The script's text could not be executed, so that there was no function to call."""

    code = 3002


class CallNotJson(CallFailed):
    """The returned object has no JSON form."""

    code = 3003


class CallTooLarge(CallFailed):
    """The encoded value is over the limit of bytes."""

    code = 3004


class CallLost(CallFailed):
    """The worker process ended before the call did, twice."""

    code = 3005


class CallOutOfMemory(CallFailed):
    """The call wanted more memory than it may have."""

    code = 3006


class CallTimedOut(CallFailed):
    """The call was stopped because its time was up."""

    code = 3007


class CallCancelled(CallFailed):
    """The call was stopped, or never begun, because its run was cancelled."""

    code = 3008


class CallNoFigures(CallFailed):
    """Figures were asked for and the environment has no matplotlib."""

    code = 3009


class CallNoGenerator(CallFailed):
    """The function wants `rng` and the environment has no numpy."""

    code = 3010


class CallNoEnvironment(CallFailed):
    """The job's environment is gone or cannot be started."""

    code = 3011


class CallNoArrow(CallFailed):
    """The function is given rows, and the environment lacks what reads them."""

    code = 3012


class CallUnreadableRows(CallFailed):
    """A column of the rows has a type that cannot be handed to a function."""

    code = 3013


class CallNoRows(CallFailed):
    """The job's rows are gone."""

    code = 3014


BY_CODE: dict[int, type[FanfoldError]] = {
    1024: CallTooLong,
    1026: CallPrinted,
    2000: CallerError,
    2001: InvalidBody,
    2002: InvalidField,
    2003: InvalidParameters,
    2004: InvalidSource,
    2005: ScriptExists,
    2006: BodyTooLarge,
    2007: EncodedBody,
    2009: InvalidArguments,
    2010: UnknownScript,
    2011: UnknownVersion,
    2012: UnknownEnvironment,
    2013: EnvironmentLacks,
    2014: UnknownUser,
    2015: UnknownGrant,
    2016: UnknownPath,
    2017: MethodNotAllowed,
    2018: JobsUnavailable,
    2019: UserExists,
    2020: AnswerTooLarge,
    2021: UnknownJob,
    2022: UnknownImage,
    2023: JobRunning,
    2024: JobNotRunning,
    2025: QuotaExceeded,
    2026: ResultNotReady,
    2027: NotAcceptable,
    2028: KeyReused,
    2036: NoCommonType,
    2040: InvalidQuery,
    2041: UnknownTable,
    2042: UnknownColumn,
    2043: UnknownSource,
    2044: UnsupportedColumn,
    2045: QueryTimedOut,
    2046: QueryTooLarge,
    2047: InvalidTable,
    2060: AskRefused,
    2101: Unauthenticated,
    2102: TokenExpired,
    2103: WrongCredentials,
    2104: TooManyAttempts,
    2105: Forbidden,
    2106: NoAccounts,
    3001: CallRaised,
    3002: CallLoad,
    3003: CallNotJson,
    3004: CallTooLarge,
    3005: CallLost,
    3006: CallOutOfMemory,
    3007: CallTimedOut,
    3008: CallCancelled,
    3009: CallNoFigures,
    3010: CallNoGenerator,
    3011: CallNoEnvironment,
    3012: CallNoArrow,
    3013: CallUnreadableRows,
    3014: CallNoRows,
    5000: ServerError,
    5001: Unexpected,
    5002: EngineUnavailable,
    5003: RunTimedOut,
    5004: ShuttingDown,
    5005: Overloaded,
    5006: DiskFull,
    5007: DataUnavailable,
    5008: TooLate,
    5010: SourceUnavailable,
}
"""Which class an `errorCode` has."""
