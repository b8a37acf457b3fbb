"""Accounts, sessions, scripts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.CheckConstraint("role IN ('developer', 'admin')", name=op.f("ck_account_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    op.create_table(
        "session",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("account_id", _KEY, nullable=False),
        sa.Column("started", _TIME, nullable=False),
        sa.Column("ends", _TIME, nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_session_account_id_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
    )
    op.create_index(op.f("ix_session_account_id"), "session", ["account_id"])
    op.create_index(op.f("ix_session_ends"), "session", ["ends"])
    op.create_table(
        "token",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("session_id", _KEY, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["session.id"],
            name=op.f("fk_token_session_id_session"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_token")),
    )
    op.create_index(op.f("ix_token_session_id"), "token", ["session_id"])
    op.create_table(
        "login_failure",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_failure")),
    )
    op.create_index(op.f("ix_login_failure_last"), "login_failure", ["last"])
    op.create_table(
        "script",
        sa.Column("id", _KEY, nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("creator_id", _KEY, nullable=False),
        sa.Column("current", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["creator_id"], ["account.id"], name=op.f("fk_script_creator_id_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_script")),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_script_owner_name")),
    )
    op.create_index(op.f("ix_script_name"), "script", ["name"])
    op.create_table(
        "script_version",
        sa.Column("script_id", _KEY, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("publisher_id", _KEY, nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_script_version_version")),
        sa.ForeignKeyConstraint(
            ["publisher_id"], ["account.id"], name=op.f("fk_script_version_publisher_id_account")
        ),
        sa.ForeignKeyConstraint(
            ["script_id"],
            ["script.id"],
            name=op.f("fk_script_version_script_id_script"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("script_id", "version", name=op.f("pk_script_version")),
    )
    op.create_table(
        "script_grant",
        sa.Column("script_id", _KEY, nullable=False),
        sa.Column("grantee", sa.String(128), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["script_id"],
            ["script.id"],
            name=op.f("fk_script_grant_script_id_script"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("script_id", "grantee", name=op.f("pk_script_grant")),
    )
    op.create_index(op.f("ix_script_grant_grantee"), "script_grant", ["grantee"])
