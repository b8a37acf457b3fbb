"""What scripts may reach of the network."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("script", sa.Column("network_grant", sa.Text(), nullable=True))
    op.add_column("script", sa.Column("network_limit", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("script") as script:
        script.drop_column("network_limit")
        script.drop_column("network_grant")
