"""Every test that takes `store` runs over each database in `DATABASES`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from fanfold_server.store.sql import Store, open_store, sqlite_url

DATABASES = ("sqlite",)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """The address of an empty database."""
    assert request.param == "sqlite"
    return sqlite_url(tmp_path / "fanfold.db")


@pytest.fixture
async def store(url: URL) -> AsyncIterator[Store]:
    async with open_store(url) as opened:
        yield opened
