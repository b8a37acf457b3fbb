"""The rows of jobs: blobs beside what a job brings, and local files for whoever runs a part of it.

A job's query is run once, when the job is submitted: what is wrong with it is told there and then,
and every attempt of every part sees the same rows. They stay as long as the job does, since it may
be resumed. Blobs are pieces, so that no more than one of them is ever in memory.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from fanfold_server.model.apply import Apply, Groups
from fanfold_server.model.errors import DataUnavailable
from fanfold_server.model.rows import InputType, Rowset
from fanfold_server.rows.port import RowSource
from fanfold_server.service.applying import query
from fanfold_server.store.port import Blobs, job_prefix

PIECE_BYTES = 16 << 20

IDLE_COPIES = 4
"""Jobs whose rows stay here while no part of them is in hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRows:
    """What is known of a job's rows; the members of `Rowset` and of `Input` that calls need.

    Attributes:
        calls: how many there are, ≥ 0.
        pieces: blobs of the rows and of the offsets; no offsets, no blobs of them.
        query, source: what was asked of which database, as it was submitted; for whoever wants to
            know where the rows came from. It is never asked again.
    """

    rows: int
    columns: tuple[str, ...]
    keys: tuple[str, ...] | None
    calls: int
    size_bytes: int
    input_type: InputType
    na_omit: bool
    column_frames: bool
    pieces: tuple[int, int]
    query: str | None = None
    source: str | None = None


async def read_kept(blobs: Blobs, job: str) -> KeptRows:
    """Read what is known of a job's rows. Raises BlobMissing."""
    told = orjson.loads(await blobs.read(_key(job, "json")))
    return KeptRows(
        rows=told["rows"],
        columns=tuple(told["columns"]),
        keys=None if told["keys"] is None else tuple(told["keys"]),
        calls=told["calls"],
        size_bytes=told["size_bytes"],
        input_type=InputType(told["input_type"]),
        na_omit=told["na_omit"],
        column_frames=told["column_frames"],
        pieces=(told["pieces"][0], told["pieces"][1]),
        query=told.get("query"),
        source=told.get("source"),
    )


class RowKeeping:
    """Keeps the rows of jobs.

    Args:
        source: answers queries; None: jobs over rows are run here and not submitted.
        scratch: directory for local copies, which have no names in it; None: the system's own.
    """

    def __init__(
        self, *, blobs: Blobs, source: RowSource | None = None, scratch: Path | None = None
    ) -> None:
        self._blobs = blobs
        self._source = source
        self._scratch = scratch
        self._copies: OrderedDict[str, _Copy] = OrderedDict()

    async def keep(self, job: str, apply: Apply) -> KeptRows:
        """Run a job's query and store its rows.

        Raises:
            CallerError, DataUnavailable: see `rows.port.RowSource`.
            DiskFull: there is no room for them.
        """
        given = apply.input
        assert given is not None, "there is something to query"
        if self._source is None:
            raise DataUnavailable("This server has no data to query.")
        rows = await query(self._source, apply)
        try:
            kept = KeptRows(
                rows=rows.rows,
                columns=rows.columns,
                keys=rows.keys,
                calls=rows.calls,
                size_bytes=rows.size_bytes,
                input_type=given.type,
                na_omit=given.na_omit,
                column_frames=isinstance(apply.split, Groups) and apply.split.column_frames,
                pieces=(
                    await self._store(job, "arrow", rows.path),
                    0 if rows.offsets is None else await self._store(job, "cut", rows.offsets),
                ),
                query=given.query.text,
                source=given.query.source,
            )
            await self._blobs.write({_key(job, "json"): orjson.dumps(kept)})
        finally:
            await asyncio.shield(self._source.release(rows))
        return kept

    async def _store(self, job: str, part: str, path: Path) -> int:
        """Store a file in pieces; return how many."""
        number = 0
        with await asyncio.to_thread(path.open, "rb", buffering=0) as file:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                await self._blobs.write({_key(job, f"{part}.{number}"): piece})
                number += 1
        return number

    async def copy(self, old: str, new: str) -> None:
        """Give a job the rows of another. Raises BlobMissing."""
        kept = await read_kept(self._blobs, old)
        parts = [f"arrow.{n}" for n in range(kept.pieces[0])]
        parts += [f"cut.{n}" for n in range(kept.pieces[1])]
        for part in (*parts, "json"):
            await self._blobs.copy(_key(old, part), _key(new, part))

    @asynccontextmanager
    async def lend(self, job: str) -> AsyncIterator[tuple[KeptRows, Rowset]]:
        """Give the rows of a job as local files, until the context ends. Raises BlobMissing."""
        copy = self._copies.setdefault(job, _Copy())
        copy.users += 1
        try:
            async with copy.lock:
                if copy.lent is None:
                    copy.lent = await self._fetch(job, copy)
            self._copies.move_to_end(job)
            yield copy.lent
        finally:
            copy.users -= 1
            self._forget_idle()

    async def _fetch(self, job: str, copy: _Copy) -> tuple[KeptRows, Rowset]:
        kept = await read_kept(self._blobs, job)
        arrow, cut = kept.pieces
        path = await self._local(job, "arrow", arrow, copy)
        return kept, Rowset(
            path=path,
            rows=kept.rows,
            columns=kept.columns,
            size_bytes=kept.size_bytes,
            offsets=await self._local(job, "cut", cut, copy) if cut else None,
            keys=kept.keys,
            calls=kept.calls,
        )

    async def _local(self, job: str, part: str, pieces: int, copy: _Copy) -> Path:
        """Join pieces in a file without a name: nothing is left of it when this process ends."""
        file = await asyncio.to_thread(_nameless, self._scratch)
        copy.files.append(file)
        for number in range(pieces):
            async for chunk in self._blobs.stream(_key(job, f"{part}.{number}")):
                await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(file.flush)
        return Path(f"/proc/self/fd/{file.fileno()}")

    def _forget_idle(self) -> None:
        """Close what nobody has in hand, but for the jobs that were used last."""
        idle = [job for job, copy in self._copies.items() if not copy.users]
        unfinished = [job for job in idle if self._copies[job].lent is None]
        for job in {*idle[: max(0, len(idle) - IDLE_COPIES)], *unfinished}:
            self._copies.pop(job).close()

    def close(self) -> None:
        """Give up all local copies."""
        for copy in self._copies.values():
            copy.close()
        self._copies.clear()


class _Copy:
    """A job's rows here: how many parts have them in hand, and the files."""

    __slots__ = ("files", "lent", "lock", "users")

    def __init__(self) -> None:
        self.users = 0
        self.lock = asyncio.Lock()
        self.lent: tuple[KeptRows, Rowset] | None = None
        self.files: list[IO[bytes]] = []

    def close(self) -> None:
        for file in self.files:
            file.close()


def _nameless(folder: Path | None) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder)


def _key(job: str, part: str) -> str:
    return f"{job_prefix(job)}rows.{part}"
