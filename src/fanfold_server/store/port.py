"""What must be remembered, stated as the use cases need it.

Services import this module and nothing else of the store. An implementer guarantees, for every
method: it is one transaction, whole or not at all, and visible to every other process when it
returns; names are compared exactly (the services give them in their stored form); times are aware
and come back in UTC. The contract suite in `tests/contract` holds each implementation to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fanfold_server.model.actor import Account, Actor, Role
from fanfold_server.model.script import Grant, Script, ScriptType
from fanfold_server.store.audit_port import AuditStore
from fanfold_server.store.blobs_port import (
    BlobKind,
    BlobMissing,
    Blobs,
    blob_key,
    image_key,
    job_prefix,
)
from fanfold_server.store.callbacks_port import CallbackStore
from fanfold_server.store.datastores_port import (
    OBJECT_PIECE_BYTES,
    DatastoreStore,
    object_prefix,
)
from fanfold_server.store.environments_port import EnvironmentUses
from fanfold_server.store.jobs_port import (
    INLINE_BYTES,
    BatchResult,
    CallFailure,
    Claimed,
    Content,
    JobStore,
    Planned,
    Quota,
    Renewal,
)
from fanfold_server.store.ledger_port import (
    BatchRecord,
    BatchState,
    FailureGroup,
    JobFilter,
    Ledger,
    Queue,
    Usage,
)
from fanfold_server.store.network_port import NetworkGrant, NetworkStore
from fanfold_server.store.notes_port import JobNotes
from fanfold_server.store.secrets_port import Sealer, SecretStore
from fanfold_server.store.settling_port import Cut, Ending, Settling
from fanfold_server.store.signals_port import Signal, Signals
from fanfold_server.store.sources_port import SourceStore
from fanfold_server.store.tables_port import TableStore
from fanfold_server.store.tokens_port import AccessTokenStore, FoundToken
from fanfold_server.store.upkeep_port import Upkeep

__all__ = [
    "INLINE_BYTES",
    "OBJECT_PIECE_BYTES",
    "AccessTokenStore",
    "AccountStore",
    "AuditStore",
    "BatchRecord",
    "BatchResult",
    "BatchState",
    "BlobKind",
    "BlobMissing",
    "Blobs",
    "CallFailure",
    "CallbackStore",
    "Claimed",
    "Content",
    "Creator",
    "Credentials",
    "Cut",
    "DatastoreStore",
    "Draft",
    "Ending",
    "EnvironmentUses",
    "FailureGroup",
    "Failures",
    "Found",
    "FoundToken",
    "JobFilter",
    "JobNotes",
    "JobStore",
    "Ledger",
    "NetworkGrant",
    "NetworkStore",
    "Planned",
    "Queue",
    "Quota",
    "Renewal",
    "ScriptStore",
    "Sealer",
    "SecretStore",
    "SessionStore",
    "Settling",
    "Signal",
    "Signals",
    "SourceStore",
    "TableStore",
    "TokenRecord",
    "Upkeep",
    "Usage",
    "blob_key",
    "image_key",
    "job_prefix",
    "object_prefix",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a login is checked against."""

    actor: Actor
    disabled: bool
    password_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRecord:
    """A token that was issued.

    Attributes:
        session: the login that it descends from.
        expires: when this token ends.
        session_expires: when no token of that login is renewed any more.
        revoked: the login was ended, or its account is disabled.
    """

    actor: Actor
    session: int
    expires: datetime
    session_expires: datetime
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """How often a login failed under one key since the last success or quiet spell."""

    count: int
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A version that is about to be published; the store gives it its number."""

    name: str
    owner: str
    source: str
    digest: str
    entry: str
    description: str | None
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A script that a reader may use.

    Attributes:
        owner: under whom it is stored.
        newest: the highest version number; the versions are 1 … `newest`.
        script: the version that was asked for, or None if there is no such version.
    """

    owner: str
    newest: int
    script: Script | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Creator:
    """The account that first published a script."""

    user_id: int
    name: str


