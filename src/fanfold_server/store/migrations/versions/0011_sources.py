"""Databases of others, who may use them, and whose default they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "data_source",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("password", sa.String(160), nullable=True),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("max_connections", sa.Integer(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_source")),
        sa.UniqueConstraint("name", name=op.f("uq_data_source_name")),
    )
    op.create_table(
        "source_grant",
        sa.Column("source_id", _KEY, nullable=False),
        sa.Column("grantee", sa.String(128), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["data_source.id"],
            name=op.f("fk_source_grant_source_id_data_source"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("source_id", "grantee", name=op.f("pk_source_grant")),
    )
    op.create_index(op.f("ix_source_grant_grantee"), "source_grant", ["grantee"])
    op.create_table(
        "default_source",
        sa.Column("account", sa.String(128), nullable=False),
        sa.Column("source_id", _KEY, nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"],
            ["data_source.id"],
            name=op.f("fk_default_source_source_id_data_source"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_default_source")),
    )
    op.create_index(op.f("ix_default_source_source_id"), "default_source", ["source_id"])
