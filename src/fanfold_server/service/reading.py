"""From a job's stored batches to values, images and the one JSON answer, a piece at a time.

The answer is byte for byte what `folding.py` makes of a synchronous call; nothing here holds more
than one batch's row or one chunk of a blob.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import assert_never

import orjson

from fanfold_server.model.apply import Chunks, Groups, Index, Once, OnError, Split, Whole
from fanfold_server.model.job import Job
from fanfold_server.model.outcome import Failed, Image, Returned
from fanfold_server.service.folding import (
    call_member,
    error_entry,
    image_objects,
    keyed,
    named,
    spliced,
)
from fanfold_server.service.planning import DATA_VERBS, is_indexed, split_of
from fanfold_server.service.rowkeeping import read_kept
from fanfold_server.store.port import (
    BatchRecord,
    BatchState,
    BlobKind,
    BlobMissing,
    Blobs,
    CallFailure,
    Content,
    Ledger,
    blob_key,
    image_key,
)

BATCHES_AT_ONCE = 50
ROWS_AT_ONCE = 1000
FAILURES_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Values of `count` calls in a row, from index `start`.

    Attributes:
        ndjson: `count` lines, each one JSON text and a line feed; `null` for a failed call.
    """

    start: int
    count: int
    ndjson: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """One stored image: image `number` (1, 2, …) of call `index` (0 for do-eval)."""

    index: int
    number: int
    title: str | None


