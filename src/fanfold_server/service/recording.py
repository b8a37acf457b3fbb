"""What the calls of one batch brought, gathered while they run, as the bytes that are stored.

Values stay the bytes that the worker sent: they are cut apart, never decoded. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter

import msgspec
import orjson

from fanfold_server.model.job import Batch
from fanfold_server.model.outcome import Failed, Failure, FailureKind, Returned, Values
from fanfold_server.service.folding import failure_members, named
from fanfold_server.store.port import (
    INLINE_BYTES,
    BatchResult,
    BlobKind,
    CallFailure,
    Content,
    blob_key,
    image_key,
)

_texts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_index = attrgetter("index")
_first = itemgetter(0)

_U32 = struct.Struct("<I")
_MAX_U32 = 0xFFFFFFFF
_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A batch's result, and the blobs that have to be on disk before it is finished."""

    result: BatchResult
    blobs: Mapping[str, bytes]


class BatchRecorder:
    """Takes what comes of a batch's calls; the `Recorder` of the engine's port."""

    __slots__ = (
        "_batch",
        "_elapsed",
        "_failed",
        "_images",
        "_indexed",
        "_keys",
        "_lines",
        "_logs",
        "_peaks",
    )

    def __init__(self, batch: Batch, *, indexed: bool, keys: Sequence[str] | None = None) -> None:
        self._batch = batch
        self._keys = keys
        self._indexed = indexed
        self._lines: list[tuple[int, int, bytes]] = []  # first index, count, lines
        self._failed: list[Failed] = []
        self._logs: list[tuple[int, str]] = []
        self._images: list[Returned] = []
        self._elapsed = bytearray(_U32.size * batch.count)
        self._peaks = bytearray(_U32.size * batch.count)

    def values(self, values: Values) -> None:
        text = _one_line(values.json)
        if values.count > 1:
            text = b"\n".join(_texts(b"[%b]" % text))
        self._lines.append((values.start, values.count, text + b"\n"))
        if values.meters:
            at = (values.start - self._batch.start) * _U32.size
            half = values.count * _U32.size
            self._elapsed[at : at + half] = values.meters[:half]
            self._peaks[at : at + half] = values.meters[half:]

    def outcome(self, outcome: Returned | Failed) -> None:
        at = (outcome.index - self._batch.start) * _U32.size
        _U32.pack_into(self._elapsed, at, min(outcome.elapsed_us, _MAX_U32))
        _U32.pack_into(self._peaks, at, min(outcome.peak_kib, _MAX_U32))
        if isinstance(outcome, Failed):
            self._failed.append(outcome)
            return
        self._lines.append((outcome.index, 1, _one_line(outcome.json) + b"\n"))
        if outcome.log:
            self._logs.append((outcome.index, outcome.log))
        if outcome.images:
            self._images.append(outcome)

    @property
    def is_complete(self) -> bool:
        """Whether every call has its outcome."""
        return self._known == self._batch.count

    @property
    def has_failed(self) -> bool:
        return bool(self._failed)

    @property
    def _known(self) -> int:
        return sum(count for _, count, _ in self._lines) + len(self._failed)

    @property
    def elapsed(self) -> bytes:
        """Microseconds of each call, little-endian u32; 0 where it has no outcome."""
        return bytes(self._elapsed)

    def split(self, batches: Sequence[Batch]) -> list[BatchRecorder]:
        """Give each of the batches, which follow one another, its part of what ran as one."""
        self._lines.sort(key=_first)
        parts = []
        lines = [
            (index, text + b"\n")
            for start, _, joined in self._lines
            for index, text in enumerate(joined[:-1].split(b"\n"), start)
        ]
        at = 0
        for batch in batches:
            part = BatchRecorder(batch, indexed=self._indexed, keys=self._keys)
            end = batch.start + batch.count
            while at < len(lines) and lines[at][0] < end:
                part._lines.append((lines[at][0], 1, lines[at][1]))
                at += 1
            here = range(batch.start, end)
            part._failed = [failed for failed in self._failed if failed.index in here]
            part._logs = [entry for entry in self._logs if entry[0] in here]
            part._images = [returned for returned in self._images if returned.index in here]
            cut = slice(*((i - self._batch.start) * _U32.size for i in (batch.start, end)))
            part._elapsed, part._peaks = self._elapsed[cut], self._peaks[cut]
            parts.append(part)
        return parts

    def recorded(self) -> Recorded:
        """Return what is to be stored.

        Of a batch that was ended by a failed call, only what comes before the first call without an
        outcome, and the failures: what has finished beyond it would need a list of its own.
        """
        self._failed.sort(key=_index)
        lines, returned, end = self._joined()
        content = Content(
            values=lines,
            meters=bytes(self._elapsed + self._peaks),
            logs=_ndjson({"index": i, "log": _clean(log)} for i, log in sorted(self._logs)),
            images=_ndjson(
                {"index": r.index, "id": n, "title": _clean(image.title), "size": len(image.png)}
                for r in sorted(self._images, key=_index)
                for n, image in enumerate(r.images, 1)
                if r.index < end
            ),
        )
        batch = self._batch
        blobs = {
            image_key(batch, r.index, n): image.png
            for r in self._images
            for n, image in enumerate(r.images, 1)
            if r.index < end
        }
        inline = content.size_bytes <= INLINE_BYTES
        if not inline:
            forms = (content.values, content.meters, content.logs, content.images)
            blobs |= {
                blob_key(batch, kind): form
                for kind, form in zip(BlobKind, forms, strict=True)
                if form or kind is BlobKind.VALUES
            }
        error = None
        if self._failed:
            error = failure_members(named(self._blamed(), self._keys), indexed=self._indexed)
        return Recorded(
            result=BatchResult(
                batch=batch,
                returned=returned,
                failures=[_call_failure(failed) for failed in self._failed],
                content=content if inline else None,
                size_bytes=sum(map(len, blobs.values())),
                error=error,
            ),
            blobs=blobs,
        )

    def _blamed(self) -> Failed:
        """Return the failure that ends the job if one does: a fatal one, else the first."""
        fatal = (failed for failed in self._failed if failed.failure.kind.is_fatal)
        return next(fatal, self._failed[0])

    def _joined(self) -> tuple[bytes, int, int]:
        """Return lines, how many of them are values, and the index up to which there is no gap."""
        parts = self._lines + [(failed.index, 1, b"null\n") for failed in self._failed]
        parts.sort(key=_first)
        end = self._batch.start
        kept = []
        for start, count, text in parts:
            if start != end:
                break
            kept.append(text)
            end += count
        failed = sum(f.index < end for f in self._failed)
        return b"".join(kept), end - self._batch.start - failed, end


