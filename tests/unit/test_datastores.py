"""Saving is whole or not at all, also when it is broken off; and nothing stays of what was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typing_extensions import override

from fanfold_server.model.actor import Role
from fanfold_server.model.datastore import DatastoreType, SaveMode
from fanfold_server.model.errors import DiskFull, UnknownDatastore
from fanfold_server.service.datastores import STALE_S, DatastoreLimits, Datastores, ObjectDraft
from fanfold_server.store.migrating import migrate
from fanfold_server.store.sql import Store, open_store, sqlite_url
from tests.fakes.blobs import MemoryBlobs

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Disk(MemoryBlobs):
    """Blobs that can be full, slow, or changed by somebody while they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False
        self.writing: asyncio.Event | None = None

    @override
    async def write(self, blobs: Mapping[str, bytes]) -> None:
        if self.is_full:
            raise DiskFull
        await super().write(blobs)
        if self.writing is not None:
            self.writing.set()
            await asyncio.sleep(3600)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = sqlite_url(tmp_path / "fanfold.db")
    migrate(url)
    async with open_store(url) as opened:
        await opened.accounts.add("ANN", "x", Role.DEVELOPER, NOW)
        yield opened


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def datastores(store: Store, disk: Disk) -> Datastores:
    limits = DatastoreLimits(object_bytes=100 << 20, account_bytes=100 << 20)
    return Datastores(store.datastores, disk, store.accounts, limits, now=lambda: NOW)


async def save(datastores: Datastores, content: bytes, mode: SaveMode = SaveMode.OVERWRITE) -> None:
    file = os.memfd_create("given")
    try:
        os.write(file, content)
        draft = ObjectDraft(
            name="a", kind="bytes", size_bytes=len(content), length=1, rows=1, columns=1
        )
        await datastores.save("ANN", "d", [draft], file, mode=mode)
    finally:
        os.close(file)


async def load(datastores: Datastores) -> bytes:
    (each,), file = await datastores.load("ANN", "d", None, None)
    try:
        return os.pread(file, each.size_bytes + 1, 0)
    finally:
        os.close(file)


async def test_bytes_come_back_in_pieces_or_not(datastores: Datastores, disk: Disk) -> None:
    for content, pieces in ((b"", 0), (b"x", 1), (os.urandom((16 << 20) + 5), 2)):
        await save(datastores, content)
        assert await load(datastores) == content
        assert len(disk.blobs) == pieces


async def test_what_is_loaded_cannot_be_written_into(datastores: Datastores) -> None:
    await save(datastores, b"x")
    _, file = await datastores.load("ANN", "d", None, None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(file, b"y")
    os.close(file)


async def test_a_full_disk_leaves_what_was(datastores: Datastores, disk: Disk) -> None:
    await save(datastores, b"old")
    disk.is_full = True
    with pytest.raises(DiskFull):
        await save(datastores, b"new")
    disk.is_full = False
    assert await load(datastores) == b"old"
    assert len(disk.blobs) == 1


async def test_a_save_that_is_broken_off_leaves_what_was_and_is_cleared_away(
    datastores: Datastores, disk: Disk, store: Store
) -> None:
    """Its bytes are written, nothing names them, and who wrote them is gone."""
    await save(datastores, b"old")
    disk.writing = asyncio.Event()
    saving = asyncio.create_task(save(datastores, b"new"))
    await disk.writing.wait()
    saving.cancel()
    await asyncio.gather(saving, return_exceptions=True)
    disk.writing = None
    assert await load(datastores) == b"old"
    assert len(disk.blobs) == 2
    await datastores.tidy(NOW + timedelta(seconds=STALE_S - 1))
    assert len(disk.blobs) == 2
    await datastores.tidy(NOW + timedelta(seconds=STALE_S + 1))
    assert len(disk.blobs) == 1
    assert await load(datastores) == b"old"
    assert await store.datastores.loose(NOW + timedelta(days=1)) == []


async def test_readers_see_the_old_or_the_new_while_it_is_overwritten(
    datastores: Datastores, disk: Disk
) -> None:
    await save(datastores, b"0")
    seen: set[bytes] = set()

    async def read() -> None:
        for _ in range(60):
            seen.add(await load(datastores))

    async def write() -> None:
        for number in range(30):
            await save(datastores, str(number).encode())

    await asyncio.gather(read(), read(), write())
    assert seen <= {str(number).encode() for number in range(30)}
    assert len(disk.blobs) == 1


async def test_what_is_deleted_leaves_nothing(datastores: Datastores, disk: Disk) -> None:
    await save(datastores, b"x", SaveMode.NEW)
    with pytest.raises(UnknownDatastore):
        await datastores.delete("ANN", "d", ["a", "b"])
    with pytest.raises(UnknownDatastore):
        await datastores.delete("ANN", "e")
    await datastores.delete("ANN", "d")
    assert disk.blobs == {}
    assert await datastores.listing("ANN", DatastoreType.ALL) == []
