"""The results of a job as a table."""

from __future__ import annotations

import csv
import io

import pytest

from tests.acceptance.conftest import Caller
from tests.acceptance.job_calls import JOBS, ended, submit


@pytest.mark.parametrize(
    ("returned", "rows"),
    [
        ("i / 2", [["index", "value"], ["1", "0.5"], ["2", "1"]]),
        ("'a,\"b\\n'", [["index", "value"], ["1", 'a,"b\n'], ["2", 'a,"b\n']]),
        ("[i, None]", [["index", "value"], ["1", "[1,null]"], ["2", "[2,null]"]]),
        (
            "{'x': i} if i == 1 else {'y': True}",
            [["index", "x", "y"], ["1", "1", ""], ["2", "", "true"]],
        ),
        (
            "[{'index': i}, {'index': -i}]",
            [["index_", "index"], ["1", "1"], ["1", "-1"], ["2", "2"], ["2", "-2"]],
        ),
        ("10**400", [["index", "value"], ["1", "1" + "0" * 400], ["2", "1" + "0" * 400]]),
        ("1 // (i - 1)", [["index", "value"], ["1", ""], ["2", "1"]]),
    ],
)
def test_csv_is_a_table_of_all_rows(alice: Caller, returned: str, rows: list[list[str]]) -> None:
    alice.store("own_table", f"def own_table(i):\n    return {returned}\n")
    location = submit(alice, "index-apply", "own_table", times=2, onError="continue")
    job = ended(alice, location)
    answer = alice.get(f"{JOBS}/{job['id']}/results", headers={"Accept": "text/csv"})
    assert list(csv.reader(io.StringIO(answer.text, newline=""))) == rows


@pytest.mark.parametrize(
    ("formulas", "cells"),
    [
        ("keep", ["=1+1", "@x", "-2", "-2.5", "a=1", '["=1"]']),
        ("escape", ["'=1+1", "'@x", "'-2", "-2.5", "a=1", '["=1"]']),
    ],
)
def test_texts_that_look_like_formulas_are_escaped_when_asked(
    alice: Caller, formulas: str, cells: list[str]
) -> None:
    """A number stays a number; names of columns are texts, too."""
    value = "['=1+1', '@x', '-2', -2.5, 'a=1', ['=1']]"
    alice.store("own_sums", f"def own_sums(i):\n    return dict(zip('=bcdef', {value}))\n")
    job = ended(alice, submit(alice, "index-apply", "own_sums", times=1))
    answer = alice.get(
        f"{JOBS}/{job['id']}/results",
        headers={"Accept": "text/csv"},
        params={"formulas": formulas},
    )
    first = "=" if formulas == "keep" else "'="
    assert list(csv.reader(io.StringIO(answer.text, newline=""))) == [
        ["index", first, *"bcdef"],
        ["1", *cells],
    ]
