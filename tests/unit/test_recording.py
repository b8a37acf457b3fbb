"""What the calls of a batch brought, as the bytes that are stored."""

from __future__ import annotations

import json
import struct

from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.model.job import Batch
from fanfold_server.model.outcome import (
    Failed,
    Failure,
    FailureKind,
    Image,
    Returned,
    Values,
)
from fanfold_server.service.planning import MAX_BATCH, MAX_DRAWN_BATCH, batches_of
from fanfold_server.service.recording import BatchRecorder
from fanfold_server.store.port import INLINE_BYTES, Content

BATCH = Batch(job="j", number=3, start=11, count=6, fence=2)


def _recorder() -> BatchRecorder:
    return BatchRecorder(BATCH, indexed=True)


def _raised(index: int, kind: FailureKind = FailureKind.RAISED) -> Failed:
    failure = Failure(kind=kind, type="E", message=f"at {index}")
    return Failed(index=index, failure=failure, log="said", elapsed_us=7, peak_kib=8)


def _meters(*pairs: tuple[int, int]) -> bytes:
    elapsed, peaks = zip(*pairs, strict=True)
    return struct.pack(f"<{2 * len(pairs)}I", *elapsed, *peaks)


def _content(recorder: BatchRecorder) -> Content:
    content = recorder.recorded().result.content
    assert content is not None
    return content


def test_there_is_a_line_for_each_call_in_index_order_whatever_comes_first() -> None:
    recorder = _recorder()
    recorder.values(Values(start=14, count=2, json=b"[4,4],5", meters=_meters((40, 4), (50, 5))))
    recorder.outcome(_raised(16))
    assert not recorder.is_complete
    recorder.outcome(Returned(index=13, json=b"3", log="three\n", elapsed_us=30, peak_kib=3))
    recorder.values(Values(start=11, count=2, json=b'"a,b",2.0'))
    assert recorder.is_complete
    result = recorder.recorded().result
    content = _content(recorder)
    assert content.values == b'"a,b"\n2.0\n3\n[4,4]\n5\nnull\n'
    assert content.logs == b'{"index":13,"log":"three\\n"}\n'
    assert content.meters == _meters((0, 0), (0, 0), (30, 3), (40, 4), (50, 5), (7, 8))
    assert result.returned == 5
    assert [failure.index for failure in result.failures] == [16]
    assert result.failures[0].log == "said"


def test_line_breaks_of_a_worker_stay_within_their_line() -> None:
    """JSON allows them between its parts; ours never sends them, but a worker is hostile."""
    recorder = _recorder()
    recorder.values(Values(start=11, count=2, json=b"[1,\r\n2]\n,\n3"))
    recorder.outcome(Returned(index=13, json=b"{\n}"))
    lines = _content(recorder).values.split(b"\n")
    assert [json.loads(line) for line in lines[:-1]] == [[1, 2], 3, {}]


def test_of_a_batch_that_ended_early_only_what_has_no_gap_before_it_is_kept() -> None:
    recorder = _recorder()
    recorder.values(Values(start=11, count=2, json=b"1,2"))
    recorder.values(Values(start=14, count=1, json=b"4"))
    recorder.outcome(_raised(15))
    result = recorder.recorded().result
    assert _content(recorder).values == b"1\n2\n"
    assert result.returned == 2
    assert [failure.index for failure in result.failures] == [15]
    assert result.error is not None
    assert result.error["index"] == 15


def test_a_fatal_failure_is_blamed_before_the_first() -> None:
    recorder = _recorder()
    recorder.outcome(_raised(13, FailureKind.LOAD))
    recorder.outcome(_raised(11))
    error = recorder.recorded().result.error
    assert error is not None
    assert error["errorCode"] == FailureKind.LOAD


def test_what_is_too_much_for_a_row_goes_into_blobs() -> None:
    recorder = _recorder()
    recorder.values(Values(start=11, count=1, json=b'"%s"' % (b"x" * INLINE_BYTES)))
    recorded = recorder.recorded()
    assert recorded.result.content is None
    assert set(recorded.blobs) == {"jobs/j/j/3-2.values", "jobs/j/j/3-2.meters"}
    assert recorded.result.size_bytes == sum(map(len, recorded.blobs.values()))


def test_images_are_blobs_of_their_own_and_their_titles_are_listed() -> None:
    recorder = _recorder()
    drawn = (Image(png=b"one", title="\ud800 & co"), Image(png=b"three", title=None))
    recorder.outcome(Returned(index=11, json=b"null", images=drawn))
    recorder.outcome(Returned(index=14, json=b"null", images=drawn))
    recorded = recorder.recorded()
    assert recorded.blobs == {
        "jobs/j/j/3-2.images/11-1.png": b"one",
        "jobs/j/j/3-2.images/11-2.png": b"three",
    }, "those behind a gap are not kept"
    listed = [json.loads(line) for line in _content(recorder).images.splitlines()]
    assert listed == [
        {"index": 11, "id": 1, "title": "? & co", "size": 3},
        {"index": 11, "id": 2, "title": None, "size": 5},
    ]


@given(st.integers(0, 1), st.integers(1, 3_000_000), st.booleans(), st.booleans())
def test_batches_are_the_calls_in_order_without_a_gap(
    start: int, times: int, canary: bool, graphics: bool
) -> None:
    most = MAX_DRAWN_BATCH if graphics else MAX_BATCH
    end = start
    for number, (first, count) in enumerate(
        batches_of(start, times, canary=canary, graphics=graphics)
    ):
        assert first == end
        assert 1 <= count <= most
        assert number or not canary or count == 1
        end = first + count
    assert end == start + times
