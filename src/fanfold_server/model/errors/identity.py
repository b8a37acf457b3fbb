"""The caller's mistake: who asks, and what he may."""

from __future__ import annotations

from fanfold_server.model.errors.family import CallerError


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
