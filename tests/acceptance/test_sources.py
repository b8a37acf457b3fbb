"""Registered databases over HTTP: who may what, runs over their rows, no password anywhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Caller, Server, serving
from tests.acceptance.job_calls import RUNS, ended, submit
from tests.contract.external import PASSWORD as SECRET
from tests.contract.external import fill_postgres, libpq
from tests.contract.postgres import NoPostgres, started

SOURCES = "/api/v1/sources"
COUNT = "def s_count(dat):\n    return {'n': len(dat), 'first': int(dat['id'].iloc[0])}\n"
SPY = """\
def s_spy(dat):
    import os
    seen = [repr(dict(os.environ))]
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            for name in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{entry}/{name}", "rb") as file:
                        seen.append(file.read().decode("utf-8", "replace"))
                except OSError:
                    pass
    return "".join(seen)[:4000], any(%r[::-1] in text for text in seen), len(dat)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (id INTEGER, kind TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(i, "ab"[i % 2]) for i in range(10)])
    connection.close()
    return path


@pytest.fixture
def registered(admin: Caller, alice: Caller, shop: Path) -> Iterator[str]:
    body = {"kind": "sqlite", "url": f"sqlite:///{shop}"}
    answer = admin.put(f"{SOURCES}/shop", json=body)
    assert answer.status_code == 201, answer.text
    alice.store("s_count", COUNT)
    yield "SHOP"
    admin.delete(f"{SOURCES}/shop")


def run(caller: Caller, verb: str, **body: Any) -> httpx2.Response:
    body = {"parameters": '{"oml_input_type":"pandas.DataFrame"}', **body}
    return caller.post(f"{RUNS}/v2/{verb}/s_count", json=body)


def test_only_an_administrator_registers_and_grants(
    alice: Caller, admin: Caller, shop: Path, registered: str
) -> None:
    body = {"kind": "sqlite", "url": f"sqlite:///{shop}"}
    path = f"{SOURCES}/{registered}"
    assert alice.put(path, json=body).status_code == 403
    for method, way in (
        ("DELETE", ""), ("POST", "/test"), ("GET", "/grants"), ("PUT", "/grants/alice"),
        ("DELETE", "/grants/alice"), ("PUT", "/default?user=bob"),
    ):  # fmt: skip
        assert alice.request(method, path + way).status_code == 403, way
    assert admin.put(path, json=body).status_code == 200
    assert admin.post(f"{path}/test").json() == {"name": "SHOP", "reachable": True}


def test_a_database_that_is_not_granted_is_not_there(
    alice: Caller, admin: Caller, registered: str
) -> None:
    def told(caller: Caller, name: str) -> tuple[int, str]:
        answer = run(caller, "table-apply", source=name, input="t")
        return answer.status_code, answer.text.replace(name.upper(), "…")

    assert told(alice, "shop") == told(alice, "nope")
    assert told(alice, "shop")[0] == 404
    assert alice.get(f"{SOURCES}/shop").status_code == 404
    assert alice.put(f"{SOURCES}/shop/default").status_code == 404
    assert registered not in [seen["name"] for seen in alice.get(SOURCES).json()["sources"]]
    assert admin.put(f"{SOURCES}/shop/grants/nobody-here").status_code == 404
    assert admin.put(f"{SOURCES}/shop/grants/alice").status_code == 204
    listed = {seen["name"]: seen for seen in alice.get(SOURCES).json()["sources"]}
    assert (listed["SHOP"]["url"], listed["SHOP"]["isDefault"]) == (None, False)
    assert run(alice, "table-apply", source="Shop", input="t").json() == {
        "result": {"n": 10, "first": 0}
    }
    assert admin.get(f"{SOURCES}/shop/grants").json() == {"grants": [{"grantee": "ALICE"}]}
    assert admin.delete(f"{SOURCES}/shop/grants/alice").status_code == 204
    assert told(alice, "shop")[0] == 404


def test_all_families_run_over_it_and_a_job_keeps_its_rows(
    alice: Caller, admin: Caller, shop: Path, registered: str
) -> None:
    admin.put(f"{SOURCES}/{registered}/grants/*")
    asked: dict[str, Any] = {"source": "shop", "input": "select * from t order by id desc"}
    asked["parameters"] = '{"oml_input_type":"pandas.DataFrame"}'
    wanted = {
        "table-apply": {"n": 10, "first": 9},
        "row-apply": [{"n": 4, "first": 9}, {"n": 4, "first": 5}, {"n": 2, "first": 1}],
        "group-apply": {"a": {"n": 5, "first": 8}, "b": {"n": 5, "first": 9}},
    }
    extra: dict[str, dict[str, Any]] = {
        "row-apply": {"rows": 4},
        "group-apply": {"groupBy": "Kind"},
    }
    jobs = {}
    for verb, result in wanted.items():
        members = {**asked, **extra.get(verb, {})}
        answer = run(alice, verb, **members)
        assert answer.json() == {"result": result}, verb
        jobs[verb] = submit(alice, verb, "s_count", **members)
    shop.unlink()
    for verb, result in wanted.items():
        ended(alice, jobs[verb])
        assert alice.get(f"{jobs[verb]}/result").json() == {"result": result}, verb
    gone = run(alice, "table-apply", **asked)
    assert (gone.status_code, gone.json()["errorCode"]) == (503, 5010)


