"""Tables over HTTP: loaded, looked at, shared, dropped."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.conftest import FANFOLD, Caller, Server

CSV = "Sepal_Length,Species\n5.1,setosa\n7.0,versicolor\n,\n"
TABLES = "/api/v1/tables"


def load(caller: Caller, name: str, text: str = CSV, **params: str) -> httpx2.Response:
    return caller.put(
        f"{TABLES}/{name}", content=text, headers={"Content-Type": "text/csv"}, params=params
    )


@pytest.fixture
def cleared(alice: Caller, bob: Caller, admin: Caller) -> Iterator[None]:
    yield
    for caller in (alice, bob, admin):
        for table in caller.get(TABLES).json()["tables"]:
            if table["owner"] == caller.name.upper():
                assert caller.delete(f"{TABLES}/{table['name']}").status_code == 204


pytestmark = pytest.mark.usefixtures("cleared")


def test_a_table_is_loaded_described_shown_and_dropped(alice: Caller) -> None:
    answer = load(alice, "Iris_1")
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert {key: made[key] for key in ("name", "owner", "rows", "columns")} == {
        "name": "Iris_1",
        "owner": "ALICE",
        "rows": 3,
        "columns": [
            {"name": "Sepal_Length", "type": "DOUBLE"},
            {"name": "Species", "type": "VARCHAR"},
        ],
    }
    assert made["sizeBytes"] > 0
    assert alice.get(f"{TABLES}/IRIS_1").json() == made
    assert made in alice.get(TABLES).json()["tables"]
    assert alice.get(f"{TABLES}/iris_1/preview", params={"rows": "2"}).json() == [
        {"Sepal_Length": 5.1, "Species": "setosa"},
        {"Sepal_Length": 7.0, "Species": "versicolor"},
    ]
    assert alice.delete(f"{TABLES}/iris_1").status_code == 204
    assert alice.get(f"{TABLES}/iris_1").status_code == 404


def test_loading_again_replaces_the_whole_table_and_keeps_its_grants(
    alice: Caller, bob: Caller
) -> None:
    assert load(alice, "T").status_code == 201
    assert alice.put(f"{TABLES}/T/grants/bob").status_code == 204
    again = load(alice, "t", "a;b\n1;2\n")
    assert (again.status_code, again.json()["rows"]) == (200, 1)
    assert [column["name"] for column in again.json()["columns"]] == ["a", "b"]
    assert again.json()["name"] == "T"
    assert bob.get(f"{TABLES}/T/preview", params={"owner": "alice"}).json() == [{"a": 1, "b": 2}]


def test_what_cannot_be_read_leaves_the_table_as_it_was(alice: Caller) -> None:
    load(alice, "T")
    answer = alice.put(f"{TABLES}/T", content=b"nonsense", params={"format": "parquet"})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2047)
    assert alice.get(f"{TABLES}/T").json()["rows"] == 3


def test_a_body_of_an_unknown_form_is_refused(alice: Caller) -> None:
    answer = alice.put(f"{TABLES}/T", content=b"x", headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2002)
    assert "text/csv" in answer.json()["errorMessage"]


@pytest.mark.parametrize(
    "name", ["1st", "a b", 'a"b', "a.b", "x" * 129, "größe", "pg_x", "DuckDB_T"]
)
def test_a_name_that_sql_does_not_know_is_refused(alice: Caller, name: str) -> None:
    answer = load(alice, name.replace('"', "%22").replace(" ", "%20"))
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2002)


def test_another_sees_a_table_only_when_it_is_granted(alice: Caller, bob: Caller) -> None:
    load(alice, "SECRET")
    paths = (f"{TABLES}/SECRET", f"{TABLES}/SECRET/preview")

    def statuses() -> set[int]:
        return {bob.get(path, params={"owner": "ALICE"}).status_code for path in paths}

    assert statuses() == {404}
    assert alice.put(f"{TABLES}/SECRET/grants/BOB").status_code == 204
    assert statuses() == {200}
    assert bob.get(f"{TABLES}/SECRET").status_code == 404  # not by its bare name
    assert alice.get(f"{TABLES}/SECRET/grants").json() == {"grants": [{"grantee": "BOB"}]}
    assert bob.delete(f"{TABLES}/SECRET").status_code == 404
    assert bob.get(f"{TABLES}/SECRET/grants").status_code == 404
    assert alice.delete(f"{TABLES}/SECRET/grants/bob").status_code == 204
    assert statuses() == {404}
    assert alice.delete(f"{TABLES}/SECRET/grants/bob").json()["errorCode"] == 2015
    assert alice.put(f"{TABLES}/SECRET/grants/*").status_code == 204
    assert statuses() == {200}


def test_a_table_for_everyone_is_an_administrator_s(alice: Caller, admin: Caller) -> None:
    assert load(alice, "PENGUINS", **{"global": "true"}).status_code == 403
    assert load(admin, "PENGUINS", **{"global": "true"}).status_code == 201
    try:
        assert alice.get(f"{TABLES}/penguins").json()["owner"] == "PYQSYS"
        load(alice, "Penguins", "x\n1\n")
        assert alice.get(f"{TABLES}/penguins").json()["owner"] == "ALICE"
    finally:
        assert admin.delete(f"{TABLES}/PENGUINS", params={"global": "true"}).status_code == 204


def test_a_table_may_be_longer_than_another_body(alice: Caller) -> None:
    """The limit of bodies is 16 MiB; a table goes to a file as it comes."""
    line = "x" * 1000 + "\n"
    answer = load(alice, "LONG", "a\n" + line * 18_000)
    assert (answer.status_code, answer.json()["rows"]) == (201, 18_000)


def test_nobody_without_a_token_sends_a_table(server: Server) -> None:
    with server.client() as client:
        assert client.put(f"{TABLES}/T", content=CSV).status_code == 401
        assert client.get(TABLES).status_code == 401


def test_the_shell_command_does_the_same(server: Server, alice: Caller, tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    path.write_text(CSV)
    variables = {"FANFOLD_URL": server.url, "FANFOLD_TOKEN": alice.token}

    def table(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [FANFOLD, "table", *arguments],
            capture_output=True,
            text=True,
            timeout=180,
            env={**os.environ, **variables},
            check=False,
        )

    assert "ALICE.measured: 3 rows" in table("load", str(path)).stderr
    assert "ALICE.measured\t3\tSepal_Length, Species" in table("list").stdout.splitlines()
    shown = table("preview", "MEASURED", "--rows", "1").stdout
    assert json.loads(shown) == {"Sepal_Length": 5.1, "Species": "setosa"}
    assert table("grant", "measured", "bob").returncode == 0
    assert alice.get(f"{TABLES}/measured/grants").json() == {"grants": [{"grantee": "BOB"}]}
    assert table("grant", "measured", "bob", "--revoke").returncode == 0
    assert table("drop", "measured").returncode == 0
    again = table("drop", "measured")
    assert again.returncode == 3
    assert 'There is no table "measured"' in again.stderr
