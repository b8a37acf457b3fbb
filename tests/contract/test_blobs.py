"""What a store of blobs guarantees, whatever keeps the bytes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from fanfold_server.model.errors import DiskFull
from fanfold_server.model.job import Batch
from fanfold_server.store.blobs import FolderBlobs
from fanfold_server.store.object_blobs import ObjectBlobs, open_object_blobs
from fanfold_server.store.port import (
    BlobKind,
    BlobMissing,
    Blobs,
    blob_key,
    image_key,
    job_prefix,
)

JOB = "0a1b2c3d-0000-4000-8000-000000000000"
BATCH = Batch(job=JOB, number=3, start=7, count=2, fence=2)


@pytest.fixture(params=["folder", "objects"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "folder":
        return FolderBlobs(tmp_path / "blobs")
    return ObjectBlobs(MemoryStore())


def below(root: Path) -> list[Path]:
    return list(root.rglob("*"))


def test_keys_tell_leases_apart() -> None:
    assert job_prefix(JOB) == f"jobs/0a/{JOB}/"
    assert blob_key(BATCH, BlobKind.VALUES) == f"jobs/0a/{JOB}/3-2.values"
    assert image_key(BATCH, 8, 1) == f"jobs/0a/{JOB}/3-2.images/8-1.png"


async def test_what_is_written_is_read(blobs: Blobs) -> None:
    large = os.urandom(3_000_000)
    keys = [blob_key(BATCH, BlobKind.VALUES), image_key(BATCH, 8, 1), image_key(BATCH, 8, 2)]
    await blobs.write(dict(zip(keys, (large, b"", b"png"), strict=True)))
    assert [await blobs.read(key) for key in keys] == [large, b"", b"png"]
    pieces = [piece async for piece in blobs.stream(keys[0], chunk_bytes=1_000_000)]
    assert b"".join(pieces) == large
    assert max(map(len, pieces)) <= 1_000_000
    await blobs.write({keys[2]: b"again"})
    assert await blobs.read(keys[2]) == b"again"


async def test_what_is_not_there_is_missing(blobs: Blobs) -> None:
    key = blob_key(BATCH, BlobKind.LOGS)
    with pytest.raises(BlobMissing):
        await blobs.read(key)
    with pytest.raises(BlobMissing):
        await anext(aiter(blobs.stream(key)))
    with pytest.raises(BlobMissing):
        await blobs.copy(key, blob_key(BATCH, BlobKind.VALUES))
    await blobs.remove(job_prefix(JOB))


async def test_a_copy_outlives_its_source(blobs: Blobs) -> None:
    other = Batch(job=JOB.replace("0a", "1a", 1), number=0, start=1, count=2, fence=0)
    source, target = blob_key(BATCH, BlobKind.VALUES), blob_key(other, BlobKind.VALUES)
    await blobs.write({source: b"1\n2\n"})
    await blobs.copy(source, target)
    await blobs.copy(source, target)
    await blobs.remove(job_prefix(JOB))
    with pytest.raises(BlobMissing):
        await blobs.read(source)
    assert await blobs.read(target) == b"1\n2\n"


async def test_jobs_that_begin_alike_are_written_at_once(blobs: Blobs) -> None:
    """The folder that they share is made by whoever is first, and removed by whoever is last."""
    jobs = [f"0a000000-0000-4000-8000-{n:012}" for n in range(20)]

    async def write_and_remove(job: str) -> None:
        key = blob_key(Batch(job=job, number=0, start=1, count=1, fence=1), BlobKind.VALUES)
        await blobs.write({key: b"1\n"})
        assert await blobs.read(key) == b"1\n"
        await blobs.remove(job_prefix(job))

    await asyncio.gather(*(write_and_remove(job) for job in jobs))


async def test_a_folder_is_for_its_owner_alone_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    blobs = FolderBlobs(root)
    await blobs.write({image_key(BATCH, 8, 1): b"png"})
    assert {path.stat().st_mode & 0o077 for path in (root, *below(root))} == {0}
    await blobs.remove(job_prefix(JOB))
    assert sorted(path.name for path in below(root)) == ["incoming", "jobs"]


async def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = FolderBlobs(tmp_path)

    def no_room(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(DiskFull):
        await blobs.write({blob_key(BATCH, BlobKind.VALUES): b"1\n"})
    assert sorted(path.name for path in below(tmp_path)) == ["incoming"]


async def test_what_a_killed_writer_left_is_removed_later(tmp_path: Path) -> None:
    FolderBlobs(tmp_path)
    old, fresh = tmp_path / "incoming" / "old", tmp_path / "incoming" / "fresh"
    old.touch()
    fresh.touch()
    os.utime(old, (0, 0))
    FolderBlobs(tmp_path)
    assert (old.exists(), fresh.exists()) == (False, True)


@pytest.mark.parametrize("address", ["nonsense://bucket", "s3://", "http:"])
def test_an_address_that_no_store_has_is_told(address: str) -> None:
    with pytest.raises(ValueError, match=address.split(":", maxsplit=1)[0]):
        open_object_blobs(address)
