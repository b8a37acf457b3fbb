"""The errors of the server, a class for each code. Written by `make reference`."""

from __future__ import annotations

from fanfold.faults import FanfoldError


class CallerError(FanfoldError, code=2000):
    """The request cannot be carried out as it stands."""


class InvalidBody(CallerError, code=2001):
    """The request body is not a JSON object."""


class InvalidField(CallerError, code=2002):
    """A member of the request has a wrong value."""


class InvalidParameters(CallerError, code=2003):
    """The member "parameters" must be text that holds a JSON object."""


class InvalidSource(CallerError, code=2004):
    """The source text cannot be stored as a script."""


class ScriptExists(CallerError, code=2005):
    """A script of this name exists; send "overwrite": true to store a new version."""


class BodyTooLarge(CallerError, code=2006):
    """The request body is larger than this server accepts."""


class EncodedBody(CallerError, code=2007):
    """The request body is compressed; send it as it is, without Content-Encoding."""


class InvalidArguments(CallerError, code=2009):
    """The function does not take these arguments."""


class UnknownScript(CallerError, code=2010):
    """There is no script of this name that you may use."""


class UnknownVersion(CallerError, code=2011):
    """The script has no such version."""


class UnknownEnvironment(CallerError, code=2012):
    """There is no environment of this name."""


class EnvironmentLacks(CallerError, code=2013):
    """The environment lacks a package that the request needs."""


class UnknownUser(CallerError, code=2014):
    """There is no user of this name."""


class UnknownGrant(CallerError, code=2015):
    """There is no such grant."""


class UnknownPath(CallerError, code=2016):
    """There is nothing at this path."""


class MethodNotAllowed(CallerError, code=2017):
    """This path does not answer to this method."""


class JobsUnavailable(CallerError, code=2018):
    """This server does not run jobs: leave out "asyncFlag"."""


class UserExists(CallerError, code=2019):
    """A user of this name exists."""


class AnswerTooLarge(CallerError, code=2020):
    """The answer is larger than this server sends at once."""


class UnknownJob(CallerError, code=2021):
    """There is no job of this id that is yours."""


class UnknownImage(CallerError, code=2022):
    """The job has no such image."""


class JobRunning(CallerError, code=2023):
    """The job has not ended yet."""


class JobNotRunning(CallerError, code=2024):
    """The job has ended already."""


class QuotaExceeded(CallerError, code=2025):
    """You have as much waiting, running or stored as this server allows; details: retry_after_s."""


class ResultNotReady(CallerError, code=2026):
    """The job has no result yet: it has not ended."""


class NotAcceptable(CallerError, code=2027):
    """There is no such form of this: see the header "Accept" of the request."""


class KeyReused(CallerError, code=2028):
    """The Idempotency-Key belongs to another request of yours: take a new one."""


class NoCommonType(NotAcceptable, code=2036):
    """The values of a column have no one type, which this form needs: ask for another form."""


class InvalidQuery(CallerError, code=2040):
    """The query has to be one SELECT statement, or the name of a table."""


class UnknownTable(CallerError, code=2041):
    """There is no table of this name that you may read."""


class UnknownColumn(CallerError, code=2042):
    """The query gives no column of this name."""


class UnknownSource(CallerError, code=2043):
    """There is no database of this name."""


class UnsupportedColumn(CallerError, code=2044):
    """A column has a type that cannot be handed to a function."""


class QueryTimedOut(CallerError, code=2045):
    """The query took longer than this server allows."""


class QueryTooLarge(CallerError, code=2046):
    """The query needs more memory, or gives more rows, than this server allows."""


class InvalidTable(CallerError, code=2047):
    """The data cannot be read as a table."""


class AskRefused(CallerError, code=2060):
    """The function has asked for something that it may not have."""


class UnknownDatastore(CallerError, code=2061):
    """There is no datastore, or no object in it, of this name that you may use."""


class DatastoreExists(CallerError, code=2062):
    """A datastore of this name exists: overwrite it, or append to it."""


class NotGrantable(CallerError, code=2063):
    """The datastore may not be granted: save it with grantable=True."""


class TableExists(CallerError, code=2064):
    """A table of this name exists: overwrite it, or take another name."""


class NotTabular(CallerError, code=2065):
    """The job's result is no table."""


class EnvironmentNotFound(CallerError, code=2070):
    """There is no environment of this name that was built here."""


class InvalidEnvironment(CallerError, code=2071):
    """What the environment is to be made from cannot be read."""


class EnvironmentExists(CallerError, code=2072):
    """An environment of this name exists; send "overwrite": true to make a new version."""


class EnvironmentInUse(CallerError, code=2073):
    """The environment is in use; wait for its runs to end, or cancel them."""


class UnknownBuild(CallerError, code=2074):
    """There is no build of this id."""


class BuildFailed(CallerError, code=2075):
    """The environment could not be made."""


class PreloadRefused(CallerError, code=2076):
    """The environment cannot be preloaded."""


