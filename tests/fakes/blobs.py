from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from fanfold_server.store.port import BlobMissing


class MemoryBlobs:
    """`Blobs` in a dictionary."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def write(self, blobs: Mapping[str, bytes]) -> None:
        self.blobs.update(blobs)

    async def read(self, key: str) -> bytes:
        try:
            return self.blobs[key]
        except KeyError:
            raise BlobMissing(key) from None

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        blob = await self.read(key)
        for at in range(0, len(blob), chunk_bytes):
            yield blob[at : at + chunk_bytes]

    async def copy(self, source: str, target: str) -> None:
        self.blobs[target] = await self.read(source)

    async def remove(self, prefix: str) -> None:
        self.blobs = {key: blob for key, blob in self.blobs.items() if not key.startswith(prefix)}

    async def free_bytes(self) -> int | None:
        return None
