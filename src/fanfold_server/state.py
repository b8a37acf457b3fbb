"""Open what a server remembers: its directory, its database, its accounts.

All that the operator's commands for accounts and the database need; apart from `compose`, so that
they do not load the web framework and the engine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fanfold_server.model.actor import account_name
from fanfold_server.model.audit import OPERATOR, AuditEntry
from fanfold_server.service.access import Access
from fanfold_server.service.data_sources import DataSources
from fanfold_server.service.library import Library
from fanfold_server.service.passwords import Passwords
from fanfold_server.service.secrets import Secrets
from fanfold_server.service.tokens import AccessTokens, Verifier
from fanfold_server.settings import MIB, Settings, SettingsError
from fanfold_server.store.migrating import migrate
from fanfold_server.store.sealing import FileSealer
from fanfold_server.store.sql import URL, Store, StoreUnusable, open_store, postgres_url, sqlite_url
from fanfold_server.store.vault import Vault

if TYPE_CHECKING:
    from fanfold_server.rows.readers import Prober

__all__ = [
    "StoreUnusable",
    "make_access",
    "make_library",
    "make_private",
    "make_secrets",
    "make_sources",
    "make_tokens",
    "migrate_store",
    "note_command",
    "open_access",
    "open_existing_state",
    "open_probe",
    "open_state",
]


@asynccontextmanager
async def open_access(settings: Settings) -> AsyncIterator[Access]:
    """Open as much as the operator's account commands need; a server may run beside it."""
    async with open_state(settings) as store:
        yield make_access(store, settings)


def migrate_store(settings: Settings) -> None:
    """Make the database, or bring it up to date.

    Raises:
        StoreUnusable: the database cannot be used.
    """
    make_private(settings.data)
    migrate(_database(settings))


@asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[Store]:
    """Open the database.

    Raises:
        SettingsError: the data directory cannot be used.
        StoreUnusable: the database cannot be used.
    """
    make_private(settings.data)
    free_bytes = settings.min_free_mib * MIB
    async with open_store(_database(settings), min_free_bytes=free_bytes) as store:
        yield store


@asynccontextmanager
async def open_existing_state(settings: Settings) -> AsyncIterator[Store]:
    """Open the database for a command that only makes sense where there is one.

    Raises:
        SettingsError: there is none, or the data directory cannot be used.
        StoreUnusable: the database cannot be used.
    """
    if settings.database is None and not settings.database_file.exists():
        raise SettingsError(
            f"data: there is no {settings.database_file}. --data, or FANFOLD_DATA, names the "
            'directory of the server\'s state; a new one begins with "fanfold user add NAME".'
        )
    async with open_state(settings) as store:
        yield store


def _database(settings: Settings) -> URL:
    if settings.database is None:
        return sqlite_url(settings.database_file)
    return postgres_url(settings.database)


def make_access(store: Store, settings: Settings, *, verifiers: Sequence[Verifier] = ()) -> Access:
    """Put the accounts together.

    Args:
        store: the open database.
        settings: the server's.
        verifiers: know tokens of further kinds.
    """
    return Access(
        store.accounts,
        store.sessions,
        Passwords(concurrency=settings.login_concurrency),
        make_tokens(store, settings),
        verifiers=verifiers,
        token_lifetime_s=settings.token_lifetime_s,
        session_lifetime_s=settings.session_lifetime_s,
    )


def make_tokens(store: Store, settings: Settings) -> AccessTokens:
    """Put the access tokens together."""
    return AccessTokens(store.tokens, max_days=settings.max_token_days)


def make_library(store: Store, settings: Settings) -> Library:
    """Put the library of scripts together."""
    return Library(store.scripts, store.accounts, max_source_bytes=settings.script_max_kib * 1024)


def make_secrets(store: Store, settings: Settings) -> Secrets:
    """Put the secrets of functions together."""
    return Secrets(store.secrets, _sealer(settings), make_library(store, settings))


def _sealer(settings: Settings) -> FileSealer:
    """Give what seals everything that is secret: one key, and each thing bound to its context."""
    return FileSealer(settings.secret_key or settings.data / "secrets.key")


async def note_command(store: Store, action: str, target: str) -> None:
    """Note in the audit log what a command of the operator's has done.

    Args:
        store: the open database.
        action: such as `user.add`.
        target: an account, or what else it was done to.
    """
    entry = AuditEntry(
        at=datetime.now(UTC),
        actor=OPERATOR,
        token=None,
        address=None,
        action=action,
        target=account_name(target),
        status=0,
        request="",
    )
    await store.audit.append([entry])


def make_sources(store: Store, settings: Settings) -> DataSources:
    """Put the registered databases together."""
    vault = Vault(_sealer(settings), files=settings.secrets_dir or settings.data / "secrets")
    return DataSources(store.sources(vault), store.accounts, closed=settings.data)


@asynccontextmanager
async def open_probe() -> AsyncIterator[Prober]:
    """Open what tries whether a database lets us in."""
    from fanfold_server.rows.readers import Prober, Readers

    with tempfile.TemporaryDirectory(prefix="fanfold-probe-") as folder:
        readers = Readers(Path(folder))
        try:
            yield Prober(readers)
        finally:
            await readers.close()


def make_private(directory: Path) -> None:
    """Make the data directory, for our own account alone.

    One that is there and holds something else than our state keeps its mode: it may be shared on
    purpose, and the database inside is private by itself.

    Raises:
        SettingsError: it cannot be made or written, or others may put files into it.
    """
    if directory.exists() and not directory.is_dir():
        raise SettingsError(f"data: {directory} is a file; it has to be a directory")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
        ours = (directory / "fanfold.db").exists() or not any(directory.iterdir())
        if status.st_mode & 0o077 and status.st_uid == os.geteuid() and ours:
            directory.chmod(0o700)
        elif status.st_mode & 0o022:
            raise SettingsError(
                f"data: others may write into {directory}; choose a directory of its own"
            )
    except OSError as exc:
        raise SettingsError(f"data: cannot use {directory}: {exc.strerror}") from exc
    if not os.access(directory, os.W_OK | os.X_OK):
        raise SettingsError(f"data: {directory} cannot be written")
