"""Numbers keep their digits in every format, in and out; what cannot hold them says so."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.acceptance.conftest import Caller
from tests.acceptance.job_calls import JOBS, ended, id_of, submit
from tests.acceptance.processes import until

ECHO = "def w_echo(i, values):\n    return values[i - 1]\n"
EXACT = """\
def w_exact(dat):
    return [str(value) for value in dat["A"]]
"""
NDJSON, CSV = "application/x-ndjson", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
FRAME = '{"oml_input_type":"pandas.DataFrame"}'
LAW = settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)

EDGES = [2**53, 2**63, 2**64, 10**38, 2**127, 10**300]
whole = st.one_of(
    st.builds(
        lambda edge, off, sign: sign * (edge + off),
        st.sampled_from(EDGES),
        st.integers(-3, 3),
        st.sampled_from([1, -1]),
    ),
    st.integers(-(10**40), 10**40),
    st.integers(-1000, 1000),
)
number = st.one_of(whole, st.floats(allow_nan=False, allow_infinity=False))
numbers = st.one_of(
    st.lists(whole, min_size=1, max_size=5), st.lists(number, min_size=1, max_size=5)
)


@pytest.fixture(scope="module")
def ada(alice: Caller) -> Caller:
    alice.store("w_echo", ECHO)
    alice.store("w_exact", EXACT)
    return alice


def is_float(value: float) -> bool:
    """Tell whether a float is equal to a number, or is written like it."""
    try:
        held = float(value)
    except OverflowError:
        return False
    return held == value or int(Decimal(repr(held))) == value


# --------------------------------------------------------------------------------------------- out


def job_of(caller: Caller, values: list[float], **members: Any) -> str:
    """Run a job whose calls return these; gives its address."""
    location = submit(
        caller, "index-apply", "w_echo", times=len(values), parameters={"values": values}, **members
    )
    assert ended(caller, location)["state"] == "succeeded"
    return f"{JOBS}/{id_of(location)}"


def results(caller: Caller, job: str, form: str) -> httpx2.Response:
    return caller.get(f"{job}/results", headers={"Accept": form})


@LAW
@given(values=numbers, form=st.sampled_from([ARROW, PARQUET]))
@example(values=[2**64 + 1], form=ARROW)
@example(values=[2**53 + 1, 0.5], form=PARQUET)
@example(values=[10**300, 1], form=ARROW)
def test_results_are_exact_in_each_format_or_refused(
    ada: Caller, values: list[float], form: str
) -> None:
    """Each Arrow or Parquet file takes a process of its own: one of the two at a time."""
    job = job_of(ada, values)
    lines = [json.loads(line) for line in results(ada, job, NDJSON).text.splitlines()]
    assert [line["value"] for line in lines] == values
    assert results(ada, job, "application/json").json()["result"] == values
    _, *rows = csv.reader(io.StringIO(results(ada, job, CSV).text, newline=""))
    assert [json.loads(cell) for _, cell in rows] == values
    answer = results(ada, job, form)
    if answer.status_code == 406:
        assert 'the column "value" holds whole numbers' in answer.json()["errorMessage"]
        assert any(abs(value) > 2**53 for value in values)
        return
    content = io.BytesIO(answer.content)
    table = pa.ipc.open_stream(content).read_all() if form == ARROW else pq.read_table(content)
    assert table.column("value").to_pylist() == values


@pytest.mark.parametrize(
    ("returned", "cells"),
    [
        ("{'a': 2**64 + 1, 'b': -2**90}", [[str(2**64 + 1), str(-(2**90))]]),
        ("[{'a': 2**64 + 1}, {'a': 1.5}]", [[str(2**64 + 1)], ["1.5"]]),
        ("{'a': [2**64 + 1], 'b': {'c': -2**64}}", [["[18446744073709551617]",
                                                     '{"c":-18446744073709551616}']]),
        ("[2**64 + 1, 0.1]", [["[18446744073709551617,0.1]"]]),
    ],
)  # fmt: skip
def test_csv_keeps_numbers_wherever_they_are(
    ada: Caller, returned: str, cells: list[list[str]]
) -> None:
    ada.store("w_inside", f"def w_inside(i):\n    return {returned}\n")
    location = submit(ada, "index-apply", "w_inside", times=1)
    ended(ada, location)
    answer = results(ada, f"{JOBS}/{id_of(location)}", CSV)
    _, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert [cells for _, *cells in rows] == cells


# ---------------------------------------------------------------------------------------------- in


def written(values: list[float], form: str) -> tuple[bytes, str]:
    """Write a column A; gives the body and its media type."""
    if form == "csv":
        return ("A\n" + "".join(f"{value!r}\n" for value in values)).encode(), CSV
    return "".join(json.dumps({"A": value}) + "\n" for value in values).encode(), NDJSON


def told(caller: Caller, table: str) -> httpx2.Response:
    """Have a function say which numbers it was given."""
    body = {"input": f"select A from {table}", "parameters": FRAME}
    return caller.post("/oml/api/py-scripts/v1/table-apply/w_exact", json=body)


def is_same(said: str, value: float) -> bool:
    if isinstance(value, int) and "." not in said and "e" not in said:
        return int(said) == value
    return Decimal(said) == value or float(said) == float(value)


@LAW
@given(values=numbers, form=st.sampled_from(["csv", "ndjson"]))
@example(values=[2**64 + 1], form="ndjson")
@example(values=[1, 2**100], form="ndjson")
@example(values=[1.5, 2**53 + 1], form="csv")
@example(values=[1.5, 2**53 + 1], form="ndjson")
@example(values=[1.5, 123456789012345680000], form="ndjson")
@example(values=[10**38, 2**127 - 1, -(2**127)], form="csv")
@example(values=[2**127], form="csv")
def test_rows_are_exact_or_refused(ada: Caller, values: list[float], form: str) -> None:
    body, media_type = written(values, form)
    loaded = ada.put("/api/v1/tables/W_ROWS", content=body, headers={"Content-Type": media_type})
    answer = told(ada, "W_ROWS") if loaded.is_success else loaded
    if answer.status_code == 400:
        assert 'The column "A"' in answer.json()["errorMessage"]
        ints = [value for value in values if isinstance(value, int)]
        beyond = any(abs(value) >= 2**127 for value in ints)  # what no query hands to a function
        assert beyond or any(not is_float(value) for value in ints)
        return
    assert answer.status_code == 200, answer.text
    assert all(map(is_same, answer.json()["result"], values)), answer.json()
    shown = ada.get("/api/v1/tables/W_ROWS/preview").json()
    assert all(is_same(repr(row["A"]), value) for row, value in zip(shown, values, strict=True))


@pytest.mark.parametrize(
    ("body", "media_type", "shown"),
    [
        ('{"A":[1.5,9007199254740993]}\n', NDJSON, "9007199254740993"),
        ('{"A":{"b":[{"c":18446744073709551617}]}}\n', NDJSON, "18446744073709551617"),
        ("A\n0.5\n  9007199254740993\n", CSV, "9007199254740993"),
        ("A\n0.5\n" + "7" * 400 + "\n", CSV, "777…"),
    ],
)
def test_what_floats_would_round_is_named(
    ada: Caller, body: str, media_type: str, shown: str
) -> None:
    answer = ada.put("/api/v1/tables/W_NO", content=body, headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2047)
    assert 'The column "A" holds the whole number' in answer.json()["errorMessage"]
    assert shown in answer.json()["errorMessage"]
    assert answer.json()["column"] == "A"
    assert ada.get("/api/v1/tables/W_NO").status_code == 404


@pytest.mark.parametrize(
    ("rows", "column", "number"),
    [
        (['{"a":1.5,"A":9007199254740993}', '{"a":2.5,"A":2.5}'], "A_1", "9007199254740993"),
        (['{"A":1.5,"a":9007199254740993}', '{"A":2.5,"a":2.5}'], "a_1", "9007199254740993"),
        (['{"/a~":1.5,"/A~":9007199254740993}', '{"/A~":2.5}'], "/A~_1", "9007199254740993"),
        (['{"a_1":1,"a":1,"A":9007199254740993}', '{"A":2.5}'], "A_1_1", "9007199254740993"),
    ],
)
def test_names_that_differ_by_case_alone_hide_no_number(
    ada: Caller, rows: list[str], column: str, number: str
) -> None:
    """They are two names in JSON and one in SQL, so that the second gets another there."""
    headers = {"Content-Type": NDJSON}
    answer = ada.put("/api/v1/tables/W_CASE", content="\n".join(rows), headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2047), answer.text
    assert answer.json()["column"] == column
    assert number in answer.json()["errorMessage"]


def test_inside_of_values_they_are_refused(ada: Caller) -> None:
    rows, headers = '{"x":{"a":1,"A":2}}', {"Content-Type": NDJSON}
    answer = ada.put("/api/v1/tables/W_CASE", content=rows, headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2047)
    assert '"A"' in answer.json()["errorMessage"]
    assert "ignore_errors" not in answer.json()["errorMessage"]


def test_names_that_only_look_like_that_are_themselves(ada: Caller) -> None:
    rows = ['{"a":9007199254740993,"a_1":1.5,"B":null}', '{"a":1,"a_1":2.5,"x":{"a_1":1.5}}']
    rows += ['{"x":{"a":9007199254740993}}', '{"A_1":12345678901234567890123}']
    headers = {"Content-Type": NDJSON}
    answer = ada.put("/api/v1/tables/W_CASE", content="\n".join(rows), headers=headers)
    assert answer.is_success, answer.text
    shown = ada.get("/api/v1/tables/W_CASE/preview").json()
    assert shown[0]["a"] == 9007199254740993
    assert shown[3]["A_1_1"] == 12345678901234567890123


# ------------------------------------------------------------------------------- out, and in again


@LAW
@given(values=st.lists(number, min_size=1, max_size=4))
@example(values=[2**64 + 1, 1])
@example(values=[10**300 + 1])
@example(values=[2**53 + 1, 0.5])
def test_a_result_table_is_exact_or_is_none(ada: Caller, values: list[float]) -> None:
    job = job_of(ada, values, resultTable={"name": "W_MADE", "overwrite": True})
    until(lambda: ada.get(job).json()["resultTable"]["state"] != "waiting", 30, "it is settled")
    said = ada.get(job).json()["resultTable"]
    if said["state"] == "failed":
        assert 'The column "VALUE" holds the whole number' in said["error"]["errorMessage"]
        assert any(isinstance(value, int) and not is_float(value) for value in values)
        return
    shown = ada.get("/api/v1/tables/W_MADE/preview").json()
    assert all(is_same(repr(row["VALUE"]), v) for row, v in zip(shown, values, strict=True))


def test_a_number_that_nothing_reads_is_no_table(ada: Caller) -> None:
    """It was tried again for ever, and whoever waited for the table waited as long."""
    ada.store(
        "w_long",
        "def w_long(i):\n    import sys\n    sys.set_int_max_str_digits(0)\n"
        "    return 10 ** 5000\n",
    )
    location = submit(ada, "index-apply", "w_long", times=1, resultTable="W_LONG")
    job = f"{JOBS}/{id_of(location)}"
    ended(ada, location)
    until(lambda: ada.get(job).json()["resultTable"]["state"] != "waiting", 30, "it is settled")
    assert "no table" in ada.get(job).json()["resultTable"]["error"]["errorMessage"]
