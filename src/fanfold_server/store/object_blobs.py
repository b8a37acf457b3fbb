"""`Blobs` in an object store: S3 and its like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import obstore
from obstore.exceptions import BaseError
from obstore.store import MemoryStore, ObjectStore, from_url

from fanfold_server.store.port import BlobMissing

AT_ONCE = 8
"""Requests under way at once for one call."""


def open_object_blobs(address: str) -> ObjectBlobs:
    """Open an object store.

    Args:
        address: `s3://bucket/prefix`, `gs://…`, `az://…`; what else is needed (keys, region,
            endpoint) comes from the variables that the store's own tools use, `AWS_…` for S3.

    Raises:
        ValueError: there is no such kind of store.
    """
    try:
        return ObjectBlobs(from_url(address))
    except (BaseError, ValueError) as exc:
        raise ValueError(f"cannot use {address}: {exc}") from exc


class ObjectBlobs:
    """`Blobs` in an object store, in which an object is there whole or not at all.

    Args:
        store: what keeps the objects; a prefix is the store's own matter.
    """

    def __init__(self, store: ObjectStore | MemoryStore) -> None:
        self._store = store

    async def write(self, blobs: Mapping[str, bytes]) -> None:
        slots = asyncio.Semaphore(AT_ONCE)

        async def write_one(key: str, content: bytes) -> None:
            async with slots:
                await obstore.put_async(self._store, key, content)

        async with asyncio.TaskGroup() as tasks:
            for key, content in blobs.items():
                tasks.create_task(write_one(key, content))

    async def read(self, key: str) -> bytes:
        try:
            found = await obstore.get_async(self._store, key)
        except FileNotFoundError as exc:
            raise BlobMissing(key) from exc
        return bytes(await found.bytes_async())

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        try:
            found = await obstore.get_async(self._store, key)
        except FileNotFoundError as exc:
            raise BlobMissing(key) from exc
        async for piece in found.stream(min_chunk_size=min(chunk_bytes, 1 << 16)):
            view = memoryview(piece)
            for start in range(0, len(view), chunk_bytes):
                yield bytes(view[start : start + chunk_bytes])

    async def copy(self, source: str, target: str) -> None:
        try:
            await obstore.copy_async(self._store, source, target)
        except FileNotFoundError as exc:
            raise BlobMissing(source) from exc

    async def remove(self, prefix: str) -> None:
        # A prefix is whole names between slashes, here as in a folder.
        async for listed in obstore.list(self._store, prefix=prefix.rstrip("/")):
            paths = [found["path"] for found in listed]
            if paths:
                await obstore.delete_async(self._store, paths)

    async def free_bytes(self) -> int | None:
        return None
