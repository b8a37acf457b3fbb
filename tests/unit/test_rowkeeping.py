"""The rows of jobs: what is lent is what was queried, and nothing is left of what is over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pyarrow as pa
import pytest

from fanfold_server.model.apply import Apply, Chunks, Groups, Input, Split
from fanfold_server.model.errors import DataUnavailable, DiskFull
from fanfold_server.model.rows import InputType, Query, Rowset
from fanfold_server.service import rowkeeping
from fanfold_server.service.rowkeeping import IDLE_COPIES, RowKeeping, read_kept
from fanfold_server.store.port import BlobMissing, job_prefix
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.rowsets import write_rowset
from tests.fakes.words import apply_of, script_of

KEYS = ("a", 'b"ü')


class Source:
    """Answers every query with two groups of rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.released: list[Rowset] = []

    async def whole(self, query: Query, *, reader: str) -> Rowset:
        raise NotImplementedError

    async def chunks(self, query: Query, *, reader: str, rows: int) -> Rowset:
        raise NotImplementedError

    async def groups(self, query: Query, *, reader: str, **_: object) -> Rowset:
        assert (query.text, reader) == ("T", "ALICE")
        table = pa.table({"a": list(range(1000))})
        return write_rowset(self._folder, table, offsets=[0, 400, 1000], keys=KEYS)

    async def release(self, rowset: Rowset) -> None:
        self.released.append(rowset)
        rowset.path.unlink()


def asked(split: Split) -> Apply:
    rows = Input(query=Query(text="T"), type=InputType.RECARRAY, na_omit=True)
    return apply_of(script_of("def f(rows): ..."), split, degree=1, rows=rows)


BY = Groups(by=("k",), column_frames=True)


@pytest.fixture(params=[1 << 20, 100])
def keeping(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[RowKeeping, Source, MemoryBlobs]:
    """Keep rows in one piece, and in many."""
    monkeypatch.setattr(rowkeeping, "PIECE_BYTES", request.param)
    source, blobs = Source(tmp_path), MemoryBlobs()
    return RowKeeping(blobs=blobs, source=source, scratch=tmp_path), source, blobs


def _content(path: Path) -> bytes:
    return path.read_bytes()


def _names(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir()}


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


Kept = tuple[RowKeeping, Source, MemoryBlobs]


async def test_what_is_lent_is_what_was_queried(keeping: Kept, tmp_path: Path) -> None:
    rows, source, blobs = keeping
    kept = await rows.keep("j1", asked(BY))
    assert len(source.released) == 1
    assert await read_kept(blobs, "j1") == kept
    assert (kept.calls, kept.keys, kept.input_type) == (2, KEYS, InputType.RECARRAY)
    assert (kept.na_omit, kept.column_frames) == (True, True)
    async with rows.lend("j1") as (told, lent):
        assert told == kept
        table = pa.ipc.open_file(_content(lent.path)).read_all()
        assert table.column(0).to_pylist() == list(range(1000))
        assert lent.offsets is not None
        cut = memoryview(_content(lent.offsets)).cast("Q")
        assert list(cut) == [0, 400, 1000]
        assert _names(tmp_path) <= {".offsets"}  # which our source does not remove
    rows.close()


async def test_parts_in_hand_share_one_copy(keeping: Kept) -> None:
    rows, _, blobs = keeping
    await rows.keep("j1", asked(BY))
    async with rows.lend("j1") as (_, first), rows.lend("j1") as (_, second):
        assert first is second
    blobs.blobs.clear()
    async with rows.lend("j1") as (_, third):  # it is still here
        assert third is first
    rows.close()
    with pytest.raises(BlobMissing):
        async with rows.lend("j1"):
            pass


async def test_copies_that_nobody_has_in_hand_are_few(keeping: Kept) -> None:
    rows, _, _ = keeping
    before = _descriptors()
    for number in range(IDLE_COPIES + 3):
        await rows.keep(f"j{number}", asked(BY))
        async with rows.lend(f"j{number}"):
            pass
    assert _descriptors() - before == 2 * IDLE_COPIES
    rows.close()
    assert _descriptors() == before


async def test_a_job_that_goes_on_has_rows_of_its_own(keeping: Kept) -> None:
    rows, _, blobs = keeping
    kept = await rows.keep("j1", asked(BY))
    await rows.copy("j1", "j2")
    await blobs.remove(job_prefix("j1"))
    async with rows.lend("j2") as (told, _):
        assert told == kept
    rows.close()


async def test_the_rowset_is_released_also_if_it_cannot_be_stored(
    keeping: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, source, blobs = keeping

    async def write(_: object) -> None:
        raise DiskFull

    monkeypatch.setattr(blobs, "write", write)
    with pytest.raises(DiskFull):
        await rows.keep("j1", asked(BY))
    assert len(source.released) == 1


async def test_without_a_source_there_is_nothing_to_query() -> None:
    with pytest.raises(DataUnavailable):
        await RowKeeping(blobs=MemoryBlobs()).keep("j1", asked(Chunks(rows=1)))


async def test_two_parts_that_begin_at_once_fetch_once(keeping: Kept) -> None:
    rows, _, _ = keeping
    await rows.keep("j1", asked(BY))

    async def part() -> Rowset:
        async with rows.lend("j1") as (_, lent):
            await asyncio.sleep(0)
            return lent

    first, second = await asyncio.gather(part(), part())
    assert first is second
    rows.close()
