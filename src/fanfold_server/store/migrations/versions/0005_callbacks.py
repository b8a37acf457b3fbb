"""Whom to tell of a job's end, what has been told, and what signs it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_WAITS = sa.text("state = 'waiting'")


def upgrade() -> None:
    with op.batch_alter_table("job") as job:
        job.add_column(sa.Column("callback_url", sa.Text(), nullable=True))
        job.add_column(sa.Column("callback_origin", sa.Text(), nullable=True))
    op.create_table(
        "delivery",
        sa.Column("job_id", _KEY, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("due", _TIME, nullable=False),
        sa.Column("last", _TIME, nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_delivery")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job.id"], name=op.f("fk_delivery_job_id_job"), ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'given_up')", name=op.f("ck_delivery_state")
        ),
    )
    op.create_index(
        "ix_delivery_due", "delivery", ["due"], sqlite_where=_WAITS, postgresql_where=_WAITS
    )
    op.create_table(
        "callback_secret",
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("before", sa.LargeBinary(), nullable=True),
        sa.Column("rotated", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_callback_secret")),
    )


def downgrade() -> None:
    op.drop_table("callback_secret")
    op.drop_table("delivery")
    with op.batch_alter_table("job") as job:
        job.drop_column("callback_origin")
        job.drop_column("callback_url")
