"""The server's end of a channel: frames however they are cut, and nothing worse than hanging up."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold_runtime import protocol as p
from fanfold_server.engine.leases import Lease
from fanfold_server.engine.port import Ask
from fanfold_server.engine.worker import Held, State, Worker, end_frame, lease_frame
from fanfold_server.model.outcome import Outcome, Values
from tests.fakes.words import script_of

RUN = 5
KEY = bytes(32)
SCRIPT = script_of("def f(i): return i", owner="ANN")
MAX_FRAME_BYTES = 1 << 20
KINDS = ("values", "parts", "returned", "failed")


@dataclass
class Heard:
    """Takes what a worker says, as the engine does, and remembers it."""

    events: list[Any] = field(default_factory=list)
    is_silent: bool = False

    def worker_ready(self, worker: Worker) -> None:
        worker.state = State.BUSY
        self.events.append("ready")

    def worker_values(self, worker: Worker, run: int, values: Values) -> None:
        _ = worker
        self.events.append((run, values))

    def worker_outcome(self, worker: Worker, run: int, outcome: Outcome) -> None:
        _ = worker
        self.events.append((run, outcome))

    def worker_returned(self, worker: Worker, run: int, start: int, count: int, us: int) -> None:
        worker.take_back(start, count)
        self.events.append((run, start, count, us))

    def worker_retires(self, worker: Worker, reason: str) -> None:
        _ = worker
        self.events.append(reason)

    def worker_silent(self, worker: Worker) -> None:
        _ = worker
        self.is_silent = True

    def worker_asked(self, worker: Worker, ask: Ask) -> None:
        _ = worker
        self.events.append(ask)


class Line:
    """A transport that takes anything, and can be cut."""

    def __init__(self) -> None:
        self.is_cut = False
        self.sent = b""

    def write(self, data: bytes) -> None:
        assert data
        self.sent += data

    def abort(self) -> None:
        self.is_cut = True


@dataclass
class Going:
    """A run, as far as a worker asks for it."""

    number: int


@pytest.fixture(scope="module")
def log() -> Iterator[int]:
    number = os.memfd_create("log")
    yield number
    os.close(number)


def worker_with(
    leases: list[Lease], log: int, *, is_attached: bool = True
) -> tuple[Worker, Heard, Line]:
    heard, line = Heard(), Line()
    side = cast("socket.socket", None)  # nothing here is given files
    worker = Worker(1, heard, log, side, max_frame_bytes=MAX_FRAME_BYTES)
    worker.connection_made(cast("asyncio.BaseTransport", line))
    if is_attached:
        worker.attached()
    worker.run = Going(RUN)
    worker.held = [Held(lease) for lease in leases]
    return worker, heard, line


def frame(kind: int, *parts: bytes) -> bytes:
    return b"".join(p.frame(kind, *parts))


def outcome_frame(index: int, header: dict[str, object], *parts: bytes) -> bytes:
    head = json.dumps(header).encode()
    return frame(p.OUTCOME, p.OUTCOME_HEADER.pack(RUN, index, len(head)), head, *parts)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Lease], list[bytes]]:
    """Draw what a good worker says about one to three leases: (leases, frames)."""
    frames = [frame(p.HELLO, b"{}")]
    leases = []
    at = 1
    for _ in range(draw(st.integers(1, 3))):
        start = at
        for kind in draw(
            st.lists(st.sampled_from(["values", "parts", "returned", "failed"]), max_size=4)
        ):
            if kind == "values":
                values = draw(st.lists(st.integers() | st.text(), min_size=1, max_size=5))
                text = json.dumps(values).encode()
                head = p.VALUES_HEADER.pack(RUN, at, len(values), 0, 0)
                frames.append(frame(p.VALUES, head, text))
                at += len(values)
                continue
            if kind == "parts":
                parts = draw(st.lists(st.sampled_from([b"[1]", b'["a",2]', b""]), max_size=4))
                frames.extend(frame(p.PART, p.PART_HEADER.pack(RUN, at), part) for part in parts)
                frames.append(frame(p.VALUES, p.VALUES_HEADER.pack(RUN, at, 1, 0, 0), b"[[9]]"))
                at += 1
                continue
            header: dict[str, object] = {
                "value": 1,
                "log": 3,
                "elapsed_us": 7,
                "images": [[2, "t"]],
            }
            body = (b"5", b"log", b"\x89P")
            if kind == "failed":
                header |= {"failure": [p.RAISED, "E", "m", "t"], "value": 0, "images": []}
                body = (b"", b"log", b"")
            frames.append(outcome_frame(at, header, *body))
            at += 1
        frames.append(frame(p.DONE, p.DONE_HEADER.pack(RUN, start, at - start, 9)))
        at += 1  # a lease has a call at least, so this one came back unfinished
        leases.append(Lease(start, at - start))
    return leases, frames


@given(talk=conversations(), data=st.data())
@settings(  # how long the first inputs take to make is the machine's matter
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_frames_are_the_same_however_the_bytes_are_cut(
    talk: tuple[list[Lease], list[bytes]], data: st.DataObject, log: int
) -> None:
    leases, frames = talk
    whole, heard_whole, line = worker_with(leases, log)
    for one in frames:
        whole.data_received(one)
    stream = b"".join(frames)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    cut, heard_cut, cut_line = worker_with(leases, log)
    for start, end in pairwise([0, *cuts, len(stream)]):
        cut.data_received(stream[start:end])
    assert heard_cut.events == heard_whole.events
    assert not line.is_cut
    assert not cut_line.is_cut
    assert len([e for e in heard_whole.events if isinstance(e, tuple) and len(e) == 4]) == len(
        leases
    )


garbage = st.binary(max_size=200)
half_true = st.builds(
    lambda kind, body: p.LENGTH.pack(1 + len(body)) + bytes((kind,)) + body,
    st.sampled_from([p.HELLO, p.VALUES, p.OUTCOME, p.DONE, p.RETIRE, p.METERS, p.PART, 0, 255]),
    st.binary(max_size=80)
    | st.builds(
        lambda run, start, count, final, text: (
            p.VALUES_HEADER.pack(run, start, count, 0, final) + text
        ),
        st.just(RUN) | st.integers(0, 9),
        st.integers(0, 5),
        st.integers(0, 5) | st.just((1 << 64) - 1),
        st.integers(0, 1),
        st.sampled_from([b"", b"[", b"[1]", b"[1,2]", b"[1,]", b"[NaN]", b'["\xff"]', b"{}"])
        | st.binary(max_size=20),
    )
    | st.builds(
        lambda index, header, rest: p.OUTCOME_HEADER.pack(RUN, index, len(header)) + header + rest,
        st.integers(0, 5),
        st.dictionaries(
            st.sampled_from(["value", "log", "images", "elapsed_us", "failure", "peak_kib"]),
            st.none()
            | st.integers()
            | st.floats()
            | st.text(max_size=5)
            | st.lists(st.lists(st.integers(-9, 9) | st.text(max_size=2), max_size=4), max_size=2),
        ).map(lambda header: json.dumps(header).encode()),
        st.binary(max_size=20),
    ),
)


@given(pieces=st.lists(garbage | half_true, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
def test_garbage_does_nothing_worse_than_hanging_up(pieces: list[bytes], log: int) -> None:
    """Whoever runs a script may write to every descriptor of its process."""
    worker, heard, line = worker_with([Lease(1, 3), Lease(4, 2)], log)
    worker.state = State.BUSY
    for piece in pieces:
        worker.data_received(piece)
        if line.is_cut:
            break
    known: list[int] = []
    for event in heard.events:
        match event:
            case (int(run), Values() as values):
                assert run == RUN
                assert len(json.loads(b"[" + values.json + b"]")) == values.count
                known += range(values.start, values.start + values.count)
            case (int(run), outcome) if hasattr(outcome, "index"):
                assert run == RUN
                known.append(outcome.index)
            case _:
                continue
    assert known == sorted(set(known)), "no call has two outcomes, and they come in order"
    assert set(known) <= {1, 2, 3, 4, 5}


def test_only_a_worker_that_starts_may_say_so(log: int) -> None:
    worker, heard, line = worker_with([], log)
    worker.data_received(frame(p.HELLO, b"{}"))
    assert heard.events == ["ready"]
    worker.data_received(frame(p.HELLO, b"{}"))
    assert line.is_cut
    assert heard.events == ["ready"]


def test_a_worker_retires_after_the_end_of_its_run_alone(log: int) -> None:
    """Else a script that forges the word would be tried again for ever."""
    retire = frame(p.RETIRE, b'{"reason": "old"}')
    worker, heard, line = worker_with([Lease(1, 2)], log)
    worker.data_received(retire)
    assert line.is_cut
    assert heard.events == []
    worker, heard, line = worker_with([Lease(1, 2)], log)
    worker.end(RUN - 1)  # the run before
    worker.data_received(retire)
    assert heard.events == ["old"]
    assert not line.is_cut


def test_a_frame_about_another_run_is_forged(log: int) -> None:
    """To count it would lose the call in hand."""
    worker, heard, line = worker_with([Lease(1, 2)], log)
    worker.data_received(frame(p.VALUES, p.VALUES_HEADER.pack(RUN + 1, 1, 1, 0, 0), b"[1]"))
    assert line.is_cut
    assert heard.events == []
    assert worker.held[0].done == 0


def test_a_channel_is_cut_only_when_its_socket_is_attached(log: int) -> None:
    """Until then uvloop would close the descriptor twice."""
    worker, heard, line = worker_with([], log, is_attached=False)
    worker.data_received(bytes(9))
    worker.data_received(frame(p.HELLO, b"{}"))
    assert not line.is_cut
    assert heard.events == []
    worker.attached()
    assert line.is_cut


def test_a_worker_that_forges_is_told_of_as_such(log: int) -> None:
    worker, _, line = worker_with([], log)
    worker.data_received(bytes(9))
    assert line.is_cut
    assert "written to the channel" in worker.fate


def begin(worker: Worker, run: int, lease: Lease, *, is_only: bool) -> None:
    """Give a lease of a run to an idle worker, as the engine does."""
    worker.run = Going(run)
    worker.begin(
        script=SCRIPT,
        header=p.RUN_HEADER.pack(run, KEY, 7, 0, 5000, 1 << 20, 1 << 10, 1),
        parameters=b"{}",
        lease=lease,
        lease_frame=lease_frame(run, lease, 0),
        end=end_frame(run) if is_only else b"",
    )


@given(stints=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_stint_is_ended_once_and_may_be_retired_from(
    stints: list[tuple[bool, bool]], log: int
) -> None:
    """Also where a worker is given more of a run that it has been released from."""
    retire = frame(p.RETIRE, b'{"reason": "old"}')
    worker, heard, line = worker_with([], log)
    run = RUN
    for at, (is_only, is_same) in enumerate(stints, 1):
        is_again = is_same and not is_only and at > 1
        run = run if is_again else run + 1
        begin(worker, run, Lease(at, 1), is_only=is_only)
        worker.data_received(frame(p.VALUES, p.VALUES_HEADER.pack(run, at, 1, 5, 1), b"[1]"))
        worker.run = None
        worker.end(run)
        assert frames_of(line.sent).count(p.END) == at
    begin(worker, run, Lease(99, 1), is_only=False)
    worker.data_received(retire)
    assert heard.events[-1] == "old"
    assert not line.is_cut


def frames_of(sent: bytes) -> list[int]:
    """List the kinds of the frames in a stream."""
    kinds, at = [], 0
    while at < len(sent):
        (size,) = p.LENGTH.unpack_from(sent, at)
        kinds.append(sent[at + 4])
        at += 4 + size
    return kinds


def part_frame(text: bytes, *, run: int = RUN, index: int = 1) -> bytes:
    return frame(p.PART, p.PART_HEADER.pack(run, index), text)


def values_frame(text: bytes, count: int = 1, start: int = 1) -> bytes:
    return frame(p.VALUES, p.VALUES_HEADER.pack(RUN, start, count, 0, 0), text)


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_value_is_what_has_come_of_it_in_parts(log: int, *, is_alone: bool) -> None:
    worker, heard, line = worker_with([Lease(1, 3)], log)
    for text in (b"[7]", b"", b'[1,{"a":[2]}]', b'[ "\xc3\xa9" ]'):
        worker.data_received(part_frame(text))
    header = {"value": 6, "log": 0, "elapsed_us": 7, "images": []}
    rest = outcome_frame(1, header, b"[3, 4]") if is_alone else values_frame(b"[[3, 4]]")
    worker.data_received(rest)
    worker.data_received(values_frame(b"[5,6]", 2, 2))
    assert not line.is_cut
    texts = [event.json for _, event in heard.events]
    assert texts == [b'[1,{"a":[2]}, "\xc3\xa9" ,3, 4]', b"5,6"]


def test_parts_of_a_call_that_fails_after_all_are_void(log: int) -> None:
    worker, heard, line = worker_with([Lease(1, 2)], log)
    worker.data_received(part_frame(b"[1]"))
    header = {"value": 0, "log": 0, "elapsed_us": 7, "images": [], "failure": [3001, "E", "m", ""]}
    worker.data_received(outcome_frame(1, header))
    worker.data_received(values_frame(b"[[2]]", 1, 2))
    assert not line.is_cut
    assert [event.json for _, event in heard.events if isinstance(event, Values)] == [b"[2]"]


@pytest.mark.parametrize(
    "frames",
    [
        [part_frame(b"1")],
        [part_frame(b"[]")],
        [part_frame(b"[ ]")],
        [part_frame(b"[1],[2]")],
        [part_frame(b'[1],"x":[2]')],
        [part_frame(b"[NaN]")],
        [part_frame(b'["\xff"]')],
        [part_frame(b"[1]", run=RUN + 1)],
        [part_frame(b"[1]", index=2)],
        [part_frame(b"[1]"), values_frame(b"[[2],[3]]", 2)],
        [part_frame(b"[1]"), values_frame(b"[2]")],
        [part_frame(b"[1]"), values_frame(b"[[]]")],
        [part_frame(b"[1]"), frame(p.DONE, p.DONE_HEADER.pack(RUN, 1, 0, 0))],
        [part_frame(b"[%b]" % b",".join([b"1"] * 1000))] * (MAX_FRAME_BYTES // 1000),
    ],
)
def test_parts_that_make_no_array_are_forged(frames: list[bytes], log: int) -> None:
    worker, _, line = worker_with([Lease(1, 3)], log)
    for one in frames:
        worker.data_received(one)
    assert line.is_cut
