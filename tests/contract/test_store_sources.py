"""What every `SourceStore` guarantees, and what keeps the passwords."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from fanfold_server.model.data_source import DataSource, SourceGrant, SourceKind
from fanfold_server.model.errors import SourceUnavailable
from fanfold_server.store.sealing import FileSealer
from fanfold_server.store.sql import URL, Store
from fanfold_server.store.sql_sources import SqlSources
from fanfold_server.store.vault import Vault

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
SECRET = "gr33n/eggs & häm"
SALES = DataSource(
    name="SALES",
    kind=SourceKind.POSTGRESQL,
    url="postgresql://reader@db/sales",
    password="stored",
    max_connections=4,
    created=NOW,
)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(FileSealer(tmp_path / "secret.key"), tmp_path / "secrets")


@pytest.fixture
def sources(store: Store, vault: Vault) -> SqlSources:
    return store.sources(vault)


async def test_a_source_comes_back_as_it_was_put(sources: SqlSources) -> None:
    assert await sources.put(SALES, SECRET)
    assert await sources.find("SALES", reader=None) == SALES
    assert await sources.password(SALES) == SECRET
    changed = replace(SALES, kind=SourceKind.SQLITE, url="sqlite:////x", password=None)
    assert not await sources.put(changed, None)
    assert await sources.listing(reader=None) == [changed]
    assert await sources.password(changed) is None


async def test_a_source_is_seen_by_whom_it_is_granted(sources: SqlSources) -> None:
    await sources.put(SALES, None)
    await sources.put(replace(SALES, name="ALL"), None)
    assert await sources.listing(reader="ANN") == []
    assert await sources.grant("SALES", "ANN", NOW)
    assert await sources.grant("SALES", "ANN", NOW)
    assert await sources.grant("ALL", "PUBLIC", NOW)
    assert not await sources.grant("NONE", "ANN", NOW)
    assert [each.name for each in await sources.listing(reader="ANN")] == ["ALL", "SALES"]
    assert [each.name for each in await sources.listing(reader="BEN")] == ["ALL"]
    assert await sources.find("SALES", reader="BEN") is None
    await sources.grant("ALL", "ANN", NOW)
    assert await sources.grants("ALL") == [SourceGrant(grantee="ANN"), SourceGrant(grantee=None)]
    assert await sources.revoke("SALES", "ANN")
    assert not await sources.revoke("SALES", "ANN")
    assert await sources.find("SALES", reader="ANN") is None


async def test_a_default_goes_with_its_source(sources: SqlSources) -> None:
    await sources.put(SALES, SECRET)
    await sources.put(replace(SALES, name="OTHER"), None)
    assert await sources.default("ANN") is None
    await sources.set_default("ANN", "SALES")
    await sources.set_default("ANN", "OTHER")
    await sources.set_default("BEN", "SALES")
    assert (await sources.default("ANN"), await sources.default("BEN")) == ("OTHER", "SALES")
    await sources.set_default("ANN", None)
    assert await sources.default("ANN") is None
    assert await sources.drop("SALES")
    assert not await sources.drop("SALES")
    assert await sources.default("BEN") is None


async def test_the_database_holds_no_password(
    sources: SqlSources, url: URL, tmp_path: Path
) -> None:
    await sources.put(SALES, SECRET)
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        (row,) = await connection.execute(text("SELECT * FROM data_source"))
    await engine.dispose()
    assert SECRET not in repr(row)
    assert json.dumps(SECRET) not in repr(row)
    key = tmp_path / "secret.key"
    assert key.stat().st_mode & 0o777 == 0o600


async def test_a_password_is_that_of_its_source_and_its_key(
    sources: SqlSources, store: Store, vault: Vault, tmp_path: Path
) -> None:
    """Whoever may write the database cannot have one database sent another's password."""
    await sources.put(SALES, SECRET)
    sealed = vault.seal("OTHER", SECRET)
    with pytest.raises(SourceUnavailable, match="cannot be opened"):
        vault.reveal(SALES, sealed)
    elsewhere = store.sources(Vault(FileSealer(tmp_path / "other.key"), tmp_path))
    with pytest.raises(SourceUnavailable, match='"SALES" cannot be opened'):
        await elsewhere.password(SALES)


async def test_a_password_may_be_kept_elsewhere(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name = replace(SALES, password="env:FANFOLD_SECRET_SALES")
    with pytest.raises(SourceUnavailable, match="FANFOLD_SECRET_SALES"):
        vault.reveal(by_name, None)
    monkeypatch.setenv("FANFOLD_SECRET_SALES", SECRET)
    assert vault.reveal(by_name, None) == SECRET
    by_file = replace(SALES, password="file:sales")
    with pytest.raises(SourceUnavailable, match='"sales"'):
        vault.reveal(by_file, None)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "sales").write_text(SECRET + "\n", encoding="utf-8")
    assert vault.reveal(by_file, None) == SECRET
    (tmp_path / "outside").write_text(SECRET, encoding="utf-8")
    for where in ("file:../outside", f"file:{tmp_path / 'outside'}", "env:PATH", "file:.", "file:"):
        with pytest.raises(SourceUnavailable):
            vault.reveal(replace(SALES, password=where), None)
