"""What an account may not use, it can not tell from what does not exist; on every route.

A second account asks for an object of the first, and for one that nobody has: status, body and
headers must be the same.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Caller
from tests.acceptance.job_calls import ended, id_of, submit
from tests.acceptance.naming import (
    ACCOUNT,
    BODY,
    DATASTORE,
    JOB,
    OWNED,
    PATH_MEMBERS,
    QUERY,
    SCRIPT,
    SECRET,
    SOURCE,
    TABLE,
    TOKEN,
    asked_for,
)
from tests.acceptance.test_surface import METHODS, PATHS

ROWS = "text/csv"
KEEPS = """\
def keeps():
    import oml
    oml.ds.save({"a": 1}, "veiled_one", overwrite=True)
"""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Names of alice's objects, and as long names of none; by kind."""

    there: dict[str, str]
    unknown: dict[str, str]


@pytest.fixture(scope="module")
def hidden(alice: Caller, bob: Caller, admin: Caller) -> Hidden:
    alice.store("veiled_one", "def veiled_one(*args):\n    return 1\n")
    bob.store("looker", "def looker(*args):\n    return 1\n")
    alice.store("keeps", KEEPS)
    assert alice.do_eval("keeps").status_code == 200
    rows = alice.put(
        "/api/v1/tables/VEILED_ONE", content=b"a,b\n1,2\n", headers={"Content-Type": ROWS}
    )
    assert rows.is_success, rows.text
    shop = {"kind": "sqlite", "url": "sqlite:////nonexistent/veiled.db"}
    assert admin.put("/api/v1/sources/VEILED_SHOP", json=shop).is_success
    assert admin.put("/api/v1/sources/VEILED_SHOP/grants/alice").is_success
    ended(bob, submit(bob, "index-apply", "looker", times=1))  # what a page after alice's may show
    token = alice.post("/api/v1/tokens", json={"name": "veiled_one", "scopes": ["run"]})
    assert token.is_success, token.text
    secret = alice.put("/api/v1/secrets/VEILED_ONE", json={"value": "veiled value"})
    assert secret.is_success, secret.text
    job = submit(alice, "index-apply", "veiled_one", times=2)
    ended(alice, job)
    return Hidden(
        {
            SCRIPT: "veiled_one",
            TABLE: "VEILED_ONE",
            DATASTORE: "veiled_one",
            JOB: id_of(job),
            TOKEN: "veiled_one",
            SECRET: "VEILED_ONE",
            SOURCE: "VEILED_SHOP",
        },
        {
            SCRIPT: "veiled_two",
            TABLE: "VEILED_TWO",
            DATASTORE: "veiled_two",
            JOB: str(uuid.uuid4()),
            TOKEN: "veiled_two",
            SECRET: "VEILED_TWO",
            SOURCE: "VEILED_SHIP",
        },
    )


@pytest.fixture(scope="module")
def document(nobody: httpx2.Client) -> dict[str, Any]:
    found: dict[str, Any] = nobody.get("/openapi.json").json()
    return found


@dataclass(frozen=True, slots=True)
class Question:
    """A request that names an object of `kind`; `{}` in its texts stands for the name."""

    method: str
    url: str
    kind: str
    body: dict[str, Any] | None = None

    def ask(self, caller: Caller, name: str) -> httpx2.Response:
        url = self.url.replace("{}", name)
        if self.body is None and self.method == "put" and self.kind == TABLE:
            content = b"a\n1\n"
            return caller.request(self.method, url, content=content, headers={"Content-Type": ROWS})
        body = None
        if self.body is not None:
            body = {
                member: value.replace("{}", name) if isinstance(value, str) else value
                for member, value in self.body.items()
            }
        return caller.request(self.method, url, json=body)


BODIES: dict[str, dict[str, Any]] = {
    "do-eval": {},
    "index-apply": {"times": 1},
    "table-apply": {"input": "select 1 as a"},
    "row-apply": {"input": "select 1 as a", "rows": 1},
    "group-apply": {"input": "select 1 as a", "groupBy": "a"},
    "rollback": {"version": 1},
    "extend": {"times": 5},
    "resume": {},
    "cancel": {},
}
"""By the word of the path that says what is done: a body that would do."""

MADE: dict[tuple[str, str], dict[str, Any]] = {
    ("put", "/api/v1/scripts/{name}"): {"source": "def f():\n    return 1\n"},
    ("put", "/api/v1/secrets/{name}"): {"value": "of bob's own"},
    ("post", "/api/v1/tokens"): {"name": "asked", "scopes": ["run"]},
}
"""By operation: a body that makes something."""


def _verb(path: str) -> str | None:
    return next((step for step in path.split("/") if step in BODIES), None)


def _filled(path: str, kinds: tuple[str, ...]) -> tuple[str, str | None]:
    """Put `{}` where an owned object is named, and something right everywhere else."""
    named = None
    for member, kind in zip(re.findall(r"\{\w+\}", path), kinds, strict=True):
        value = {ACCOUNT: "alice", "part": "1-1.png", "word": "user", "script too": "looker"}.get(
            kind, "{}"
        )
        if kind in OWNED:
            named, value = kind, "{}"
            path = path.replace(member, "\0", 1)
            continue
        path = path.replace(member, value, 1)
    return path.replace("\0", "{}"), named


