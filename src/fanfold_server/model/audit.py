"""What is remembered of who did what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fanfold_server.model.actor import account_name

OPERATOR = "(operator)"
"""The actor of what is done by the operator's commands; no account can have this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Something that was done, or refused. It holds no body and no secret.

    Attributes:
        at: when, aware, UTC.
        actor: the account, in upper case; None: nobody who is known.
        token: the access token's name, if the account came with one.
        address: where the request came from; None: from a command on the server itself.
        action: such as `run`, `script.publish`, `login`.
        target: what it was done to: a name, or a name and its owner's.
        status: the HTTP status of the answer; 0: none was begun.
        request: the id of the request.
    """

    at: datetime
    actor: str | None
    token: str | None
    address: str | None
    action: str
    target: str
    status: int
    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries; a member that is None admits any.

    Attributes:
        since: at or after this.
        before: before this.
    """

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    before: datetime | None = None


def actor_name(text: str) -> str:
    """Give the form in which an entry names an actor: an account's, or the operator's.

    >>> actor_name("alice"), actor_name("(Operator)")
    ('ALICE', '(operator)')
    """
    return OPERATOR if text.lower() == OPERATOR else account_name(text)
