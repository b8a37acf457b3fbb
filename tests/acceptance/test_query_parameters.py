"""A query parameter that a route does not take, or not twice: refused on our own routes alone."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.conftest import Caller
from tests.acceptance.naming import asked_for
from tests.acceptance.test_surface import METHODS, PATHS

OWN = [
    (method, path)
    for path in PATHS
    if path.startswith("/api/")
    for method in METHODS
    if method in PATHS[path]
]
STRICT = {"/oml/api/py-scripts/v2/jobs"}
"""A misspelt filter would delete what nobody meant: strict, though compatible."""
ENDS_LOGINS = "/omlusers/"
OTHERS = [
    (method, path)
    for path in PATHS
    if not path.startswith(("/api/", ENDS_LOGINS)) and path not in STRICT
    for method in METHODS
    if method in PATHS[path]
]


def _filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "no_such_thing", path)


@pytest.fixture(scope="module")
def document(nobody: httpx2.Client) -> dict[str, Any]:
    found: dict[str, Any] = nobody.get("/openapi.json").json()
    return found


@pytest.mark.parametrize(("method", "path"), OWN)
def test_our_own_routes_name_what_they_do_not_take_and_what_they_do(
    alice: Caller, document: dict[str, Any], method: str, path: str
) -> None:
    answer = alice.request(method, f"{_filled(path)}?zzz=1", content=b"{}")
    assert answer.status_code == 400
    said = answer.json()
    assert (said["errorCode"], said["field"]) == (2002, "zzz")
    assert 'The query parameter "zzz" does not exist' in said["errorMessage"]
    known = asked_for(document, path, method)["query"]
    listed = re.search(r"there are ([^;]*?)\.?$", said["errorMessage"])
    assert listed is not None
    assert set(listed[1].split(", ")) == (set(known) or {"none here"})


@pytest.mark.parametrize(("method", "path"), OWN)
def test_nothing_that_a_route_takes_is_refused_as_unknown(
    alice: Caller, document: dict[str, Any], method: str, path: str
) -> None:
    """The document and the check tell the same of each route."""
    for name in asked_for(document, path, method)["query"]:
        answer = alice.request(method, _filled(path), params={name: "1"}, content=b"{}")
        assert "does not exist; there are" not in answer.text


MANY = {("/api/v1/jobs", "state")}
"""What may be given several times: a job is in one of these states."""


@pytest.mark.parametrize(("method", "path"), OWN)
def test_what_is_given_twice_is_refused_and_named(
    alice: Caller, document: dict[str, Any], method: str, path: str
) -> None:
    """The last would be taken otherwise, and a proxy before us might take the first."""
    for name in asked_for(document, path, method)["query"]:
        answer = alice.request(method, f"{_filled(path)}?{name}=1&{name}=1", content=b"{}")
        if (path, name) in MANY:
            assert "given 2 times" not in answer.text
            continue
        assert answer.status_code == 400
        said = answer.json()
        assert (said["errorCode"], said["field"]) == (2002, name)
        assert said["errorMessage"] == (
            f'The query parameter "{name}" is given 2 times; it should be given once.'
        )


def test_a_parameter_of_many_values_takes_them(alice: Caller) -> None:
    assert alice.get("/api/v1/jobs?state=failed&state=cancelled&limit=1").status_code == 200
    assert alice.get("/api/v1/jobs?limit=1&state=failed&limit=1").json()["field"] == "limit"


@pytest.mark.parametrize("query", ["script=%ff", "script=%C3", "%E9=1", "script=%ED%A0%80"])
def test_a_query_that_is_no_text_is_refused(alice: Caller, query: str) -> None:
    """Whatever cannot be read would be found by whatever else cannot be."""
    answer = alice.get(f"/api/v1/jobs?{query}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2002)
    assert "not UTF-8" in answer.json()["errorMessage"]
    assert alice.get("/api/v1/jobs?script=%EF%BF%BD&limit=1").json()["jobs"] == []


@pytest.mark.parametrize(("method", "path"), OTHERS)
def test_compatible_routes_bear_a_parameter_given_twice(
    alice: Caller, method: str, path: str
) -> None:
    plain = alice.request(method, _filled(path), content=b"{}")
    asked = alice.request(method, f"{_filled(path)}?zzz=1&zzz=2", content=b"{}")
    assert asked.status_code == plain.status_code


@pytest.mark.parametrize(("method", "path"), OTHERS)
def test_compatible_routes_bear_it(alice: Caller, method: str, path: str) -> None:
    plain = alice.request(method, _filled(path), content=b"{}")
    asked = alice.request(method, f"{_filled(path)}?zzz=1", content=b"{}")
    assert asked.status_code == plain.status_code
    assert "zzz" not in asked.text


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("limt=5", "limit"), ("State=failed", "state"), ("created_from=x", "createdFrom")],
)
def test_a_slip_is_told_what_was_meant(alice: Caller, asked: str, meant: str) -> None:
    answer = alice.get(f"/api/v1/jobs?limit=5&{asked}")
    assert answer.status_code == 400
    assert answer.json()["errorMessage"].endswith(f'did you mean "{meant}"?')


def test_it_is_told_before_the_body_is_read_and_after_who_asks(
    alice: Caller, nobody: httpx2.Client
) -> None:
    assert nobody.get("/api/v1/jobs?limt=5").status_code == 401
    answer = alice.put("/api/v1/tables/QP_NONE?glob=true", content=b"a\n1\n")
    assert answer.json()["field"] == "glob"
    assert alice.get("/api/v1/tables/QP_NONE").status_code == 404
    assert alice.head("/api/v1/jobs?limt=5").status_code == 400


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.text(min_size=1, max_size=200), value=st.text(max_size=5))
def test_whatever_the_name_it_is_one_shape(alice: Caller, name: str, value: str) -> None:
    answer = alice.get("/api/v1/tables", params={name: value})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2002)
    assert answer.json()["field"][:60] == name[:60]
