"""A script's own OpenAPI document, and arguments that are refused before anything is queued."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fanfold import Client, errors
from tests.acceptance.conftest import PASSWORD, Caller, Server

SOURCE = '''\
def typed(
    index: int, points: int = 1000, *, kind: str, weights: list[float] | None = None, rng=None
) -> float:
    """Estimate something.

    Args:
        points: how many.
        kind: of the estimate.
    """
    return float(index * points)
'''
RUNS = "/oml/api/py-scripts/v2"


@pytest.fixture
def typed(alice: Caller) -> Caller:
    alice.store("typed", SOURCE)
    return alice


def test_a_script_has_a_document_of_its_own(typed: Caller) -> None:
    document: dict[str, Any] = typed.get("/api/v1/scripts/typed/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "ALICE.typed"
    operation = document["paths"][f"{RUNS}/index-apply/typed"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    parameters = body["properties"]["parameters"]
    assert parameters["properties"] == {
        "points": {"type": "integer", "default": 1000, "description": "how many."},
        "kind": {"type": "string", "description": "of the estimate."},
        "weights": {
            "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}],
            "default": None,
        },
    }
    assert parameters["required"] == ["kind"]
    assert parameters["additionalProperties"] is False
    assert set(body["required"]) == {"times", "parameters"}
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["properties"]["result"] == {"type": "array", "items": {"type": "number"}}
    assert "Estimate something." in operation["description"]
    once = document["paths"][f"{RUNS}/do-eval/typed"]["post"]["requestBody"]
    assert (
        "index"
        in once["content"]["application/json"]["schema"]["properties"]["parameters"]["properties"]
    )


def test_whatever_it_refers_to_is_in_the_document(typed: Caller) -> None:
    """A generator of clients stops at the first reference that leads nowhere."""
    document = typed.get("/api/v1/scripts/typed/openapi.json").json()
    named = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)))
    there = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert named == there
    assert "$defs" not in json.dumps(document)


def test_whom_it_is_granted_to_may_read_it_and_nobody_else(typed: Caller, bob: Caller) -> None:
    address = "/api/v1/scripts/typed/openapi.json"
    assert bob.get(address, params={"owner": "alice"}).status_code == 404
    typed.put("/api/v1/scripts/typed/grants/bob")
    document = bob.get(address, params={"owner": "alice"}).json()
    assert f"{RUNS}/do-eval/typed/ALICE" in document["paths"]
    typed.delete("/api/v1/scripts/typed/grants/bob")


@pytest.mark.parametrize("members", [{}, {"asyncFlag": True}])
def test_a_name_that_is_wrong_or_missing_is_refused_before_anything_is_queued(
    typed: Caller, members: dict[str, object]
) -> None:
    """Status, the two members and Python's words are those of the call that would have failed."""
    before = typed.get("/api/v1/jobs").json()
    for verb, own in (("index-apply", {"times": 100_000}), ("do-eval", {})):
        for parameters, argument in (({}, "kind"), ({"kind": "a", "point": 1}, "point")):
            index = {"index": 1} if verb == "do-eval" else {}
            body = {"parameters": {**parameters, **index}, **own, **members}
            answer = typed.post(f"{RUNS}/{verb}/typed", json=body)
            assert answer.status_code == 400
            said = answer.json()
            assert said["errorCode"] == 2009
            assert said["errorType"] == "TypeError"
            assert said["argument"] == argument
            assert said["errorMessage"].startswith("TypeError: typed() ")
            assert "points=1000" in said["errorMessage"]
    assert typed.get("/api/v1/jobs").json() == before


def test_types_are_looked_at_only_where_that_is_asked_for(typed: Caller) -> None:
    """Python itself does not: what has run until today goes on running."""
    body = {"times": 1, "parameters": {"kind": 5}}
    assert typed.post(f"{RUNS}/index-apply/typed", json=body).json() == {"result": [1000]}
    answer = typed.post(f"{RUNS}/index-apply/typed", json={**body, "checkArguments": True})
    assert answer.status_code == 400
    assert "argument 'kind' should be a string; it is 5" in answer.json()["errorMessage"]


@pytest.mark.usefixtures("typed")
def test_the_client_asks_for_it(server: Server) -> None:
    with Client(server.url, username="alice", password=PASSWORD) as client:
        with pytest.raises(errors.InvalidArguments, match="'kind' should be a string"):
            client.index_apply(3, "typed", kind=3)
        assert client.index_apply(2, "typed", kind="a", points=2) == [2, 4]
        assert client.using(check=False).index_apply(1, "typed", kind=3) == [1000]
        document = client.scripts.openapi("typed")
        assert document["info"]["version"] == "1"