class AccountStore(Protocol):
    """Who may come in."""

    async def has_accounts(self) -> bool:
        """Tell whether there is any account, disabled or not."""
        ...

    async def add(self, name: str, password_hash: str, role: Role, created: datetime) -> None:
        """Add an account.

        Raises:
            UserExists: the name is taken; also when another process takes it at the same moment.
        """
        ...

    async def credentials(self, name: str) -> Credentials | None:
        """Give what a login as `name` is checked against; None if there is no such account."""
        ...

    async def accounts(self) -> list[Account]:
        """List all accounts by name."""
        ...

    async def replace_password(self, name: str, password_hash: str) -> bool:
        """Store a new password; False: no such account.

        Every session of the account and every access token ends.
        """
        ...

    async def set_disabled(self, name: str, *, disabled: bool) -> bool:
        """Disable (and end every session and access token of) or enable an account.

        Returns:
            False: there is no such account.
        """
        ...


class SessionStore(Protocol):
    """Logins and their tokens, and logins that failed. Only hashes of tokens are ever given."""

    async def open_session(
        self, login: Credentials, digest: bytes, *, started: datetime, ends: datetime,
        token_expires: datetime,
    ) -> bool:  # fmt: skip
        """Begin a session with its first token.

        Returns:
            False, and nothing is stored, if the account was disabled or given another password
            since `login` was read.
        """
        ...

    async def add_token(self, session: int, digest: bytes, expires: datetime) -> bool:
        """Add a token to a session; False, and nothing is stored, if the session has ended."""
        ...

    async def token(self, digest: bytes) -> TokenRecord | None:
        """Give a token's record, also when it has expired or is revoked."""
        ...

    async def end_session(self, digest: bytes) -> None:
        """Revoke every token of the session to which this token belongs; unknown: nothing."""
        ...

    async def forget_before(self, moment: datetime) -> None:
        """Delete the sessions that ended, and the failures last seen, before `moment`."""
        ...

    async def failures(self, keys: Iterable[str]) -> dict[str, Failures]:
        """Give the failed logins under each of `keys`; a key without any is left out."""
        ...

    async def count_failure(self, keys: Iterable[str], at: datetime, *, quiet: datetime) -> None:
        """Count one failure under each key, from zero where the last was not after `quiet`."""
        ...

    async def clear_failures(self, key: str) -> None:
        """Forget the failures under `key`."""
        ...


class ScriptStore(Protocol):
    """Scripts, their versions, and who may use them.

    A reader sees a script when it owns it, when the owner is PYQSYS, or when it was granted to
    the reader or to everyone. Versions never change and are never renumbered.
    """

    async def creator(self, name: str, owner: str) -> Creator | None:
        """Tell who first published the script; None if there is none."""
        ...

    async def publish(
        self, draft: Draft, *, by: int, replaces: int | None
    ) -> tuple[Script, bool] | None:
        """Store the draft as the newest and current version.

        When the current version has the same digest and description (a draft without one agrees
        with any), nothing is stored and the current version is given.

        Args:
            draft: the version.
            by: the account that publishes; the creator of a script that is new.
            replaces: the creator of the script that is there, or None when there is none.

        Returns:
            The current version, and whether the script is new; None, and nothing is stored, if
            what is there is not as `replaces` says.
        """
        ...

    async def find(
        self, name: str, *, reader: str, owner: str | None = None, version: int | None = None
    ) -> Found | None:
        """Find a script that `reader` sees.

        Args:
            name: the script's name.
            reader: an account's name.
            owner: whose, or who published it, if it is global and the reader sees none of the
                owner's; None: the reader's own, else the global one.
            version: which; None: the current one.
        """
        ...

    async def versions(self, name: str, owner: str) -> list[Script]:
        """List all versions, newest first; empty if there is no such script."""
        ...

    async def make_current(
        self, name: str, owner: str, version: int, *, creator: int
    ) -> Script | None:
        """Make a version the current one; None if that creator has no such script or version."""
        ...

    async def drop(self, name: str, owner: str, *, creator: int) -> bool:
        """Delete a script, its versions and grants; False if that creator has no such script."""
        ...

    async def grant(self, name: str, owner: str, grantee: str, at: datetime) -> bool:
        """Let `grantee` (or EVERYONE) use the script, also when it does already; False: unknown."""
        ...

    async def revoke(self, name: str, owner: str, grantee: str) -> bool:
        """Take back exactly this grant; False if there is none."""
        ...

    async def grants(self, name: str, owner: str) -> list[Grant]:
        """List a script's grants by grantee, the one to everyone last."""
        ...

    async def listing(self, reader: str, which: ScriptType) -> list[tuple[Script, str | None]]:
        """List current versions by name and owner.

        Returns:
            Each with None, but for `ScriptType.GRANT`: there, once for each grant, with the
            grantee (EVERYONE for a grant to all).
        """
        ...
