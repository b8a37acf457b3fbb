"""Jobs, their batches and failures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_OPEN = sa.text("state IN ('queued', 'running')")
_CLAIMABLE = sa.text("waiting > 0")
_LEASED = sa.text("state = 'leased'")


def upgrade() -> None:
    op.create_table(
        "source",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_source")),
    )
    op.create_table(
        "job",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("api_version", sa.String(8), nullable=False),
        sa.Column("verb", sa.String(16), nullable=False),
        sa.Column("script_name", sa.String(128), nullable=False),
        sa.Column("script_owner", sa.String(128), nullable=False),
        sa.Column("script_version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.LargeBinary(), nullable=False),
        sa.Column("degree", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("graphics", sa.Boolean(), nullable=False),
        sa.Column("service", sa.String(16), nullable=False),
        sa.Column("on_error", sa.String(16), nullable=False),
        sa.Column("timeout_s", sa.Integer(), nullable=False),
        sa.Column("call_timeout_s", sa.Double(), nullable=True),
        sa.Column("max_failures", sa.Integer(), nullable=True),
        sa.Column("canary", sa.Boolean(), nullable=False),
        sa.Column("comments", sa.Text(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("started", _TIME, nullable=True),
        sa.Column("deadline", _TIME, nullable=True),
        sa.Column("finished", _TIME, nullable=True),
        sa.Column("returned", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.String(130), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("unfinished", sa.Integer(), nullable=False),
        sa.CheckConstraint("waiting >= 0 AND unfinished >= waiting", name=op.f("ck_job_batches")),
        sa.ForeignKeyConstraint(["digest"], ["source.digest"], name=op.f("fk_job_digest_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("uuid", name=op.f("uq_job_uuid")),
        sa.UniqueConstraint("owner", "idempotency_key", name=op.f("uq_job_owner_idempotency_key")),
    )
    op.create_index(op.f("ix_job_digest"), "job", ["digest"])
    op.create_index(op.f("ix_job_owner_id"), "job", ["owner", "id"])
    op.create_index(op.f("ix_job_finished"), "job", ["finished"])
    op.create_index("ix_job_open", "job", ["owner"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_index(
        "ix_job_claimable",
        "job",
        ["line", "id"],
        sqlite_where=_CLAIMABLE,
        postgresql_where=_CLAIMABLE,
    )
    op.create_index(
        "ix_job_deadline", "job", ["deadline"], sqlite_where=_OPEN, postgresql_where=_OPEN
    )
    op.create_table(
        "batch",
        sa.Column("job_id", _KEY, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_by", sa.String(255), nullable=True),
        sa.Column("lease_until", _TIME, nullable=True),
        sa.Column("returned", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("finished", _TIME, nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("values", sa.LargeBinary(), nullable=True),
        sa.Column("meters", sa.LargeBinary(), nullable=True),
        sa.Column("logs", sa.LargeBinary(), nullable=True),
        sa.Column("images", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'leased', 'finished', 'dropped')", name=op.f("ck_batch_state")
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_batch_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_batch")),
    )
    op.create_index(
        "ix_batch_leased", "batch", ["lease_until"], sqlite_where=_LEASED, postgresql_where=_LEASED
    )
    op.create_table(
        "failure",
        sa.Column("job_id", _KEY, nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("traceback", sa.Text(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("elapsed_us", sa.BigInteger(), nullable=False),
        sa.Column("peak_kib", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_failure_job_id_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "index", name=op.f("pk_failure")),
    )
    op.create_table(
        "deleted_job",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("deleted", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_deleted_job")),
    )