def test_a_default_is_for_runs_that_name_no_database(
    alice: Caller, admin: Caller, registered: str
) -> None:
    admin.put(f"{SOURCES}/{registered}/grants/alice")
    assert alice.put(f"{SOURCES}/shop/default").status_code == 204
    assert alice.get(f"{SOURCES}/shop").json()["isDefault"] is True
    assert run(alice, "table-apply", input="t").status_code == 200
    ours = run(alice, "table-apply", input="select 7 as id", source="embedded")
    assert ours.json() == {"result": {"n": 1, "first": 7}}
    assert alice.delete(f"{SOURCES}/shop/default").status_code == 204
    assert run(alice, "table-apply", input="t").json()["errorCode"] == 2041


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "postgresql", "url": "postgresql://a:b@h/x"}, "url"),
        ({"kind": "postgresql", "url": "postgresql://h/x?password=b"}, "url"),
        ({"kind": "postgresql", "url": "mysql://h/x"}, "url"),
        ({"kind": "postgresql", "url": "postgresql://[h/x"}, "url"),
        ({"kind": "sqlite", "url": "sqlite:///relative.db"}, "url"),
        ({"kind": "sqlite", "url": "sqlite:////x.db?mode=rw"}, "url"),
        ({"kind": "sqlalchemy", "url": "sqlite:////x.db"}, "url"),
        ({"kind": "sqlalchemy", "url": "duckdb:///x.db"}, "url"),
        ({"kind": "nope", "url": "x://y"}, "kind"),
        ({"kind": "oracle", "url": "oracle://h/x", "passwordFrom": "env:PATH"}, "passwordFrom"),
        ({"kind": "oracle", "url": "oracle://h/x", "passwordFrom": "file:../x"}, "passwordFrom"),
        ({"kind": "oracle", "url": "oracle://h/x", "maxConnections": 0}, "maxConnections"),
        ({"kind": "oracle", "url": "oracle://h/x", "pasword": "b"}, "pasword"),
        (
            {"kind": "oracle", "url": "oracle://h/x", "passwordFrom": "file:x", "password": "b"},
            "passwordFrom",
        ),
    ],
)
def test_what_cannot_be_registered_names_the_member(
    admin: Caller, body: dict[str, object], field: str
) -> None:
    answer = admin.put(f"{SOURCES}/wrong", json=body)
    assert answer.status_code == 400, answer.text
    assert field in answer.json()["errorMessage"]
    assert admin.get(f"{SOURCES}/wrong").status_code == 404


def test_the_server_s_own_state_is_no_database(admin: Caller, server: Server) -> None:
    body = {"kind": "sqlite", "url": f"sqlite:///{server.data / 'x' / '..' / 'fanfold.db'}"}
    answer = admin.put(f"{SOURCES}/wrong", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2002)


def test_a_password_is_in_no_answer_no_log_no_process_and_no_worker(tmp_path: Path) -> None:
    try:
        with started() as postgres:
            _keep_secret(tmp_path, libpq(fill_postgres(postgres)))
    except NoPostgres as exc:
        pytest.skip(str(exc))


def _keep_secret(folder: Path, url: str) -> None:
    (folder / "data" / "secrets").mkdir(parents=True)
    (folder / "data" / "secrets" / "pg").write_text(SECRET + "\n", encoding="utf-8")
    texts = []
    users = {"alice": "developer", "admin": "admin"}
    with (
        serving(folder, users=users) as server,
        server.caller("admin") as admin,
        server.caller("alice") as alice,
    ):
        alice.store("s_spy", SPY % SECRET[::-1])
        stored = {"kind": "postgresql", "url": url, "password": SECRET}
        by_file = {"kind": "postgresql", "url": url, "passwordFrom": "file:pg"}
        broken = {**stored, "url": "postgresql://reader@127.0.0.1:1/x"}
        for name, body in (("stored", stored), ("filed", by_file), ("broken", broken)):
            texts.append(admin.put(f"{SOURCES}/{name}", json=body).text)
            texts.append(admin.put(f"{SOURCES}/{name}/grants/public").text)
        for name in ("stored", "filed", "broken"):
            texts.append(admin.post(f"{SOURCES}/{name}/test").text)
            ask = {"source": name, "input": "iris"}
            answer = alice.post(f"{RUNS}/v2/table-apply/s_spy", json=ask)
            texts.append(answer.text)
            if name == "broken":
                assert (answer.status_code, answer.json()["errorCode"]) == (503, 5010)
                continue
            _, is_seen, rows = answer.json()["result"]
            assert (is_seen, rows) == (False, 6), answer.text
        texts += [caller.get(SOURCES).text for caller in (admin, alice)]
        texts.append(admin.get(f"{SOURCES}/stored").text)
        assert admin.get(f"{SOURCES}/stored").json()["password"] == "stored"
        log = server.log
        database = (server.data / "fanfold.db").read_bytes()
        database += (server.data / "fanfold.db-wal").read_bytes()
    texts.append(log.read_text(encoding="utf-8"))
    assert not [text for text in texts if SECRET in text]
    assert SECRET.encode() not in database
