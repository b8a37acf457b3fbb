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


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """An authenticated account. `name` is in upper case, as owners are on the compatible wire."""

    user_id: int
    name: str
    role: Role

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN


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