def _questions(document: dict[str, Any], path: str, method: str) -> list[Question]:
    """List every way in which an operation can be asked for an owned object."""
    url, kind = _filled(path, PATH_MEMBERS[path])
    verb = _verb(path)
    body = dict(BODIES[verb]) if verb is not None else None
    body = MADE.get((method, path), body)
    asked = asked_for(document, path, method)
    found = []
    if kind is not None:
        found.append(Question(method, url, kind, body))
        for name, value in (("owner", "alice"), ("global", "true")):
            if name in asked["query"]:
                found.append(Question(method, f"{url}?{name}={value}", kind, body))
        if "asyncFlag" in asked["body"]:
            found.append(Question(method, url, kind, {**(body or {}), "asyncFlag": True}))
    mine = url.replace("{}", "looker").replace("/alice", "/bob") if kind == SCRIPT else url
    for name in sorted(asked["query"]):
        named = QUERY[name]
        if named in OWNED:
            assert named is not None
            found.append(Question(method, f"{mine}?{name}={{}}", named, body))
    for name in sorted(asked["body"]):
        named = BODY[name]
        if named in OWNED:
            assert named is not None
            found += [
                Question(method, mine, named, {**(body or {}), name: value, **more})
                for value in SPELLINGS.get(name, ["{}"])
                for more in ({}, {"asyncFlag": True})[: 1 + ("asyncFlag" in asked["body"])]
            ]
    return found


SPELLINGS = {
    "input": ["{}", "alice.{}", "select * from alice.{}", "select zz from {} where nope"],
}
"""By body member: texts in which it can name an object."""

OPERATIONS = [(method, path) for path in PATHS for method in METHODS if method in PATHS[path]]
_CHANGING = frozenset({"date", "x-request-id"})
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|\+00:00)")


def _seen(answer: httpx2.Response, name: str) -> tuple[int, str, dict[str, str]]:
    """Say all that a client sees, without what is different each time, and without the name."""

    def plain(text: str) -> str:
        for spelling in (name, name.lower(), name.upper()):
            text = text.replace(spelling, "<name>")
        return _TIME.sub("<time>", text)

    headers = {
        header: plain(value)
        for header, value in answer.headers.items()
        if header not in _CHANGING and header != "fanfold-seed"
    }
    return answer.status_code, plain(answer.text), headers


def _forget(bob: Caller, question: Question, hidden: Hidden) -> None:
    """Take away what a question has made, so that the next one finds nothing of bob's."""
    if question.method == "put" and "{}" in question.url:
        for names in (hidden.there, hidden.unknown):
            bob.delete(question.url.partition("?")[0].replace("{}", names[question.kind]))


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_is_anothers_answers_as_what_is_not(
    document: dict[str, Any], hidden: Hidden, bob: Caller, method: str, path: str
) -> None:
    for question in _questions(document, path, method):
        answers = []
        for names in (hidden.there, hidden.unknown):
            name = names[question.kind]
            answers.append(_seen(question.ask(bob, name), name))
        _forget(bob, question, hidden)
        assert answers[0] == answers[1], question
        assert answers[0][0] < 500, question


def test_the_first_account_still_has_what_the_second_asked_for(
    hidden: Hidden, alice: Caller, bob: Caller
) -> None:
    """The questions of the other test mean something, and did no harm."""
    there, script = hidden.there, f"/api/v1/scripts/{hidden.there[SCRIPT]}"
    for method in ("delete", "put"):
        bob.request(method, f"{script}/grants/bob")
    bob.delete(script)
    bob.delete(f"/api/v1/jobs/{there[JOB]}")
    bob.delete(f"/api/v1/tables/{there[TABLE]}")
    for url in (script, f"/api/v1/tables/{there[TABLE]}", f"/api/v1/jobs/{there[JOB]}"):
        assert alice.get(url).status_code == 200
        assert bob.get(url).status_code == 404


def test_no_listing_shows_what_is_anothers(hidden: Hidden, bob: Caller) -> None:
    listings = [path for path in PATHS if "{" not in path and "get" in PATHS[path]]
    for path in listings:
        text = bob.get(path).text
        for name in hidden.there.values():
            assert name not in text, path


@pytest.mark.parametrize(
    "statement",
    [
        "select * from information_schema.tables",
        "select * from duckdb_tables()",
        "show tables",
        "select * from sqlite_master",
        "select * from alice.information_schema.tables",
        "describe alice.veiled_one",
    ],
)
def test_no_query_lists_what_is_anothers(hidden: Hidden, bob: Caller, statement: str) -> None:
    bob.store("lines", "def lines(rows):\n    return str(rows)\n")
    answer = bob.post("/oml/api/py-scripts/v1/table-apply/lines", json={"input": statement})
    assert "veiled_one" not in answer.text.lower().replace(statement, "")
    assert hidden.there[TABLE] not in answer.text


def test_a_key_of_anothers_is_free(hidden: Hidden, alice: Caller, bob: Caller) -> None:
    """An Idempotency-Key means something to the account alone that sent it."""
    headers = {"Idempotency-Key": "veiled"}
    jobs = []
    for caller, script in ((alice, hidden.there[SCRIPT]), (bob, "looker")):
        body = {"asyncFlag": True}
        url = f"/oml/api/py-scripts/v1/do-eval/{script}"
        answer = caller.post(url, json=body, headers=headers)
        assert answer.status_code == 201
        jobs.append(answer.headers["location"])
    assert jobs[0] != jobs[1]


def test_kinds_that_accounts_own_are_all_tried(hidden: Hidden) -> None:
    assert set(hidden.there) == set(hidden.unknown) == OWNED
