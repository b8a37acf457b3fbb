"""JSON is read to the letter, by every route that reads any, and all of them read the same."""

from __future__ import annotations

import pytest

from fanfold_server.http.strict import MAX_DEPTH, MAX_VALUES
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


MARK = b"\xef\xbb\xbf"


@EVERY_ROUTE
def test_a_byte_order_mark_is_passed_over(
    alice: Caller, method: str, path: str, members: str
) -> None:
    """Windows PowerShell and old .NET write one before UTF-8; RFC 8259 (8.1) lets us ignore it."""
    body = ("{" + members + ', "overwrite": true}').encode()
    plain = alice.request(method, path, content=body, headers=JSON)
    marked = alice.request(method, path, content=MARK + body, headers=JSON)
    assert marked.status_code == plain.status_code, marked.text
    assert marked.json().get("errorCode") != 2001
    twice = alice.request(method, path, content=MARK * 2 + body, headers=JSON)
    assert (twice.status_code, twice.json()["errorCode"]) == (400, 2001), "one mark is one"


@pytest.mark.parametrize("marked", [True, False])
def test_a_key_stands_for_the_request_with_and_without_a_mark(alice: Caller, marked: bool) -> None:
    path = "/oml/api/py-scripts/v2/do-eval/strict"
    places = set()
    for mark in (b"", MARK if marked else b""):
        body = mark + b'{"asyncFlag": true, "seed": 1, "zz": 1e400}'
        headers = {**JSON, "Idempotency-Key": f"marked {marked}"}
        answer = alice.post(path, content=body, headers=headers)
        assert answer.status_code == 201, answer.text
        places.add(answer.headers["location"])
    assert len(places) == 1


def test_a_key_sees_every_digit_of_a_whole_number(alice: Caller) -> None:
    path = "/oml/api/py-scripts/v2/do-eval/strict"
    headers = {**JSON, "Idempotency-Key": "digits"}

    def asked(number: int) -> int:
        body = b'{"asyncFlag": true, "seed": 1, "parameters": {"x": %d}}' % number
        return alice.post(path, content=body, headers=headers).status_code

    assert [asked(10**30), asked(10**30), asked(10**30 + 1)] == [201, 201, 409]


@EVERY_ROUTE
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_refused_by_its_name(
    alice: Caller, method: str, path: str, members: str, encoding: str
) -> None:
    body = ("{" + members + "}").encode(encoding)
    answer = alice.request(method, path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2001)
    assert answer.json()["errorMessage"].endswith("UTF-16 or UTF-32: send JSON in UTF-8.")


@EVERY_ROUTE
def test_bytes_of_no_encoding_are_refused_by_their_place(
    alice: Caller, method: str, path: str, members: str
) -> None:
    body = b'{"zz": "\xff", ' + members.encode() + b"}"
    answer = alice.request(method, path, content=body, headers=JSON)
    assert answer.json()["errorMessage"] == "The request body is not UTF-8 (byte 8)."


WHOLE = [
    ("/api/v1/scripts/strict/rollback", "version"),
    ("/oml/api/py-scripts/v2/index-apply/strict", "times"),
]


@pytest.mark.parametrize(("path", "member"), WHOLE)
@pytest.mark.parametrize("sent", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_have_is_refused_by_its_place(
    alice: Caller, path: str, member: str, sent: str
) -> None:
    """Not as "null", which nobody has sent."""
    body = '{"' + member + '": ' + sent + "}"
    answer = alice.post(path, content=body.encode(), headers=JSON)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2001)
    place = len(member) + 5 + sent.startswith("-")
    assert str(place) in answer.json()["errorMessage"]
    assert "null" not in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/scripts/strict/rollback", '{"version": %s}'),
        ("/oml/api/py-scripts/v2/index-apply/strict", '{"times": %s}'),
        ("/oml/api/py-scripts/v2/do-eval/strict", '{"callTimeout": %s}'),
        ("/oml/api/py-scripts/v2/do-eval/strict", '{"parameters": {"x": %s}}'),
        ("/oml/api/py-scripts/v2/do-eval/strict", '{"parameters": "{\\"x\\": %s}"}'),
        ("/oml/api/py-scripts/v2/do-eval/strict", '{"parameters": {"oml_a": 1, "x": %s}}'),
    ],
)
@pytest.mark.parametrize("sent", ["1e400", "-1e400"])
def test_a_number_that_no_float_holds_is_called_that(
    alice: Caller, path: str, body: str, sent: str
) -> None:
    answer = alice.post(path, content=(body % sent).encode(), headers=JSON)
    assert answer.status_code == 400
    assert "a number beyond 1.8e308" in answer.json()["errorMessage"]
    assert "null" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/api/v1/scripts/strict", '{"source": "x", %s}'),
        ("POST", "/api/v1/tokens", '{"name": "x", "scopes": [{%s}]}'),
    ],
)
def test_a_body_of_very_many_values_is_refused_before_each_is_looked_at(
    alice: Caller, method: str, path: str, body: str
) -> None:
    """All other requests would wait for seconds while each was told to be wrong."""
    many = ", ".join(f'"m{n}": 1' for n in range(MAX_VALUES))
    answer = alice.request(method, path, content=(body % many).encode(), headers=JSON)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2001)
    assert f"more than {MAX_VALUES} values" in answer.json()["errorMessage"]


def test_commas_in_a_text_are_no_values(alice: Caller) -> None:
    source = f"def strict(x=0):\n    return len([{'0,' * MAX_VALUES}])\n"
    alice.store("strict", source)
    assert alice.do_eval("strict").json() == {"result": MAX_VALUES}


def test_a_name_as_long_as_a_body_is_told_in_short(alice: Caller) -> None:
    body = '{"source": "x", "' + "n" * 1_000_000 + '": 1}'
    answer = alice.put("/api/v1/scripts/strict", content=body.encode(), headers=JSON)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2002)
    assert len(answer.content) < 500


@pytest.mark.parametrize("verb", ["resume", "extend"])
@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b'{"\xff"', b"{}{}", b"null"])
@pytest.mark.parametrize("media_type", ["application/json", "text/csv", "x"])
def test_what_is_no_body_of_a_route_is_refused_also_with_a_key(
    alice: Caller, verb: str, body: bytes, media_type: str
) -> None:
    """The key's digest is made before whoever refuses the body has looked at it."""
    path = f"/api/v1/jobs/00000000-0000-0000-0000-000000000000/{verb}"
    for key in ({}, {"Idempotency-Key": "any"}):
        answer = alice.post(path, content=body, headers={"Content-Type": media_type, **key})
        assert (answer.status_code, answer.json()["errorCode"]) == (400, 2001)
