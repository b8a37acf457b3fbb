"""A database becomes today's, whoever starts first and whatever was there."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, CheckConstraint, create_engine, inspect
from sqlalchemy.pool import NullPool

from fanfold_server.store import migrations
from fanfold_server.store.migrating import StoreUnusable, migrate, newest_revision
from fanfold_server.store.schema import metadata
from fanfold_server.store.sql import is_sqlite, open_store, sqlite_url


def test_the_revisions_make_the_tables_of_the_schema(empty_url: URL) -> None:
    url = empty_url
    migrate(url)
    if is_sqlite(url):
        url = url.set(drivername="sqlite")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        differences: list[Any] = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )
        assert differences == []
        # Alembic does not look at these.
        for table in metadata.sorted_tables:
            checks = {
                found["name"] for found in inspect(connection).get_check_constraints(table.name)
            }
            assert checks == {
                constraint.name
                for constraint in table.constraints
                if isinstance(constraint, CheckConstraint)
            }


def test_the_newest_revision_is_the_one_that_alembic_goes_to(tmp_path: Path) -> None:
    (folder,) = migrations.__path__
    assert ScriptDirectory(folder).get_heads() == [newest_revision()]
    migrate(sqlite_url(tmp_path / "fanfold.db"))
    with sqlite3.connect(tmp_path / "fanfold.db") as connection:
        at = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    assert at == [(newest_revision(),)]


def test_a_database_that_lacks_nothing_is_opened_without_alembic(tmp_path: Path) -> None:
    """Loading it takes an operator's command longer than what the command does."""
    asked = (
        "import sys; from pathlib import Path; from fanfold_server.store import migrating, sql; "
        "migrating.migrate(sql.sqlite_url(Path(sys.argv[1]))); print('alembic' in sys.modules)"
    )
    command = [sys.executable, "-c", asked, str(tmp_path / "fanfold.db")]
    said = [subprocess.check_output(command, text=True, timeout=60) for _ in range(2)]
    assert said == ["True\n", "False\n"]


async def test_many_that_open_a_new_database_at_once_all_succeed(empty_url: URL) -> None:
    async def open_one() -> bool:
        async with open_store(empty_url) as store:
            return await store.accounts.has_accounts()

    assert await asyncio.gather(*(open_one() for _ in range(6))) == [False] * 6


def test_the_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "fanfold.db"
    migrate(sqlite_url(path))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.execute("CREATE TABLE t (x)")
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    connection.close()
    assert "fanfold.db-wal" in modes
    assert set(modes.values()) == {0o600}


def test_the_database_of_a_newer_fanfold_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "fanfold.db"
    migrate(sqlite_url(path))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreUnusable, match="another version"):
        migrate(sqlite_url(path))


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "fanfold.db"
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreUnusable, match=r"fanfold\.db"):
        migrate(sqlite_url(path))


def test_a_revision_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that is killed in the middle must find the old tables the next time."""
    path = tmp_path / "fanfold.db"
    monkeypatch.setattr(
        "fanfold_server.store.migrating._check_references",
        lambda _connection: (_ for _ in ()).throw(StoreUnusable("broken")),
    )
    with pytest.raises(StoreUnusable, match="broken"):
        migrate(sqlite_url(path))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
