"""Secrets, and the scripts that may have them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "secret",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("changed", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secret")),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_secret_owner_name")),
    )
    op.create_table(
        "secret_grant",
        sa.Column("secret_id", _KEY, nullable=False),
        sa.Column("script", sa.String(128), nullable=False),
        sa.ForeignKeyConstraint(
            ["secret_id"],
            ["secret.id"],
            name=op.f("fk_secret_grant_secret_id_secret"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("secret_id", "script", name=op.f("pk_secret_grant")),
    )
