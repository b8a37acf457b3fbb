"""Datastores, what they hold, and who else may read them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "datastore",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("grantable", sa.Boolean(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datastore")),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_datastore_owner_name")),
    )
    op.create_table(
        "datastore_object",
        sa.Column("datastore_id", _KEY, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("class", sa.String(128), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("columns", sa.BigInteger(), nullable=False),
        sa.Column("blob", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(
            ["datastore_id"],
            ["datastore.id"],
            name=op.f("fk_datastore_object_datastore_id_datastore"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("datastore_id", "name", name=op.f("pk_datastore_object")),
        sa.UniqueConstraint("blob", name=op.f("uq_datastore_object_blob")),
    )
    op.create_table(
        "datastore_grant",
        sa.Column("datastore_id", _KEY, nullable=False),
        sa.Column("grantee", sa.String(128), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["datastore_id"],
            ["datastore.id"],
            name=op.f("fk_datastore_grant_datastore_id_datastore"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("datastore_id", "grantee", name=op.f("pk_datastore_grant")),
    )
    op.create_index(op.f("ix_datastore_grant_grantee"), "datastore_grant", ["grantee"])
    op.create_table(
        "loose_blob",
        sa.Column("blob", sa.String(32), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("blob", name=op.f("pk_loose_blob")),
    )
    op.create_index(op.f("ix_loose_blob_since"), "loose_blob", ["since"])


def downgrade() -> None:
    for table in ("loose_blob", "datastore_grant", "datastore_object", "datastore"):
        op.drop_table(table)
