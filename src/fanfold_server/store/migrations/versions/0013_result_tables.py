"""Results of jobs that are written as tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_TABLE = sa.text("table_state = 'waiting'")


def upgrade() -> None:
    with op.batch_alter_table("job") as job:
        job.add_column(sa.Column("result_table", sa.String(128), nullable=True))
        job.add_column(
            sa.Column("table_overwrite", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        job.add_column(sa.Column("table_state", sa.String(16), nullable=True))
        job.add_column(sa.Column("table_error", sa.Text(), nullable=True))
    op.create_index("ix_job_table", "job", ["id"], sqlite_where=_TABLE, postgresql_where=_TABLE)
