"""Every test that takes `store` or `url` runs over each database in `DATABASES`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import create_async_engine

from fanfold_server.store.schema import metadata
from fanfold_server.store.sql import Store, open_store, sqlite_url
from tests.contract.postgres import Postgres, started_or_skipped

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with started_or_skipped() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> URL:
    """One database for all tests of `store`: making one takes longer than most of them."""
    return postgres.make_database()


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[URL]:
    """The address of a database without tables."""
    if database == "sqlite":
        yield sqlite_url(tmp_path / "empty.db")
        return
    server: Postgres = request.getfixturevalue("postgres")
    made = server.make_database()
    yield made
    server.drop_database(made)


@pytest.fixture
async def url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> AsyncIterator[URL]:
    """The address of a database without rows; that of `store`."""
    if database == "sqlite":
        yield sqlite_url(tmp_path / "fanfold.db")
        return
    shared: URL = request.getfixturevalue("postgres_url")
    yield shared
    await _empty(shared)


@pytest.fixture
async def store(url: URL) -> AsyncIterator[Store]:
    async with open_store(url) as opened:
        yield opened


async def _empty(url: URL) -> None:
    """Remove all rows, and begin counting anew."""
    tables = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    finally:
        await engine.dispose()
