"""The caller's mistake: the request, what it asks to run, and the jobs it is about."""

from __future__ import annotations

from fanfold_server.model.errors.family import CallerError


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


class UnknownCoding(CallerError):
    """The body has a transfer coding that this server does not know: send a length, or chunks."""

    code = 2093
