"""Results of jobs as Arrow streams and Parquet, over HTTP: types, failures, groups, and memory."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.conftest import Caller, Server
from tests.acceptance.job_calls import JOBS, SLEEPER, ended, id_of, running, submit
from tests.acceptance.test_data_runs import iris, load

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
FORMS = (ARROW, PARQUET)

FEW, MANY = 100_000, 400_000
ROW = "def c_row(i):\n    return {'i': i, 'half': i / 2, 'text': f'{i:060}', 'odd': i % 2 == 1}\n"
GROWTH = 48 << 20
"""Bytes. What is more of MANY rows than of FEW is 35 MB as text, and above 200 MB as objects."""


def table(caller: Caller, job: str, form: str, **params: Any) -> pa.Table:
    answer = caller.get(f"{JOBS}/{job}/results", headers={"Accept": form}, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == form
    if form == PARQUET:
        return pq.read_table(io.BytesIO(answer.content))
    return pa.ipc.open_stream(answer.content).read_all()


def done(caller: Caller, name: str, source: str, verb: str = "index-apply", **body: Any) -> str:
    caller.store(name, source)
    job: str = ended(caller, submit(caller, verb, name, **body))["id"]
    return job


@pytest.mark.parametrize("form", FORMS)
def test_records_become_columns_with_types(alice: Caller, form: str) -> None:
    source = "def c_types(i):\n    return {'n': i, 'x': i / 4, 't': f'é{i}', 'l': [i, None]}\n"
    made = table(alice, done(alice, "c_types", source, times=1000, parallelFlag=True), form)
    assert [str(field.type).split("<")[0] for field in made.schema] == [
        "int64", "int64", "double", "string", "list",
    ]  # fmt: skip
    assert made.to_pylist() == [
        {"index": i, "n": i, "x": i / 4, "t": f"é{i}", "l": [i, None]} for i in range(1, 1001)
    ]


@pytest.mark.parametrize("form", FORMS)
def test_failed_calls_are_null_and_say_why(alice: Caller, form: str) -> None:
    source = "def c_fails(i):\n    return 1 / (i % 100 - 7)\n"
    job = done(alice, "c_fails", source, times=1000, onError="continue")
    made = table(alice, job, form, **{"from": 901})
    failed = [row for row in made.to_pylist() if row["error"] is not None]
    assert failed == [{"index": 907, "value": None, "error": "division by zero"}]
    assert made.num_rows == 100
    assert made.column("value")[0].as_py() == -1 / 6


@pytest.mark.parametrize("form", FORMS)
def test_groups_and_chunks_are_rows_with_where_they_come_from(alice: Caller, form: str) -> None:
    load(alice, "C_IRIS", ["W,SPECIES"] + [f"{row[1]},{row[4]}" for row in iris()])
    source = "def c_group(dat):\n    return dat.head(2)[['W']].assign(n=len(dat))\n"
    rows = {"input": "select * from C_IRIS"}
    groups = done(alice, "c_group", source, "group-apply", groupBy="SPECIES", **rows)
    made = table(alice, groups, form)
    assert made.column_names == ["index", "group", "W", "n"]
    assert made.column("group").to_pylist() == [
        kind for kind in ("setosa", "versicolor", "virginica") for _ in range(2)
    ]
    chunks = done(alice, "c_group", source, "row-apply", rows=60, **rows)
    made = table(alice, chunks, form)
    assert made.select(["index", "n"]).to_pylist() == [
        {"index": index, "n": n} for index, n in ((1, 60), (2, 60), (3, 30)) for _ in range(2)
    ]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_table_is_an_error_that_says_what_holds_it(alice: Caller, form: str) -> None:
    source = "def c_mixed(i):\n    return {'a': {'b': i if i < 500 else 'x'}}\n"
    job = done(alice, "c_mixed", source, times=1000)
    answer = alice.get(f"{JOBS}/{job}/results", headers={"Accept": form})
    assert answer.status_code == 406
    assert answer.json() == {
        "errorCode": 2036,
        "errorMessage": f"The values are no table that {form} can hold: the column "
        '"a.b" holds numbers and texts. Ask for application/x-ndjson, application/json or '
        "text/csv, which hold any values.",
    }


@pytest.mark.parametrize("form", FORMS)
def test_there_is_no_table_before_the_end(alice: Caller, form: str) -> None:
    alice.store("c_sleeps", SLEEPER)
    location = submit(alice, "index-apply", "c_sleeps", times=2)
    running(alice, location)
    answer = alice.get(f"{JOBS}/{id_of(location)}/results", headers={"Accept": form})
    assert answer.status_code == 409
    alice.delete(location)


def test_a_large_table_takes_no_more_memory_than_a_small_one(server: Server, alice: Caller) -> None:
    """Of the server and of the process that writes; neither holds more than a batch."""
    jobs = {n: done(alice, "c_row", ROW, times=n, parallelFlag=True) for n in (FEW, MANY)}
    for form in FORMS:
        peaks = {}
        for count, job in jobs.items():
            before = _peak_bytes(server.pid)
            size, writer = _streamed(server, alice, job, form)
            assert size > 60 * count / 20  # it is there; Parquet compresses
            peaks[count] = writer
            assert _peak_bytes(server.pid) - before < GROWTH
        assert peaks[MANY] - peaks[FEW] < GROWTH, peaks
    made = table(alice, jobs[MANY], PARQUET)
    assert made.column("i").to_pylist() == list(range(1, MANY + 1))


def test_whoever_leaves_takes_the_process_along(server: Server, alice: Caller) -> None:
    job = done(alice, "c_row", ROW, times=FEW, parallelFlag=True)
    with alice.stream("GET", f"{JOBS}/{job}/results", headers={"Accept": ARROW}) as answer:
        next(answer.iter_bytes())
        writers = _writers(server)
    for process in writers:
        process.wait(120)


def _streamed(server: Server, caller: Caller, job: str, form: str) -> tuple[int, int]:
    """Read a table to its end; give its size and the most that its process held of memory."""
    size = peak = 0
    headers = {"Accept": form}
    with caller.stream("GET", f"{JOBS}/{job}/results", headers=headers) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_bytes():
            size += len(piece)
            peak = max(peak, *(_peak_bytes(process.pid) for process in _writers(server)), 0)
    assert peak, "it was never seen"
    return size, peak


def _writers(server: Server) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(server.pid).children():
        try:
            if "fanfold_server.http.columnar_process" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def _peak_bytes(pid: int) -> int:
    """Give the largest resident size that a process has had; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0
