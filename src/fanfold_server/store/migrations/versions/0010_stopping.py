"""Jobs that may end before their last call."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_UNSETTLED = sa.text("state = 'running' AND unfinished = 0")


def upgrade() -> None:
    with op.batch_alter_table("job") as job:
        job.add_column(sa.Column("asked", sa.Integer(), nullable=True))
        job.add_column(sa.Column("stop_when", sa.Text(), nullable=True))
    op.create_index(
        "ix_job_unsettled", "job", ["id"], sqlite_where=_UNSETTLED, postgresql_where=_UNSETTLED
    )


def downgrade() -> None:
    op.drop_index("ix_job_unsettled", "job")
    with op.batch_alter_table("job") as job:
        job.drop_column("stop_when")
        job.drop_column("asked")
