"""The tables. A change here needs a revision in `migrations/versions`; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from typing_extensions import override

# Constraints need names from the first revision on: only named ones can be altered later.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Key = BigInteger().with_variant(Integer(), "sqlite")
"""A generated number. SQLite generates one only for a column that is called INTEGER."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time; SQLite, which knows none, keeps it as text in UTC, so that it sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


account = Table(
    "account",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("disabled", Boolean(), nullable=False),
    Column("created", UtcDateTime(), nullable=False),
    CheckConstraint("role IN ('developer', 'admin')", name="role"),
)

session = Table(
    "session",
    metadata,
    Column("id", Key, primary_key=True),
    Column("account_id", Key, ForeignKey("account.id"), nullable=False, index=True),
    Column("started", UtcDateTime(), nullable=False),
    Column("ends", UtcDateTime(), nullable=False, index=True),
    Column("revoked", Boolean(), nullable=False),
)

token = Table(
    "token",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column(
        "session_id", Key, ForeignKey("session.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("expires", UtcDateTime(), nullable=False),
)

login_failure = Table(
    "login_failure",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("count", Integer(), nullable=False),
    Column("last", UtcDateTime(), nullable=False, index=True),
)

script = Table(
    "script",
    metadata,
    Column("id", Key, primary_key=True),
    # Not a reference: the owner of a global script, PYQSYS, is nobody's account.
    Column("owner", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("creator_id", Key, ForeignKey("account.id"), nullable=False),
    Column("current", Integer(), nullable=False),
    UniqueConstraint("owner", "name"),
    Index(None, "name"),
)

script_version = Table(
    "script_version",
    metadata,
    Column("script_id", Key, ForeignKey("script.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer(), primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("source", Text(), nullable=False),
    Column("entry", Text(), nullable=False),
    Column("description", Text(), nullable=True),
    Column("publisher_id", Key, ForeignKey("account.id"), nullable=False),
    Column("created", UtcDateTime(), nullable=False),
    CheckConstraint("version >= 1", name="version"),
)

script_grant = Table(
    "script_grant",
    metadata,
    Column("script_id", Key, ForeignKey("script.id", ondelete="CASCADE"), primary_key=True),
    # Not a reference: PUBLIC, which stands for everyone, is nobody's account.
    Column("grantee", String(128), primary_key=True),
    Column("created", UtcDateTime(), nullable=False),
    Index(None, "grantee"),
)
