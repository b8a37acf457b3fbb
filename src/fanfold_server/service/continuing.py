"""From a job that has ended to the plan of one that goes on from it.

What has returned is taken as it is, as bytes: whole batches by a link to their blobs, parts of
batches by a cut through their lines. What failed or never ran is planned anew, and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from fanfold_server.model.job import Batch, Job
from fanfold_server.service.planning import batches_of, first_index
from fanfold_server.service.reading import Reading
from fanfold_server.store.port import (
    INLINE_BYTES,
    BatchRecord,
    BatchState,
    BlobKind,
    BlobMissing,
    Blobs,
    Content,
    Ledger,
    Planned,
    blob_key,
    image_key,
)

_METER_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Calls of a finished batch that returned: from `start` up to, but without, `end`."""

    start: int
    end: int
    record: BatchRecord


class Continuing:
    """Plans the continuation of a job."""

    def __init__(self, *, ledger: Ledger, blobs: Blobs, reading: Reading) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._reading = reading

    async def plan(self, old: Job, new: str, *, times: int) -> list[Planned]:
        """Plan a job of `times` calls, and store under it the blobs that it takes.

        Args:
            old: a job that has ended.
            new: the id of the job that is about to be submitted.
            times: how many calls it has, ≥ those of the old one.
        """
        plan: list[Planned] = []
        start = first_index(old.spec)
        missing = start  # calls from here up to the next taken one are to be run
        loaded: tuple[int, Content] | None = None

        def run_up_to(end: int) -> None:
            cut = batches_of(missing, end - missing, graphics=old.spec.graphics)
            plan.extend(Planned(start=first, count=count) for first, count in cut)

        async for run in self._taken(old.id):
            if run.start > missing:
                run_up_to(run.start)
            record = run.record
            target = Batch(
                job=new, number=len(plan), start=run.start, count=run.end - run.start, fence=0
            )
            if target.count == record.batch.count:
                plan.append(await self._whole(record, target))
            else:
                if loaded is None or loaded[0] != record.batch.number:
                    loaded = (record.batch.number, await self._content(record))
                plan.append(await self._part(record, loaded[1], target))
            missing = run.end
        end = start + times
        if missing < end:
            run_up_to(end)
        return plan

    async def cut(self, record: BatchRecord, target: Batch) -> Planned:
        """Take some calls of a batch, and store their blobs under another.

        Args:
            record: a finished batch.
            target: what it is called from now, and which calls; its number and fence are new.
        """
        return await self._part(record, await self._content(record), target)

    async def _taken(self, job: str) -> AsyncIterator[_Run]:
        """Yield the stretches of calls that returned, in index order, none over two batches."""
        async for record in self._reading.batches(job):
            if record.state is not BatchState.FINISHED or not record.returned:
                continue
            batch = record.batch
            start = batch.start
            if record.failed:
                end = batch.start + await self._lines(record)
                rows = await self._ledger.failures(job, start=start, limit=batch.count)
                for row in rows:
                    if row.index >= end:
                        break
                    if row.index > start:
                        yield _Run(start=start, end=row.index, record=record)
                    start = row.index + 1
            else:
                end = batch.start + record.returned
            if end > start:
                yield _Run(start=start, end=end, record=record)

    async def _lines(self, record: BatchRecord) -> int:
        """Count the calls of a finished batch that have a line: all, or those before a gap."""
        if record.returned + record.failed == record.batch.count:
            return record.batch.count
        return sum([stretch.count async for stretch in self._reading.lines(record)])

    async def _content(self, record: BatchRecord) -> Content:
        form = self._reading.form
        return Content(
            values=await form(record, BlobKind.VALUES),
            meters=await form(record, BlobKind.METERS),
            logs=await form(record, BlobKind.LOGS),
            images=await form(record, BlobKind.IMAGES),
        )

    async def _whole(self, record: BatchRecord, target: Batch) -> Planned:
        """Take a batch of which every call returned."""
        if record.content is not None:
            return await self._kept(record, record.content, target)
        for kind in BlobKind:
            try:
                await self._blobs.copy(blob_key(record.batch, kind), blob_key(target, kind))
            except BlobMissing:
                if kind is BlobKind.VALUES:
                    raise
        images = await self._reading.form(record, BlobKind.IMAGES)
        await self._copy_images(record, images, target)
        return Planned(
            start=target.start,
            count=target.count,
            taken=Content(values=b""),
            size_bytes=record.size_bytes,
        )

    async def _part(self, record: BatchRecord, content: Content, target: Batch) -> Planned:
        """Take some calls of a batch."""
        first = target.start - record.batch.start
        last = first + target.count
        values = b"".join(content.values.splitlines(keepends=True)[first:last])
        meters = b""
        if content.meters:
            half = len(content.meters) // 2
            a, b = first * _METER_BYTES, last * _METER_BYTES
            meters = content.meters[a:b] + content.meters[half + a : half + b]
        part = Content(
            values=values,
            meters=meters,
            logs=_of(content.logs, target),
            images=_of(content.images, target),
        )
        return await self._kept(record, part, target)

    async def _kept(self, record: BatchRecord, content: Content, target: Batch) -> Planned:
        """Keep bytes in the new job's row, or in blobs if there are some anyway or too many."""
        size = await self._copy_images(record, content.images, target)
        if size or content.size_bytes > INLINE_BYTES:
            forms = (content.values, content.meters, content.logs, content.images)
            await self._blobs.write(
                {
                    blob_key(target, kind): form
                    for kind, form in zip(BlobKind, forms, strict=True)
                    if form or kind is BlobKind.VALUES
                }
            )
            size += content.size_bytes
            content = Content(values=b"")
        return Planned(start=target.start, count=target.count, taken=content, size_bytes=size)

    async def _copy_images(self, record: BatchRecord, images: bytes, target: Batch) -> int:
        """Store the images that are listed under the new batch, too; return their bytes."""
        size = 0
        for line in images.splitlines():
            entry = orjson.loads(line)
            index, number = entry["index"], entry["id"]
            source = image_key(record.batch, index, number)
            await self._blobs.copy(source, image_key(target, index, number))
            size += entry["size"]
        return size


def _of(ndjson: bytes, target: Batch) -> bytes:
    """Keep the lines that are about a batch's calls."""
    if not ndjson:
        return b""
    calls = range(target.start, target.start + target.count)
    lines = ndjson.splitlines(keepends=True)
    return b"".join([line for line in lines if orjson.loads(line)["index"] in calls])
