"""JSON is read to the letter, by every route that reads any, and all of them read the same."""

from __future__ import annotations

import pytest

from fanfold_server.http.strict import MAX_DEPTH
from tests.acceptance.conftest import Caller

JSON = {"Content-Type": "application/json"}
ROUTES = [
    ("PUT", "/api/v1/scripts/strict", '"source": "def strict(x=0):\\n    return x\\n"'),
    ("POST", "/api/v1/scripts/strict/rollback", '"version": 1'),
    ("POST", "/oml/api/py-scripts/v1/do-eval/strict", '"seed": 1'),
    ("POST", "/oml/api/py-scripts/v2/index-apply/strict", '"times": 1'),
    ("POST", "/omlusers/api/oauth2/v1/token", '"grant_type": "password", "username": "alice"'),
]
EVERY_ROUTE = pytest.mark.parametrize(("method", "path", "members"), ROUTES)


@pytest.fixture(scope="module", autouse=True)
def _stored(alice: Caller) -> None:
    alice.store("strict", "def strict(x=0):\n    return x\n")


@EVERY_ROUTE
@pytest.mark.parametrize(
    "wrong",
    [
        '"zz": NaN',
        '"zz": Infinity',
        '"zz": -Infinity',
        '"zz": 01',
        '"zz": .5',
        '"zz": 1,',
        "'zz': 1",
        '"zz": /* one */ 1',
        '"zz": "\t"',
        '"zz": tru',
        '"zz": 1} {',
    ],
)
def test_what_only_looks_like_json_is_refused(
    alice: Caller, method: str, path: str, members: str, wrong: str
) -> None:
    body = "{" + members + ", " + wrong + "}"
    answer = alice.request(method, path, content=body.encode(), headers=JSON)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2001), answer.text


@EVERY_ROUTE
def test_depth_has_a_limit_that_is_named(
    alice: Caller, method: str, path: str, members: str
) -> None:
    for deep in (MAX_DEPTH + 1, 1000, 20_000):
        nested = "[" * deep + "]" * deep
        body = "{" + members + ', "zz": ' + nested + "}"
        answer = alice.request(method, path, content=body.encode(), headers=JSON)
        assert (answer.status_code, answer.json()["errorCode"]) == (400, 2001), answer.text
        if deep == MAX_DEPTH + 1:
            assert str(MAX_DEPTH) in answer.json()["errorMessage"]


def test_of_members_with_one_name_the_last_counts(alice: Caller) -> None:
    """As on the compatible service; a rule that differs by route would let two readers differ."""

    def sent(method: str, path: str, body: str) -> dict[str, object]:
        answer = alice.request(method, path, content=body.encode(), headers=JSON)
        assert answer.is_success, answer.text
        found: dict[str, object] = answer.json()
        return found

    run = "/oml/api/py-scripts/v1/do-eval/strict"
    inner = '{\\"x\\": 1, \\"x\\": 2}'
    assert sent("POST", run, '{"parameters": "' + inner + '"}') == {"result": 2}
    assert sent("POST", run, '{"parameters": {"x": 1, "x": 3}}') == {"result": 3}
    assert sent("POST", run, '{"parameters": {"x": 1}, "parameters": {"x": 4}}') == {"result": 4}
    twice = '{"source": "nonsense(", "source": "def strict(x=0):\\n    return x\\n", '
    stored = sent("PUT", "/api/v1/scripts/strict", twice + '"overwrite": false, "overwrite": true}')
    assert stored["name"] == "strict"
