"""What comes from processes that run users' code, hurt in every way: frames, messages, asks.

A worker may write anything to its channels, and a zygote into whose memory a script has reached,
too. Nothing of it may hang the server, make it keep more than was sent, or raise what nobody
expects.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold_runtime import protocol as p
from fanfold_server.engine.leases import Lease
from fanfold_server.engine.lines import MAX_LINE, Lines, NoMessage
from fanfold_server.engine.port import Ask, Reply
from fanfold_server.engine.side import Side
from fanfold_server.engine.worker import State
from fanfold_server.model.outcome import Failed, Returned, Values
from tests.unit.test_protocol import MAX_FRAME_BYTES, RUN, conversations, worker_with

WITH_LOG = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
PEAK_BYTES = 4 << 20
"""What reading 64 KiB of frames may take."""


@pytest.fixture(scope="module")
def log() -> Iterator[int]:
    number = os.memfd_create("log")
    yield number
    os.close(number)


@st.composite
def hurt(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Draw bytes and change a few of them: other bits, less, more, twice."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat", "swell"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:end]
            case "insert":
                data[at:at] = draw(st.binary(max_size=12))
            case "repeat":
                data[at:at] = data[at:end]
            case "swell":
                data[at:end] = b"\xff" * (end - at)
            case _:
                continue
    return bytes(data)


TALK = conversations()


@given(data=st.data())
@settings(WITH_LOG, max_examples=300)
def test_frames_that_were_hurt_do_nothing_worse_than_hanging_up(
    data: st.DataObject, log: int
) -> None:
    leases, frames = data.draw(TALK)
    stream = data.draw(hurt(st.just(b"".join(frames))))
    worker, heard, line = worker_with(leases, log)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
    for start, end in pairwise([0, *cuts, len(stream)]):
        worker.data_received(stream[start:end])
        assert len(worker._buffer) <= end
    calls = {call for lease in leases for call in range(lease.start, lease.start + lease.count)}
    known: list[int] = []
    for event in heard.events:
        match event:
            case (run, Values() as values):
                assert run == RUN
                known += range(values.start, values.start + values.count)
            case (run, Returned() | Failed() as outcome):
                assert run == RUN
                assert min(outcome.elapsed_us, outcome.peak_kib) >= 0
                known.append(outcome.index)
            case _:
                continue
    assert known == sorted(set(known)), "no call has two outcomes"
    assert set(known) <= calls
    left = len(worker._buffer)
    assert line.is_cut or left < p.LENGTH.size or left < worker._need, "nothing whole is kept back"


@given(n=st.integers(MAX_FRAME_BYTES + 1, (1 << 32) - 1) | st.just(0), more=st.binary(max_size=64))
@settings(WITH_LOG, max_examples=30)
def test_a_frame_that_is_announced_too_long_is_not_waited_for(
    n: int, more: bytes, log: int
) -> None:
    worker, heard, line = worker_with([Lease(1, 1)], log)
    worker.data_received(p.LENGTH.pack(n) + more)
    assert line.is_cut
    worker.data_received(bytes(1 << 16))
    assert len(worker._buffer) <= len(more) + p.LENGTH.size
    assert heard.events == []


@pytest.mark.parametrize(
    "piece", [b"[", b"[[],", b'{"a":', b'"', b"1,", b"\xff", b"null,"], ids=repr
)
def test_reading_frames_takes_little_more_memory_than_they_have(piece: bytes, log: int) -> None:
    body = piece * ((64 << 10) // len(piece))
    frames = [
        p.frame(p.VALUES, p.VALUES_HEADER.pack(RUN, 1, 1, 0, 0), b"[" + body + b"]"),
        p.frame(p.OUTCOME, p.OUTCOME_HEADER.pack(RUN, 1, len(body)), body),
        p.frame(p.RETIRE, body),
        p.frame(p.HELLO, body),
    ]
    for parts in frames:
        worker, _, _ = worker_with([Lease(1, 1)], log)
        worker.state = State.BUSY
        worker.end(RUN - 1)
        tracemalloc.start()
        worker.data_received(b"".join(parts))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < PEAK_BYTES


MESSAGE = st.fixed_dictionaries(
    {"op": st.sampled_from(["ready", "forked", "exited", "?"])},
    optional={
        "id": st.integers() | st.text(max_size=3) | st.none(),
        "pid": st.integers(),
        "status": st.integers() | st.floats(),
    },
).map(lambda message: json.dumps(message).encode() + b"\n")


@given(data=st.data())
@settings(max_examples=300)
def test_messages_are_the_same_however_the_bytes_are_cut(data: st.DataObject) -> None:
    messages = data.draw(st.lists(MESSAGE, max_size=5))
    stream = b"".join(messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6).map(sorted))
    lines, found = Lines(), []
    for start, end in pairwise([0, *cuts, len(stream)]):
        found += lines.feed(stream[start:end])
    assert json.dumps(found) == json.dumps([json.loads(message) for message in messages])


@given(pieces=st.lists(st.binary(max_size=80) | hurt(MESSAGE), max_size=8))
@settings(max_examples=300)
def test_messages_that_are_none_are_an_error_and_no_other(pieces: list[bytes]) -> None:
    lines = Lines()
    try:
        for piece in pieces:
            assert all(isinstance(message, dict) for message in lines.feed(piece))
    except NoMessage:
        return


@pytest.mark.parametrize("text", [b"[" * 200_000, b"7", b'"a"', b"[]", b"9" * 5000, b"{", b"\xff"])
def test_a_line_that_is_no_message_is_refused(text: bytes) -> None:
    with pytest.raises(NoMessage):
        Lines().feed(text + b"\n")


def test_a_line_without_an_end_is_not_kept() -> None:
    lines = Lines()
    for _ in range(MAX_LINE // 4096):
        assert lines.feed(b"a" * 4096) == []
    with pytest.raises(NoMessage):
        lines.feed(b"a")


ASK = st.fixed_dictionaries(
    {
        "ask": st.integers(0, 9) | st.none(),
        "run": st.integers(0, 9) | st.text(max_size=2),
        "verb": st.text(max_size=8) | st.integers(),
    },
    optional={"name": st.text(max_size=9), "limit": st.integers()},
).map(lambda ask: json.dumps(ask).encode())


@given(
    messages=st.lists(
        ASK | st.binary(min_size=1, max_size=99) | hurt(ASK).filter(bool), max_size=6
    ),
    files=st.lists(st.integers(0, 4), min_size=6, max_size=6),
)
@settings(max_examples=150, deadline=None)
def test_asks_that_were_hurt_end_the_worker_and_nothing_else(
    messages: list[bytes], files: list[int]
) -> None:
    """Each message is one ask, or the last one; no descriptor that came with one stays open."""
    before = _descriptors()

    async def talk() -> tuple[list[Ask], int]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        asks: list[Ask] = []
        forged: list[None] = []
        came = asyncio.Event()

        def asked(ask: Ask) -> None:
            asks.append(ask)
            came.set()

        def is_forged() -> None:
            forged.append(None)
            came.set()

        side = Side(ours, asked, is_forged)
        side.open()
        with closing(theirs):
            for message, count in zip(messages, files, strict=False):
                with open("/dev/null", "rb") as file:  # noqa: ASYNC230, PTH123  # opens at once
                    socket.send_fds(theirs, [message], [file.fileno()] * count)
                async with asyncio.timeout(100):
                    await came.wait()
                came.clear()
                if forged:
                    break
                side.answer(Reply(json=b"1"))
            side.close()
        return asks, len(forged)

    asks, forged = asyncio.run(talk())
    assert forged <= 1
    for ask in asks:
        assert type(ask.run) is int
        assert isinstance(ask.verb, str)
        assert ask.payload is None, "a file that is not sealed is refused"
    assert _descriptors() == before


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_what_is_told_of_a_call_is_never_below_zero(log: int) -> None:
    """A negative length would be read from the wrong end of the frame."""
    good: dict[str, Any] = {"value": 1, "log": 0, "images": [], "elapsed_us": 1, "peak_kib": 1}
    wrong: list[dict[str, Any]] = [
        {name: -1} for name in ("value", "log", "elapsed_us", "peak_kib")
    ]
    for members in [*wrong, {"images": [[-1, "t"]]}]:
        head = json.dumps(good | members).encode()
        worker, heard, line = worker_with([Lease(1, 1)], log)
        parts = p.frame(p.OUTCOME, p.OUTCOME_HEADER.pack(RUN, 1, len(head)), head, b"5")
        worker.data_received(b"".join(parts))
        assert line.is_cut
        assert heard.events == []
