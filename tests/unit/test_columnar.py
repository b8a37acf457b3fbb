"""Values of jobs as typed columns: what is read back is what was returned, or there is no table."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.http import columnar_frames as frames
from fanfold_server.http import columnar_process
from fanfold_server.http.columnar_process import convert

FORMS = (frames.ARROW, frames.PARQUET)
BIG = 1 << 70


def _frames(
    values: list[Any], start: int, keys: list[str] | None, failed: dict[int, str], cut: int
) -> bytes:
    said = []
    for at in range(0, len(values), cut):
        some = values[at : at + cut]
        if keys is not None:
            there = json.dumps(keys[at : at + cut]).encode()
            said.append(frames.pack(frames.KEYS, content=there))
        if failed:
            messages = {str(i): text for i, text in failed.items()}
            said.append(frames.pack(frames.FAILED, content=json.dumps(messages).encode()))
        lines = b"".join(msgspec.json.encode(value) + b"\n" for value in some)
        said.append(frames.pack(frames.VALUES, start + at, lines))
    return b"".join(said) + frames.pack(frames.END)


def converted(
    form: str,
    values: list[Any],
    *,
    start: int = 1,
    keys: list[str] | None = None,
    failed: dict[int, str] | None = None,
    cut: int = 3,
) -> pa.Table | str:
    """Return the table, or why there is none."""
    once = _frames(values, start, keys, failed or {}, cut)
    target = io.BytesIO()
    has = [frames.KEYED] * (keys is not None) + [frames.FAILING] * bool(failed)
    convert(io.BytesIO(once + once), target, form, *has)
    verdict, _, file = target.getvalue().partition(b"\n")
    why = json.loads(verdict)["why"]
    if why is not None:
        assert not file
        return str(why)
    if form == frames.ARROW:
        return pa.ipc.open_stream(file).read_all()
    return pq.read_table(io.BytesIO(file))


def table(form: str, values: list[Any], **more: Any) -> pa.Table:
    """Return the table that there has to be."""
    made = converted(form, values, **more)
    assert isinstance(made, pa.Table), made
    return made


def rows_of(values: list[Any]) -> list[dict[str, Any]]:
    """Say what rows values are, in the plainest way."""
    tables = [
        v for v in values if isinstance(v, list) and v and all(isinstance(r, dict) for r in v)
    ]
    rows = []
    for index, value in enumerate(values, 1):
        if value in tables or (value == [] and tables):
            its = value
        elif isinstance(value, dict):
            its = [value]
        else:
            its = [{} if value is None else {"value": value}]
        rows += [(index, row) for row in its]
    names = {name for _, row in rows for name in row}
    first = "index"
    while first in names:
        first += "_"
    return [{first: index} | row for index, row in rows]


def plain(value: Any) -> Any:
    """Make values comparable: no members without a value; what == mixes up is told apart."""
    match value:
        case dict():
            return {name: plain(cell) for name, cell in value.items() if cell is not None}
        case list():
            return [plain(item) for item in value]
        case bool():
            return str(value)
        case _:
            return value


LEAVES = st.sampled_from(
    [
        st.booleans(),
        st.integers(-(1 << 63), (1 << 63) - 1),
        st.integers(0, (1 << 64) - 1),
        st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False, allow_infinity=False),
        st.just(BIG) | st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ]
)
NAMES = st.text("abindexvlu_é", min_size=1, max_size=6)


def _typed(depth: int) -> st.SearchStrategy[st.SearchStrategy[Any]]:
    """Draw a type, as the strategy of its values."""
    if not depth:
        return LEAVES
    inner = _typed(depth - 1)
    lists = inner.map(lambda its: st.lists(st.none() | its, max_size=3))
    objects = st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(
        lambda members: st.fixed_dictionaries(
            {}, optional={name: st.none() | its for name, its in members.items()}
        )
    )
    return LEAVES | lists | objects


COLUMNS = _typed(3).flatmap(lambda its: st.lists(st.none() | its, max_size=12))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(values=COLUMNS, form=st.sampled_from(FORMS), cut=st.integers(1, 5))
def test_values_of_one_type_are_read_back_as_they_were(
    values: list[Any], form: str, cut: int
) -> None:
    """Nulls, ragged records, nested values, whole numbers among floats: nothing is lost."""
    made = converted(form, values, cut=cut)
    if isinstance(made, str):  # what is of one type here may be none as rows
        assert "objects" in made or "numbers" in made or "lists" in made, made
        return
    assert plain(made.to_pylist()) == plain(rows_of(values))


@given(values=st.lists(ANYTHING, max_size=8), form=st.sampled_from(FORMS))
def test_any_values_are_a_table_or_an_error_that_names_the_column(
    values: list[Any], form: str
) -> None:
    made = converted(form, values)
    if isinstance(made, str):
        assert made.startswith(('the column "', 'in the column "')), made
    else:
        assert plain(made.to_pylist()) == plain(rows_of(values))


@pytest.mark.parametrize("form", FORMS)
def test_types_are_the_narrowest_that_hold_all(form: str) -> None:
    rows = [
        {"i": 1, "f": 1, "u": 1 << 63, "s": "a", "b": True, "l": [1, 2.5], "o": {"x": 1}},
        {"i": None, "f": 2.5, "n": None, "o": {"y": "z"}, "big": BIG},
    ]
    types = {field.name: str(field.type) for field in table(form, rows).schema}
    assert types == {
        "index": "int64",
        "i": "int64",
        "f": "double",
        "u": "uint64",
        "s": "string",
        "b": "bool",
        "l": "list<item: double>" if form == frames.ARROW else "list<element: double>",
        "o": "struct<x: int64, y: string>",
        "n": "null",
        "big": "double",
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1, "a"], 'the column "value" holds numbers and texts'),
        ([True, 1], 'the column "value" holds booleans and numbers'),
        ([{"a": {"b": [1]}}, {"a": {"b": ["x"]}}], 'the column "a.b[]" holds numbers and texts'),
        ([{"a": 1}, {"a": {"b": 1}}], 'the column "a" holds numbers and objects'),
        (
            [0.5, (1 << 53) + 1],
            'the column "value" holds whole numbers that no float is equal to, beside floats',
        ),
        ([(1 << 64) + 1], 'the column "value" holds whole numbers that 64 bits do not hold'),
        ([{f"c{i}": i} for i in range(2001)], "there are more than 2000 columns"),
    ],
)
def test_what_has_no_type_is_said_with_the_column(form: str, values: list[Any], why: str) -> None:
    assert converted(form, values) == why


def test_empty_objects_are_refused_for_parquet_alone() -> None:
    assert table(frames.ARROW, [{"a": {}}]).to_pylist() == [{"index": 1, "a": {}}]
    why = converted(frames.PARQUET, [{"a": {}}])
    assert why == 'the column "a" holds empty objects alone, which only an Arrow stream can'


@pytest.mark.parametrize("form", FORMS)
def test_failed_calls_are_null_with_their_message_beside(form: str) -> None:
    made = table(form, [1, None, None], failed={2: "why"})
    assert made.to_pylist() == [
        {"index": 1, "value": 1, "error": None},
        {"index": 2, "value": None, "error": "why"},
        {"index": 3, "value": None, "error": None},
    ]


@pytest.mark.parametrize("form", FORMS)
def test_groups_have_their_keys_beside_their_rows(form: str) -> None:
    made = table(form, [[{"x": 1}, {"x": 2}], [], [{"x": 3}]], keys=["a", "b", "c"], cut=2)
    assert made.to_pylist() == [
        {"index": 1, "group": "a", "x": 1},
        {"index": 1, "group": "a", "x": 2},
        {"index": 3, "group": "c", "x": 3},
    ]


@pytest.mark.parametrize("form", FORMS)
def test_columns_of_ours_give_way_to_those_of_the_values(form: str) -> None:
    row = {"index": "i", "index_": "j", "group": "g", "error": "e"}
    made = table(form, [row, None], keys=["k", "l"], failed={2: "why"})
    assert made.column_names == ["index__", "group_", "index", "index_", "group", "error", "error_"]
    assert made.to_pylist()[1]["error_"] == "why"


@pytest.mark.parametrize("form", FORMS)
def test_a_table_of_no_rows_has_its_columns(form: str) -> None:
    assert table(form, []).column_names == ["index"]


def test_batches_are_cut_by_rows_and_by_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar_process, "CELLS_AT_ONCE", 10)
    made = table(frames.ARROW, list(range(7)), cut=6)
    assert [len(batch) for batch in made.to_batches()] == [5, 2]
    assert made.column("value").to_pylist() == list(range(7))
