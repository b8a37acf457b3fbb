"""Databases of others, which an administrator has registered as sources of rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

EMBEDDED: Final = "EMBEDDED"
"""The name by which a request asks for the server's own tables, whatever the user's default is."""


class SourceKind(StrEnum):
    """By which driver a database is read."""

    POSTGRESQL = "postgresql"
    SQLITE = "sqlite"
    ORACLE = "oracle"
    SQLALCHEMY = "sqlalchemy"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """A registered database.

    Attributes:
        name: in upper case; matched without regard to case.
        url: where it is and as whom; never holds a password.
        password: where the password comes from: "stored" (here, encrypted), "env:NAME",
            "file:NAME", or None for none.
        max_connections: of this server to it, at once, ≥ 1.
        created: when it was registered, or last registered anew; aware, UTC.
    """

    name: str
    kind: SourceKind
    url: str
    password: str | None
    max_connections: int
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceAccess:
    """What it takes to read a source. Never leaves the server but to the process that reads."""

    source: DataSource
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceGrant:
    """Who may use a source; `grantee` None means everyone."""

    grantee: str | None
