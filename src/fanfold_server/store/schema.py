"""The tables. A change here needs a revision in `migrations/versions`; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

from fanfold_server.store.column_types import Unsigned64, UtcDateTime

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


def insert_new(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Make an INSERT of a row that does nothing if a unique one is there, in either dialect.

    When another transaction is inserting the same row, PostgreSQL waits for its end.
    """
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


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

access_token = Table(
    "access_token",
    metadata,
    Column("id", Key, primary_key=True),
    Column("account_id", Key, ForeignKey("account.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("scopes", String(64), nullable=False),
    Column("script_owner", String(128), nullable=True),
    Column("script_name", String(128), nullable=True),
    Column("created", UtcDateTime(), nullable=False),
    Column("expires", UtcDateTime(), nullable=False),
    UniqueConstraint("account_id", "name"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Key, primary_key=True),
    Column("at", UtcDateTime(), nullable=False, index=True),
    # Not references: an entry outlives what it tells of.
    Column("actor", String(128), nullable=True),
    Column("token", String(64), nullable=True),
    Column("address", String(64), nullable=True),
    Column("action", String(64), nullable=False),
    Column("target", String(300), nullable=False),
    Column("status", Integer(), nullable=False),
    Column("request", String(64), nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice, also not after old entries went
)

secret = Table(
    "secret",
    metadata,
    Column("id", Key, primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("name", String(64), nullable=False),
    Column("sealed", LargeBinary(), nullable=False),
    Column("changed", UtcDateTime(), nullable=False),
    UniqueConstraint("owner", "name"),
)

secret_grant = Table(
    "secret_grant",
    metadata,
    Column("secret_id", Key, ForeignKey("secret.id", ondelete="CASCADE"), primary_key=True),
    # Not a reference: a script that is deleted and stored again is its owner's all the same.
    Column("script", String(128), primary_key=True),
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
    Column("network_grant", Text(), nullable=True),
    Column("network_limit", Text(), nullable=True),
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

source = Table(
    "source",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("text", Text(), nullable=False),
)
"""Source texts of jobs, each once; a job outlives the script that it was made from."""

_OPEN = text("state IN ('queued', 'running')")
_CLAIMABLE = text("waiting > 0")
_TABLE = text("table_state = 'waiting'")
_LEASED = text("state = 'leased'")
_UNSETTLED = text("state = 'running' AND unfinished = 0")

job = Table(
    "job",
    metadata,
    # Small and ascending, so that batches are kept together; `uuid` is what everybody else knows.
    Column("id", Key, primary_key=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("owner", String(128), nullable=False),
    Column("idempotency_key", String(255), nullable=True),
    Column("request", LargeBinary(32), nullable=True),
    Column("api_version", String(8), nullable=False),
    Column("verb", String(16), nullable=False),
    Column("script_name", String(128), nullable=False),
    Column("script_owner", String(128), nullable=False),
    Column("script_version", Integer(), nullable=False),
    Column("digest", String(64), ForeignKey("source.digest"), nullable=False, index=True),
    Column("entry", Text(), nullable=False),
    Column("environment", String(64), nullable=False),
    # Of one that was built here; else there is none.
    Column("environment_version", Integer(), nullable=True),
    Column("times", Integer(), nullable=False),
    Column("parameters", LargeBinary(), nullable=False),
    Column("degree", Integer(), nullable=False),
    Column("seed", Unsigned64(), nullable=False),
    Column("graphics", Boolean(), nullable=False),
    Column("service", String(16), nullable=False),
    Column("on_error", String(16), nullable=False),
    Column("timeout_s", Integer(), nullable=False),
    Column("call_timeout_s", Double(), nullable=True),
    Column("max_failures", Integer(), nullable=True),
    Column("canary", Boolean(), nullable=False),
    Column("comments", Text(), nullable=True),
    Column("result_table", String(128), nullable=True),
    Column("table_overwrite", Boolean(), nullable=False, server_default="0"),
    Column("table_state", String(16), nullable=True),
    Column("table_error", Text(), nullable=True),
    Column("callback_url", Text(), nullable=True),
    Column("callback_origin", Text(), nullable=True),
    # JSON: a condition under which the job ends early; and how many calls there were before it did.
    Column("stop_when", Text(), nullable=True),
    Column("asked", Integer(), nullable=True),
    Column("state", String(16), nullable=False),
    Column("created", UtcDateTime(), nullable=False),
    Column("started", UtcDateTime(), nullable=True),
    Column("deadline", UtcDateTime(), nullable=True),
    Column("finished", UtcDateTime(), nullable=True),
    Column("returned", Integer(), nullable=False),
    Column("failed", Integer(), nullable=False),
    Column("taken", Integer(), nullable=False, server_default="0"),
    Column("error", Text(), nullable=True),
    Column("size_bytes", BigInteger(), nullable=False),
    # The place in line: the service level's rank, then the owner. Whoever claims goes from one
    # line to the next, and never through the jobs of one.
    Column("line", String(130), nullable=False),
    # Batches that may be claimed now, and batches without outcomes.
    Column("waiting", Integer(), nullable=False),
    Column("unfinished", Integer(), nullable=False),
    UniqueConstraint("owner", "idempotency_key"),
    Index(None, "owner", "id"),
    Index("ix_job_open", "owner", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("ix_job_claimable", "line", "id", sqlite_where=_CLAIMABLE, postgresql_where=_CLAIMABLE),
    Index("ix_job_unsettled", "id", sqlite_where=_UNSETTLED, postgresql_where=_UNSETTLED),
    Index("ix_job_deadline", "deadline", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index(None, "finished"),
    Index("ix_job_table", "id", sqlite_where=_TABLE, postgresql_where=_TABLE),
    CheckConstraint("waiting >= 0 AND unfinished >= waiting", name="batches"),
)

batch = Table(
    "batch",
    metadata,
    Column("job_id", Key, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer(), primary_key=True, autoincrement=False),
    Column("start", Integer(), nullable=False),
    Column("count", Integer(), nullable=False),
    Column("state", String(16), nullable=False),
    Column("fence", Integer(), nullable=False),
    Column("lease_by", String(255), nullable=True),
    Column("lease_until", UtcDateTime(), nullable=True),
    Column("returned", Integer(), nullable=False),
    Column("failed", Integer(), nullable=False),
    Column("finished", UtcDateTime(), nullable=True),
    Column("size_bytes", BigInteger(), nullable=False),
    # Small contents; NULL: in blobs, or there is none yet.
    Column("values", LargeBinary(), nullable=True),
    Column("meters", LargeBinary(), nullable=True),
    Column("logs", LargeBinary(), nullable=True),
    Column("images", LargeBinary(), nullable=True),
    Index("ix_batch_leased", "lease_until", sqlite_where=_LEASED, postgresql_where=_LEASED),
    CheckConstraint("state IN ('waiting', 'leased', 'finished', 'dropped')", name="state"),
)

failure = Table(
    "failure",
    metadata,
    Column("job_id", Key, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer(), primary_key=True, autoincrement=False),
    Column("code", Integer(), nullable=False),
    Column("type", Text(), nullable=False),
    Column("message", Text(), nullable=False),
    Column("traceback", Text(), nullable=False),
    Column("log", Text(), nullable=False),
    Column("attempts", Integer(), nullable=False),
    Column("elapsed_us", BigInteger(), nullable=False),
    Column("peak_kib", BigInteger(), nullable=False),
    # What failures that look alike have in common.
    Column("place", Text(), nullable=False),
    Column("pattern", Text(), nullable=False),
)

_WAITS = text("state = 'waiting'")

delivery = Table(
    "delivery",
    metadata,
    # One of each job that is to be told of.
    Column(
        "job_id", Key, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True,
        autoincrement=False,
    ),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer(), nullable=False),
    Column("fence", Integer(), nullable=False),
    Column("created", UtcDateTime(), nullable=False),
    # When it is tried again; while somebody tries, when his lease runs out.
    Column("due", UtcDateTime(), nullable=False),
    Column("last", UtcDateTime(), nullable=True),
    Column("status", Integer(), nullable=True),
    Column("error", Text(), nullable=True),
    Index("ix_delivery_due", "due", sqlite_where=_WAITS, postgresql_where=_WAITS),
    CheckConstraint("state IN ('waiting', 'delivered', 'given_up')", name="state"),
)  # fmt: skip
"""News of jobs' ends, and what came of telling them."""

callback_secret = Table(
    "callback_secret",
    metadata,
    Column("owner", String(128), primary_key=True),
    # In the clear: a signature is made with them.
    Column("secret", LargeBinary(), nullable=False),
    Column("before", LargeBinary(), nullable=True),
    Column("rotated", UtcDateTime(), nullable=False),
)

deleted_job = Table(
    "deleted_job",
    metadata,
    Column("uuid", String(36), primary_key=True),
    Column("deleted", UtcDateTime(), nullable=False),
)
"""Jobs whose blobs may still be there: from `deleted` on, which of a job that is announced, and not
submitted yet, is still to come."""

data_table = Table(
    "data_table",
    metadata,
    Column("id", Key, primary_key=True),
    # Not a reference: the owner of a table for everyone, PYQSYS, is nobody's account.
    Column("owner", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    # The name in lower case: names are matched without regard to case, as SQL does.
    Column("folded", String(128), nullable=False),
    Column("file", String(64), nullable=False),
    Column("rows", BigInteger(), nullable=False),
    Column("size_bytes", BigInteger(), nullable=False),
    # JSON: pairs of name and type.
    Column("columns", Text(), nullable=False),
    Column("created", UtcDateTime(), nullable=False),
    UniqueConstraint("owner", "folded"),
    Index(None, "folded"),
)

table_grant = Table(
    "table_grant",
    metadata,
    Column("table_id", Key, ForeignKey("data_table.id", ondelete="CASCADE"), primary_key=True),
    Column("grantee", String(128), primary_key=True),
    Column("created", UtcDateTime(), nullable=False),
    Index(None, "grantee"),
)

data_source = Table(
    "data_source",
    metadata,
    Column("id", Key, primary_key=True),
    Column("name", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("url", Text(), nullable=False),
    # Whence the password comes, in words; never a password.
    Column("password", String(160), nullable=True),
    # The password, encrypted.
    Column("sealed", Text(), nullable=True),
    Column("max_connections", Integer(), nullable=False),
    Column("created", UtcDateTime(), nullable=False),
    UniqueConstraint("name"),
)

source_grant = Table(
    "source_grant",
    metadata,
    Column("source_id", Key, ForeignKey("data_source.id", ondelete="CASCADE"), primary_key=True),
    Column("grantee", String(128), primary_key=True),
    Column("created", UtcDateTime(), nullable=False),
    Index(None, "grantee"),
)

default_source = Table(
    "default_source",
    metadata,
    Column("account", String(128), primary_key=True),
    Column("source_id", Key, ForeignKey("data_source.id", ondelete="CASCADE"), nullable=False),
    Index(None, "source_id"),
)

datastore = Table(
    "datastore",
    metadata,
    Column("id", Key, primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("description", Text(), nullable=False),
    Column("grantable", Boolean(), nullable=False),
    Column("created", UtcDateTime(), nullable=False),
    UniqueConstraint("owner", "name"),
)

datastore_object = Table(
    "datastore_object",
    metadata,
    Column("datastore_id", Key, ForeignKey("datastore.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("class", String(128), nullable=False),
    Column("size_bytes", BigInteger(), nullable=False),
    Column("length", BigInteger(), nullable=False),
    Column("rows", BigInteger(), nullable=False),
    Column("columns", BigInteger(), nullable=False),
    Column("blob", String(32), nullable=False, unique=True),
)

datastore_grant = Table(
    "datastore_grant",
    metadata,
    Column("datastore_id", Key, ForeignKey("datastore.id", ondelete="CASCADE"), primary_key=True),
    Column("grantee", String(128), primary_key=True),
    Column("created", UtcDateTime(), nullable=False),
    Index(None, "grantee"),
)

loose_blob = Table(
    "loose_blob",
    metadata,
    Column("blob", String(32), primary_key=True),
    Column("since", UtcDateTime(), nullable=False, index=True),
)
"""Blobs of objects that no datastore holds: about to be written, or to be removed."""
