"""How many calls a job has taken from the one that it goes on from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("job") as job:
        job.add_column(sa.Column("taken", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("job") as job:
        job.drop_column("taken")
