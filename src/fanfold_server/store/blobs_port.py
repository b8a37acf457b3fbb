"""What is too large for a row, and under which keys it lies; `store.port` exports it all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Protocol

from fanfold_server.model.job import Batch


class BlobKind(StrEnum):
    """What a batch leaves; the member's value ends its blob's name.

    VALUES: NDJSON, one JSON text a line, `count` lines in index order, `null` for a call without a
    value. METERS: little-endian u32 elapsed_us[count], then u32 peak_kib[count]. LOGS: NDJSON of
    `{"index": …, "log": …}`, only calls that printed. IMAGES: NDJSON of `{"index": …, "id": …,
    "title": …, "size": …}`; the PNG files themselves are under `image_key`.
    """

    VALUES = "values"
    METERS = "meters"
    LOGS = "logs"
    IMAGES = "images"


def job_prefix(job: str) -> str:
    """Return what the keys of all blobs of a job begin with."""
    return f"jobs/{job[:2]}/{job}/"


def blob_key(batch: Batch, kind: BlobKind) -> str:
    """Return the key of a batch's blob; the fence keeps a stale agent's apart from the true one."""
    return f"{job_prefix(batch.job)}{batch.number}-{batch.fence}.{kind}"


def image_key(batch: Batch, index: int, image: int) -> str:
    """Return the key of a PNG file, `image` = 1, 2, … in the order of drawing."""
    return f"{job_prefix(batch.job)}{batch.number}-{batch.fence}.images/{index}-{image}.png"


class BlobMissing(Exception):
    """There is no blob of this key."""


class Blobs(Protocol):
    """Bytes under keys, in a folder or an object store.

    A blob is there whole or not at all, and is on disk when `write` returns. Writing a key again
    replaces it.
    """

    async def write(self, blobs: Mapping[str, bytes]) -> None:
        """Store several blobs; if it fails, some of them may be there.

        Raises:
            DiskFull: there is no room.
        """
        ...

    async def read(self, key: str) -> bytes:
        """Read a blob. Raises BlobMissing."""
        ...

    def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        """Read a blob piece by piece. Raises BlobMissing at the first piece."""
        ...

    async def copy(self, source: str, target: str) -> None:
        """Store a blob under a second key, too. Raises BlobMissing."""
        ...

    async def remove(self, prefix: str) -> None:
        """Remove every blob whose key begins with `prefix` (a `job_prefix`), if there are any."""
        ...

    async def free_bytes(self) -> int | None:
        """Tell how much room is left; None: unknown or unlimited."""
        ...
