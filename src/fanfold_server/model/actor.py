"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

GLOBAL_OWNER = "PYQSYS"
"""The owner under which global scripts are listed, as on the compatible wire."""

EVERYONE = "PUBLIC"
"""The grantee under which a right for everyone is listed; no account may have this name."""


class Role(StrEnum):
    """What an account may do.

    `developer` publishes and runs scripts; `admin` also manages accounts and global scripts.
    """

    DEVELOPER = "developer"
    ADMIN = "admin"


class Scope(StrEnum):
    """What an access token is good for; reading is part of each.

    `run` runs functions and sees to their jobs; `publish` stores and grants scripts and tables;
    `admin` does what only administrators may; `metrics` is for an administrator's monitoring.
    """

    RUN = "run"
    PUBLISH = "publish"
    ADMIN = "admin"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """An authenticated account. `name` is in upper case, as owners are on the compatible wire.

    Attributes:
        scopes: of the access token that it came with; None: it may do all that the account may.
        script: owner and name of the only script that the token is good for; None: any.
        token: what the account calls the token.
    """

    user_id: int
    name: str
    role: Role
    scopes: frozenset[Scope] | None = None
    script: tuple[str, str] | None = None
    token: str | None = None

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN and (self.scopes is None or Scope.ADMIN in self.scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A token that an account has made for a program; see `Actor`. Times are aware, UTC."""

    name: str
    scopes: frozenset[Scope]
    script: tuple[str, str] | None
    created: datetime
    expires: datetime


OPERATOR = Actor(user_id=0, name="OPERATOR", role=Role.ADMIN)
"""Whoever may write the data directory; nobody's account, and the owner of nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account as its administrator sees it. `created` is aware, UTC."""

    name: str
    role: Role
    disabled: bool
    created: datetime


def account_name(text: str) -> str:
    """Give the form in which an account's name is stored and compared: upper case.

    Only ASCII is folded: some letters beyond it have an ASCII capital, so that another spelling
    could pass for an account's name.
    """
    return text.upper() if text.isascii() else text
