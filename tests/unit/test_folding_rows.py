"""Chunks are joined in their order and groups keyed by theirs, however the calls were cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.model.apply import (
    Apply,
    Chunks,
    Groups,
    Input,
    OnError,
    Split,
    Whole,
)
from fanfold_server.model.outcome import Failed, Failure, FailureKind, Image, Returned, Values
from fanfold_server.model.rows import InputType, Query, Rowset
from fanfold_server.service.folding import Gathered, failure_members, fold, named
from fanfold_server.service.planning import plan
from tests.fakes.words import apply_of, script_of

SCRIPT = script_of("def f(rows): return rows\n")
ROWS = Input(query=Query(text="select 1"), na_omit=True)
CHUNKS = Chunks(rows=4)
GROUPS = Groups(by=("K",))


def asked(
    split: Split, *, graphics: bool = False, on_error: OnError = OnError.FAIL, degree: int = 2
) -> Apply:
    return apply_of(SCRIPT, split, graphics=graphics, on_error=on_error, degree=degree, rows=ROWS)


def rowset(calls: int, *, keys: tuple[str, ...] | None = None, cut: bool = True) -> Rowset:
    return Rowset(
        path=Path("/rows"),
        rows=calls,
        columns=("a",),
        size_bytes=1,
        offsets=Path("/cut") if cut else None,
        keys=keys,
        calls=calls,
    )


def gather(data: st.DataObject, values: list[Any]) -> Gathered:
    """Record the calls in stretches of any length and order."""
    pieces = []
    at = 0
    while at < len(values):
        n = data.draw(st.integers(1, len(values) - at))
        texts = b",".join(json.dumps(v).encode() for v in values[at : at + n])
        pieces.append(Values(start=at + 1, count=n, json=texts))
        at += n
    gathered = Gathered()
    for piece in data.draw(st.permutations(pieces)):
        gathered.values(piece)
    return gathered


def folded(apply: Apply, gathered: Gathered, keys: tuple[str, ...] | None = None) -> Any:
    return json.loads(b"".join(fold(apply, gathered, keys)))


def failed(index: int) -> Failed:
    why = Failure(kind=FailureKind.RAISED, type="ValueError", message="no")
    return Failed(index=index, failure=why)


_value = st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)
_records = st.lists(st.dictionaries(st.text(max_size=3), _value, max_size=2), max_size=4)


@given(data=st.data(), parts=st.lists(_records | st.lists(_value, min_size=1, max_size=1)))
def test_chunks_are_one_list_in_input_order(data: st.DataObject, parts: list[list[Any]]) -> None:
    """A worker sends the records of a DataFrame, or any other value in an array of its own."""
    assert folded(asked(CHUNKS), gather(data, parts)) == {"result": [v for p in parts for v in p]}


@given(data=st.data(), values=st.dictionaries(st.text(max_size=6), _value, max_size=12))
def test_groups_are_an_object_by_key(data: st.DataObject, values: dict[str, Any]) -> None:
    answer = folded(asked(GROUPS), gather(data, list(values.values())), tuple(values))
    assert answer == {"result": values}


@pytest.mark.parametrize("sent", [b"7", b'{"a":1}', b"null", b" [ ] ", b'["]"]'])
def test_a_value_that_is_no_array_spoils_nothing(sent: bytes) -> None:
    """A worker is hostile: the answer stays one JSON value."""
    gathered = Gathered()
    gathered.values(Values(start=1, count=3, json=b"[1]," + sent + b",[2]"))
    answer = folded(asked(CHUNKS), gathered)["result"]
    assert (answer[0], answer[-1]) == (1, 2)


def test_a_failed_part_is_null_and_named() -> None:
    gathered = Gathered()
    gathered.values(Values(start=1, count=1, json=b"[1,2]"))
    gathered.outcome(failed(2))
    again = asked(CHUNKS, on_error=OnError.CONTINUE)
    answer = folded(again, gathered)
    assert answer["result"] == [1, 2, None]
    assert [e["index"] for e in answer["errors"]] == [2]
    answer = folded(asked(GROUPS, on_error=OnError.CONTINUE), gathered, ("F", "M_97"))
    assert answer["result"] == {"F": [1, 2], "M_97": None}
    assert [(e["index"], e["name"]) for e in answer["errors"]] == [(2, "M_97")]
    assert failure_members(named(failed(2), ("F", "M_97")), indexed=True)["name"] == "M_97"


def test_no_rows_is_an_empty_answer() -> None:
    assert folded(asked(CHUNKS), Gathered()) == {"result": []}
    assert folded(asked(GROUPS), Gathered(), ()) == {"result": {}}
    assert folded(asked(CHUNKS, graphics=True), Gathered()) == {"result": {}}


def test_images_say_which_part_drew_them() -> None:
    """Wire reference, §11: keyed from "0", with NAME the chunk's number or the group's key."""
    gathered = Gathered()
    gathered.outcome(Returned(index=2, json=b"[2.0]", images=(Image(png=b"p", title=None),)))
    gathered.outcome(Returned(index=1, json=b"1", images=()))
    drawn = {"IMAGE": "cA==", "DATA": "[2.0]", "ID": 1}
    assert folded(asked(CHUNKS, graphics=True), gathered) == {
        "result": {"0": {"DATA": "1", "NAME": "1"}, "1": {**drawn, "NAME": "2"}}
    }
    assert folded(asked(GROUPS, graphics=True), gathered, ("a", 'b"')) == {
        "result": {"0": {"DATA": "1", "NAME": "a"}, "1": {**drawn, "NAME": 'b"'}}
    }
    whole = Gathered()
    whole.outcome(Returned(index=0, json=b"[2.0]", images=(Image(png=b"p", title=None),)))
    assert folded(asked(Whole(), graphics=True), whole) == {"result": [drawn]}


@given(calls=st.integers(1, 1000), degree=st.integers(1, 8))
def test_a_plan_has_every_part_once(calls: int, degree: int) -> None:
    for split, keys in ((CHUNKS, None), (GROUPS, tuple(map(str, range(calls))))):
        rows = rowset(calls, keys=keys)
        work = plan(asked(split, degree=degree), timeout_s=1.0, keep_logs=False, rows=rows)
        assert (work.start, work.count, work.indexed) == (1, calls, False)
        assert (work.rows, work.na_omit, work.input_type) == (rows, True, InputType.DEFAULT)
        assert work.degree == min(degree, calls)
        assert work.splice == (split is CHUNKS)
    whole = plan(asked(Whole()), timeout_s=1.0, keep_logs=False, rows=rowset(1, cut=False))
    assert (whole.start, whole.count, whole.splice) == (0, 1, False)


@pytest.mark.parametrize("graphics", [False, True])
def test_values_inside_data_stay_as_they_are(*, graphics: bool) -> None:
    """DATA is the function's own value, neither spliced nor turned into columns."""
    old = Groups(by=("K",), column_frames=True)
    rows = rowset(1, keys=("a",))
    of_groups = plan(asked(old, graphics=graphics), timeout_s=1.0, keep_logs=False, rows=rows)
    of_chunks = plan(asked(CHUNKS, graphics=graphics), timeout_s=1.0, keep_logs=False, rows=rows)
    assert (of_groups.column_frames, of_chunks.splice) == (not graphics, not graphics)