def without_environment(batch: Batch, why: str, *, indexed: bool) -> BatchResult:
    """Return the result that ends a job whose environment is not there."""
    return _ended(batch, FailureKind.NO_ENVIRONMENT, "NoEnvironment", why, indexed=indexed)


def without_rows(batch: Batch, *, indexed: bool) -> BatchResult:
    """Return the result that ends a job whose rows are gone."""
    why = "the rows of this job are gone"
    return _ended(batch, FailureKind.NO_ROWS, "NoRows", why, indexed=indexed)


def _ended(batch: Batch, kind: FailureKind, name: str, why: str, *, indexed: bool) -> BatchResult:
    failure = Failure(kind=kind, type=name, message=why)
    failed = Failed(index=batch.start, failure=failure)
    return BatchResult(
        batch=batch,
        returned=0,
        failures=[_call_failure(failed)],
        content=Content(values=b""),
        error=failure_members(failed, indexed=indexed),
    )


def _call_failure(failed: Failed) -> CallFailure:
    attempts = 2 if failed.failure.kind is FailureKind.LOST else 1
    return CallFailure(
        index=failed.index,
        failure=failed.failure,
        log=failed.log,
        attempts=attempts,
        elapsed_us=min(failed.elapsed_us, _MAX_U32),
        peak_kib=min(failed.peak_kib, _MAX_U32),
    )


def _one_line(text: bytes) -> bytes:
    """Take line breaks out of a JSON text, where they can only be blanks between its parts."""
    return text.translate(_LINE_BREAKS) if b"\n" in text or b"\r" in text else text


def _ndjson(objects: Iterable[object]) -> bytes:
    return b"".join(orjson.dumps(thing) + b"\n" for thing in objects)


def _clean(text: str | None) -> str | None:
    """Replace lone surrogates, which have no UTF-8 form."""
    return None if text is None else text.encode("utf-8", "replace").decode()