class Reading:
    """Reads what batches have left."""

    def __init__(self, *, ledger: Ledger, blobs: Blobs) -> None:
        self._ledger = ledger
        self._blobs = blobs

    async def batches(self, job: str, *, first: int = 0) -> AsyncIterator[BatchRecord]:
        """Yield a job's batches in index order, their rows' content with them."""
        while True:
            page = await self._ledger.batches(job, first=first, limit=BATCHES_AT_ONCE, content=True)
            for record in page:
                yield record
            if len(page) < BATCHES_AT_ONCE:
                return
            first = page[-1].batch.number + 1

    async def batch_of(self, job: str, index: int) -> int:
        """Return the number of the batch that holds a call, or of the last one before it."""
        number, first = 0, 0
        while True:
            page = await self._ledger.batches(job, first=first, limit=ROWS_AT_ONCE)
            for record in page:
                if record.batch.start > index:
                    return number
                number = record.batch.number
            if len(page) < ROWS_AT_ONCE:
                return number
            first = number + 1

    async def form(self, record: BatchRecord, kind: BlobKind) -> bytes:
        """Return one form of a finished batch's outcomes, whole; empty if there is none."""
        if record.content is not None:
            return _form(record.content, kind)
        try:
            return await self._blobs.read(blob_key(record.batch, kind))
        except BlobMissing:
            if kind is BlobKind.VALUES:
                raise
            return b""

    async def lines(self, record: BatchRecord) -> AsyncIterator[Stretch]:
        """Yield the values of a finished batch, whole lines at a time."""
        start = record.batch.start
        if record.content is not None:
            text = record.content.values
            if text:
                yield Stretch(start=start, count=text.count(b"\n"), ndjson=text)
            return
        rest = b""
        async for chunk in self._blobs.stream(blob_key(record.batch, BlobKind.VALUES)):
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                rest += chunk
                continue
            text, rest = rest + chunk[:cut], chunk[cut:]
            count = text.count(b"\n")
            yield Stretch(start=start, count=count, ndjson=text)
            start += count

    async def stretches(self, job: str, *, start: int = 0) -> AsyncIterator[Stretch]:
        """Yield what has finished from index `start` on; batches that have not are left out."""
        first = await self.batch_of(job, start) if start > 1 else 0
        async for record in self.batches(job, first=first):
            if record.state is BatchState.FINISHED:
                async for stretch in self.lines(record):
                    cut = from_index(stretch, start)
                    if cut is not None:
                        yield cut

    async def failures(self, job: str, *, start: int = 0) -> AsyncIterator[CallFailure]:
        """Yield failed calls by index."""
        while True:
            page = await self._ledger.failures(job, start=start, limit=FAILURES_AT_ONCE)
            for failure in page:
                yield failure
            if len(page) < FAILURES_AT_ONCE:
                return
            start = page[-1].index + 1

    # ------------------------------------------------------------------ images

    async def images(self, record: BatchRecord) -> list[ImageEntry]:
        """List the images of a finished batch."""
        text = await self.form(record, BlobKind.IMAGES)
        entries = map(orjson.loads, text.splitlines())
        return [ImageEntry(index=e["index"], number=e["id"], title=e["title"]) for e in entries]

    async def image(self, record: BatchRecord, index: int, number: int) -> bytes:
        """Return a PNG file. Raises BlobMissing."""
        return await self._blobs.read(image_key(record.batch, index, number))

    # ------------------------------------------------------------------ the answer

    async def fold(self, job: Job) -> AsyncIterator[bytes]:
        """Yield the body of a finished job's answer in pieces."""
        spec = job.spec
        indexed = is_indexed(spec)
        split = split_of(spec)
        keys: Sequence[str] | None = None
        if spec.verb in DATA_VERBS:
            kept = await read_kept(self._blobs, job.id)
            keys = kept.keys
            if not kept.calls:
                is_list = isinstance(split, Chunks) and not spec.graphics
                yield b'{"result":[]}' if is_list else b'{"result":{}}'
                return
        if spec.graphics:
            pieces = self._drawn(job, split, keys)
        else:
            match split:
                case Once() | Whole():
                    pieces = self._single(job)
                case Index():
                    pieces = self._listed(job)
                case Chunks():
                    pieces = self._joined(job)
                case Groups():
                    pieces = self._keyed(job, keys or ())
                case _:
                    assert_never(split)
        async for piece in pieces:
            yield piece
        if spec.on_error is OnError.CONTINUE and job.failed:
            before = b',"errors":['
            async for failure in self.failures(job.id):
                entry = error_entry(named(as_failed(failure), keys), indexed=indexed)
                yield before + orjson.dumps(entry)
                before = b","
            yield b"]"
        yield b"}"

    async def _single(self, job: Job) -> AsyncIterator[bytes]:
        yield b'{"result":'
        async for stretch in self.stretches(job.id):
            yield stretch.ndjson[:-1]

    async def _listed(self, job: Job) -> AsyncIterator[bytes]:
        before = b'{"result":['
        async for stretch in self.stretches(job.id):
            yield before
            yield stretch.ndjson[:-1].replace(b"\n", b",")
            before = b","
        if before != b",":
            yield before
        yield b"]"

    async def _joined(self, job: Job) -> AsyncIterator[bytes]:
        before = b'{"result":['
        async for stretch in self.stretches(job.id):
            added = b",".join(spliced(stretch.ndjson.splitlines()))
            if added:
                yield before + added
                before = b","
        if before != b",":
            yield before
        yield b"]"

    async def _keyed(self, job: Job, keys: Sequence[str]) -> AsyncIterator[bytes]:
        before = b'{"result":{'
        async for stretch in self.stretches(job.id):
            there = keys[stretch.start - 1 : stretch.start - 1 + stretch.count]
            yield before + b",".join(map(keyed, there, stretch.ndjson.splitlines()))
            before = b","
        if before != b",":
            yield before
        yield b"}"

    async def _drawn(
        self, job: Job, split: Split, keys: Sequence[str] | None
    ) -> AsyncIterator[bytes]:
        indexed = not isinstance(split, Once | Whole)
        yield b'{"result":{' if indexed else b'{"result":['
        number, before = 0, b""
        async for record in self.batches(job.id):
            if record.state is not BatchState.FINISHED:
                continue
            async for outcome in self._outcomes(record):
                for image in image_objects(outcome, call_member(split, outcome.index, keys)):
                    yield before + (b'"%d":%s' % (number, image) if indexed else image)
                    number, before = number + 1, b","
        yield b"}" if indexed else b"]"

    async def _outcomes(self, record: BatchRecord) -> AsyncIterator[Returned | Failed]:
        """Yield the calls of a drawing batch: with their images, or as they failed."""
        batch = record.batch
        failed: dict[int, CallFailure] = {}
        if record.failed:
            found = await self._ledger.failures(batch.job, start=batch.start, limit=batch.count)
            failed = {failure.index: failure for failure in found}
        drawn: dict[int, list[ImageEntry]] = {}
        for entry in await self.images(record):
            drawn.setdefault(entry.index, []).append(entry)
        async for stretch in self.lines(record):
            for index, line in enumerate(stretch.ndjson.splitlines(), stretch.start):
                if index in failed:
                    yield as_failed(failed[index])
                    continue
                images = [
                    Image(png=await self.image(record, index, e.number), title=e.title)
                    for e in drawn.get(index, ())
                ]
                yield Returned(index=index, json=line, images=tuple(images))


def as_failed(failure: CallFailure) -> Failed:
    """Return a recorded failure as the outcome that it was."""
    return Failed(
        index=failure.index,
        failure=failure.failure,
        log=failure.log,
        elapsed_us=failure.elapsed_us,
    )


def from_index(stretch: Stretch, start: int) -> Stretch | None:
    """Return the part of a stretch from index `start` on; None if there is none."""
    skip = start - stretch.start
    if skip <= 0:
        return stretch
    if skip >= stretch.count:
        return None
    text = b"".join(stretch.ndjson.splitlines(keepends=True)[skip:])
    return Stretch(start=start, count=stretch.count - skip, ndjson=text)


def up_to_index(stretch: Stretch, end: int) -> Stretch:
    """Return the part of a stretch up to, and with, index `end`, which is in it."""
    count = end + 1 - stretch.start
    if count == stretch.count:
        return stretch
    text = b"".join(stretch.ndjson.splitlines(keepends=True)[:count])
    return Stretch(start=stretch.start, count=count, ndjson=text)


def _form(content: Content, kind: BlobKind) -> bytes:
    match kind:
        case BlobKind.VALUES:
            return content.values
        case BlobKind.METERS:
            return content.meters
        case BlobKind.LOGS:
            return content.logs
        case BlobKind.IMAGES:
            return content.images