class NotPreloaded(CallerError, code=2077):
    """You have not preloaded this environment."""


class PackageGone(CallerError, code=2078):
    """A package of the environment cannot be had any more from where it came."""


class UnknownSecret(CallerError, code=2080):
    """There is no secret of this name that you, or this script, may have."""


class InvalidRequest(CallerError, code=2090):
    """What came is no HTTP/1.1 request."""


class RequestTooSlow(CallerError, code=2091):
    """The request did not come in the time that this server waits for one."""


class HeadTooLarge(CallerError, code=2092):
    """The request line and the headers are larger than this server reads."""


class UnknownCoding(CallerError, code=2093):
    """The body has a transfer coding that this server does not know: send a length, or chunks."""


class Unauthenticated(CallerError, code=2101):
    """A valid token is needed: send the header "Authorization: Bearer <token>"."""


class TokenExpired(Unauthenticated, code=2102):
    """The token has expired: obtain a new one."""


class WrongCredentials(Unauthenticated, code=2103):
    """The user name or the password is wrong."""


class TooManyAttempts(CallerError, code=2104):
    """Too many failed logins: wait before you try again."""


class Forbidden(CallerError, code=2105):
    """You may not do this."""


class NoAccounts(CallerError, code=2106):
    """This server has no account yet: add one with "fanfold user add"."""


class UnknownToken(CallerError, code=2107):
    """You have no access token of this name."""


class TokenExists(CallerError, code=2108):
    """You have an access token of this name already."""


class ServerError(FanfoldError, code=5000):
    """The server failed; the request may be sent again."""


class Unexpected(ServerError, code=5001):
    """The server met an error that it did not expect; its log has the details."""


class EngineUnavailable(ServerError, code=5002):
    """The environment's interpreter could not be started."""


class RunTimedOut(ServerError, code=5003):
    """The run took longer than a synchronous call may."""


class ShuttingDown(ServerError, code=5004):
    """The server is shutting down."""


class Overloaded(ServerError, code=5005):
    """The server has as many runs waiting as it accepts; try again later."""


class DiskFull(ServerError, code=5006):
    """The server has no room left to store this."""


class DataUnavailable(ServerError, code=5007):
    """The data process is not there at the moment; the request may be sent again."""


class TooLate(ServerError, code=5008):
    """What the job begins with took longer to store than it is kept without the job; try again."""


class SourceUnavailable(ServerError, code=5010):
    """The database cannot be reached, or does not let this server in."""


class SecretUnreadable(ServerError, code=5020):
    """A secret cannot be opened: its key is not there."""


class IdentityUnavailable(ServerError, code=5030):
    """The identity provider does not answer, so that its tokens cannot be checked."""


class CallFailed(FanfoldError):
    """A call of the function has no value."""


class CallTooLong(CallFailed, code=1024):
    """len() of the returned object is over the limit (the compatible wire's own number)."""


class CallPrinted(CallFailed, code=1026):
    """The function printed, and the server is set to refuse that as the compatible service does."""


class CallRaised(CallFailed, code=3001):
    """The function raised an exception."""


class CallLoad(CallFailed, code=3002):
    """The script's text could not be executed, so that there was no function to call."""


class CallNotJson(CallFailed, code=3003):
    """The returned object has no JSON form."""


class CallTooLarge(CallFailed, code=3004):
    """The encoded value is over the limit of bytes."""


class CallLost(CallFailed, code=3005):
    """The worker process ended before the call did, twice."""


class CallOutOfMemory(CallFailed, code=3006):
    """The call wanted more memory than it may have."""


class CallTimedOut(CallFailed, code=3007):
    """The call was stopped because its time was up."""


class CallCancelled(CallFailed, code=3008):
    """The call was stopped, or never begun, because its run was cancelled."""


class CallNoFigures(CallFailed, code=3009):
    """Figures were asked for and the environment has no matplotlib."""


class CallNoGenerator(CallFailed, code=3010):
    """The function wants `rng` and the environment has no numpy."""


class CallNoEnvironment(CallFailed, code=3011):
    """The job's environment is gone or cannot be started."""


class CallNoArrow(CallFailed, code=3012):
    """The function is given rows, and the environment lacks what reads them."""


class CallUnreadableRows(CallFailed, code=3013):
    """A column of the rows has a type that cannot be handed to a function."""


class CallNoRows(CallFailed, code=3014):
    """The job's rows are gone."""


class CallOutOfCpuTime(CallFailed, code=3015):
    """The call took more processor time than it may."""


class CallOutOfProcesses(CallFailed, code=3016):
    """The call wanted more processes or threads than it may have."""


class CallOutOfFiles(CallFailed, code=3017):
    """The call wanted more open files than it may have."""


class CallOutOfSpace(CallFailed, code=3018):
    """The call wanted more room for temporary files than it may have."""


class CallFileTooLarge(CallFailed, code=3019):
    """The call wrote a file that is larger than it may be."""


class CallTooMuchOutput(CallFailed, code=3020):
    """The call printed more than it may."""
