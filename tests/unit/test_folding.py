"""The fold of any batching equals the plain loop."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.model.apply import Apply, Index, Once, OnError, Split
from fanfold_server.model.outcome import (
    Failed,
    Failure,
    FailureKind,
    Image,
    Outcome,
    Returned,
    Values,
)
from fanfold_server.service.folding import Gathered, failure_members, first_failure, fold
from fanfold_server.service.planning import plan
from tests.fakes.words import apply_of, script_of

SCRIPT = script_of("def f(i): return i\n")


def asked(
    split: Split, *, graphics: bool = False, on_error: OnError = OnError.FAIL, degree: int = 2
) -> Apply:
    return apply_of(SCRIPT, split, graphics=graphics, on_error=on_error, degree=degree)


def folded(apply: Apply, gathered: Gathered) -> Any:
    return json.loads(b"".join(fold(apply, gathered)))


def failure(index: int, kind: FailureKind = FailureKind.RAISED) -> Failed:
    why = Failure(kind=kind, type="ValueError", message=f"no {index}", traceback="T\n")
    return Failed(index=index, failure=why)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@given(data=st.data(), values=st.lists(_json, min_size=1, max_size=30))
def test_fold_of_any_batching_equals_the_plain_loop(data: st.DataObject, values: list[Any]) -> None:
    """However the calls were cut, whoever came first, and whether a call was reported alone."""
    gathered = Gathered()
    pieces: list[Values | Outcome] = []
    at = 0
    while at < len(values):
        n = data.draw(st.integers(1, len(values) - at))
        if n == 1 and data.draw(st.booleans()):
            pieces.append(Returned(index=at + 1, json=_text(values[at])))
        else:
            texts = b",".join(_text(v) for v in values[at : at + n])
            pieces.append(Values(start=at + 1, count=n, json=texts))
        at += n
    for piece in data.draw(st.permutations(pieces)):
        if isinstance(piece, Values):
            gathered.values(piece)
        else:
            gathered.outcome(piece)
    assert folded(asked(Index(times=len(values))), gathered) == {"result": values}


@given(data=st.data(), count=st.integers(1, 20))
def test_continue_puts_null_and_names_each_failure(data: st.DataObject, count: int) -> None:
    bad = data.draw(st.sets(st.integers(1, count)))
    gathered = Gathered()
    for index in data.draw(st.permutations(range(1, count + 1))):
        if index in bad:
            gathered.outcome(failure(index))
        else:
            gathered.values(Values(start=index, count=1, json=b"%d" % index))
    answer = folded(asked(Index(times=count), on_error=OnError.CONTINUE), gathered)
    assert answer["result"] == [None if i in bad else i for i in range(1, count + 1)]
    assert [e["index"] for e in answer.get("errors", [])] == sorted(bad)
    assert all(e["type"] == "ValueError" and e["traceback"] for e in answer.get("errors", []))


def test_nothing_stands_beside_result_when_nothing_failed() -> None:
    gathered = Gathered()
    gathered.values(Values(start=1, count=2, json=b"1,2"))
    body = b"".join(fold(asked(Index(times=2), on_error=OnError.CONTINUE), gathered))
    assert body == b'{"result":[1,2]}'


def test_one_call_is_the_value_itself() -> None:
    gathered = Gathered()
    gathered.values(Values(start=0, count=1, json=b'{"a":1}'))
    assert b"".join(fold(asked(Once()), gathered)) == b'{"result":{"a":1}}'


def test_images_of_a_fan_out_are_keyed_from_zero_and_timed_from_one() -> None:
    """Wire example W03; a run without a figure has DATA and TIME, one with two has ID 1 and 2."""
    gathered = Gathered()
    png = b"\x89PNG"
    gathered.outcome(Returned(index=2, json=b"2", images=(Image(png=png, title='a "b"'),)))
    gathered.outcome(Returned(index=1, json=b"1.0", images=()))
    two = (Image(png=png, title=None), Image(png=png, title="t"))
    gathered.outcome(Returned(index=3, json=b'["x"]', images=two))
    encoded = base64.b64encode(png).decode()
    assert folded(asked(Index(times=3), graphics=True), gathered) == {
        "result": {
            "0": {"DATA": "1.0", "TIME": 1},
            "1": {"IMAGE": encoded, "DATA": "2", "TIME": 2, "TITLE": 'a "b"', "ID": 1},
            "2": {"IMAGE": encoded, "DATA": '["x"]', "TIME": 3, "ID": 1},
            "3": {"IMAGE": encoded, "DATA": '["x"]', "TIME": 3, "TITLE": "t", "ID": 2},
        }
    }


@pytest.mark.parametrize("split", [Once(), Index(times=3)], ids=["once", "index"])
def test_a_failed_call_among_drawing_ones_is_null_in_its_place(split: Split) -> None:
    gathered = Gathered()
    why = Failure(kind=FailureKind.RAISED, type="ValueError", message="no")
    gathered.outcome(Failed(index=0 if split == Once() else 2, failure=why))
    if split != Once():
        gathered.outcome(Returned(index=3, json=b"3", images=()))
        gathered.outcome(Returned(index=1, json=b"1", images=()))
    answer = folded(asked(split, graphics=True, on_error=OnError.CONTINUE), gathered)
    if split == Once():
        assert answer["result"] == [None]
    else:
        assert list(answer["result"]) == ["0", "1", "2"]
        assert [entry and entry["TIME"] for entry in answer["result"].values()] == [1, None, 3]
    assert len(answer["errors"]) == 1


def test_images_of_one_call_are_a_list_even_if_there_is_one() -> None:
    gathered = Gathered()
    gathered.outcome(Returned(index=0, json=b"null", images=(Image(png=b"p", title=None),)))
    assert folded(asked(Once(), graphics=True), gathered) == {
        "result": [{"IMAGE": base64.b64encode(b"p").decode(), "DATA": "null", "ID": 1}]
    }


def test_the_lowest_failed_index_is_blamed() -> None:
    gathered = Gathered()
    gathered.outcome(failure(7))
    gathered.outcome(failure(3))
    failed = first_failure(gathered)
    assert failed is not None
    assert failure_members(failed, indexed=True) == {
        "errorMessage": "ValueError: no 3",
        "errorCode": 3001,
        "errorType": "ValueError",
        "traceback": "T\n",
        "index": 3,
    }


@pytest.mark.parametrize(
    ("kind", "code", "text"),
    [
        (FailureKind.TOO_LONG, 1024, "Output exceeds maximum length 5000"),
        (
            FailureKind.PRINTED,
            1026,
            (
                "Output malformed JSON. This could be caused by explicitly calling print() in the "
                "executed Python script. Remove print() call from the script should solve the "
                "issue."
            ),
        ),
    ],
)
def test_documented_errors_are_word_for_word(kind: FailureKind, code: int, text: str) -> None:
    why = Failure(kind=kind, type="x", message="Output exceeds maximum length 5000")
    members = failure_members(Failed(index=0, failure=why), indexed=False)
    assert (members["errorCode"], members["errorMessage"]) == (code, text)
    assert "index" not in members


@given(times=st.integers(1, 10_000), degree=st.integers(1, 8))
def test_a_plan_has_every_call_once(times: int, degree: int) -> None:
    work = plan(asked(Index(times=times), degree=degree), timeout_s=1.0, keep_logs=False)
    assert (work.start, work.count, work.indexed) == (1, times, True)
    assert work.degree == min(degree, times)
    once = plan(asked(Once()), timeout_s=1.0, keep_logs=False)
    assert (once.start, once.count, once.indexed) == (0, 1, False)
