"""Tables of users, and who else may read them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "data_table",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("folded", sa.String(128), nullable=False),
        sa.Column("file", sa.String(64), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_table")),
        sa.UniqueConstraint("owner", "folded", name=op.f("uq_data_table_owner_folded")),
    )
    op.create_index(op.f("ix_data_table_folded"), "data_table", ["folded"])
    op.create_table(
        "table_grant",
        sa.Column("table_id", _KEY, nullable=False),
        sa.Column("grantee", sa.String(128), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["table_id"],
            ["data_table.id"],
            name=op.f("fk_table_grant_table_id_data_table"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("table_id", "grantee", name=op.f("pk_table_grant")),
    )
    op.create_index(op.f("ix_table_grant_grantee"), "table_grant", ["grantee"])
