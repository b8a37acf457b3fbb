"""What the calls of a batch brought, as the bytes that are stored."""

from __future__ import annotations

import json
import random
import struct
from dataclasses import replace

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


@given(
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    pieces=st.lists(st.integers(1, 4), min_size=1, max_size=20),
    failing=st.sets(st.integers(0, 24)),
    order=st.randoms(use_true_random=False),
)
def test_batches_that_ran_as_one_are_recorded_as_if_each_had_run_by_itself(
    cuts: list[int], pieces: list[int], failing: set[int], order: random.Random
) -> None:
    """Wherever a worker cuts what it sends, and whatever comes first."""
    starts = [11 + sum(cuts[:n]) for n in range(len(cuts))]
    batches = [
        Batch(job="j", number=n, start=start, count=count, fence=2 + n)
        for n, (start, count) in enumerate(zip(starts, cuts, strict=True))
    ]
    total = sum(cuts)
    whole = BatchRecorder(replace(batches[0], count=total), indexed=True)
    alone = [BatchRecorder(batch, indexed=True) for batch in batches]
    sent: list[Values | Returned | Failed] = []
    at = 0
    for size in [*pieces, *[1] * total]:
        here = range(at, min(at + size, total))
        at += len(here)
        if failing & set(here) or len(here) == 1:
            sent += [
                _raised(11 + i)
                if i in failing
                else Returned(index=11 + i, json=b"%d" % i, log=f"l{i}", elapsed_us=i, peak_kib=9)
                for i in here
            ]
        elif here:
            meters = _meters(*((i, 2 * i) for i in here))
            sent.append(Values(start=11 + here[0], count=len(here), meters=meters,
                               json=b",".join(b'["%d"]' % i for i in here)))  # fmt: skip
    order.shuffle(sent)
    for one in sent:
        if not isinstance(one, Values):
            whole.outcome(one)
            next(a for a, b in zip(alone, batches, strict=True)
                 if b.start <= one.index < b.start + b.count).outcome(one)  # fmt: skip
            continue
        whole.values(one)
        for i in range(one.start, one.start + one.count):
            a = next(a for a, b in zip(alone, batches, strict=True)
                     if b.start <= i < b.start + b.count)  # fmt: skip
            a.values(Values(start=i, count=1, json=b'["%d"]' % (i - 11),
                            meters=_meters((i - 11, 2 * (i - 11)))))  # fmt: skip
    assert whole.is_complete
    assert [part.recorded() for part in whole.split(batches)] == [a.recorded() for a in alone]


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
