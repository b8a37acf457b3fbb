"""Tokens, as wire.md §4 of the reference has them."""

from __future__ import annotations

import subprocess

import httpx2
import pytest

from tests.acceptance.conftest import PASSWORD, Caller, Server, StartServer

TOKEN = "/omlusers/api/oauth2/v1/token"
LEGACY_TOKEN = "/omlusers/tenants/t1/databases/d1/api/oauth2/v1/token"
REVOKE = "/omlusers/api/oauth2/v1/revoke"
LOGIN = {"grant_type": "password", "username": "alice", "password": PASSWORD}


def _is_good(server: Server, token: str) -> bool:
    with Caller(server.url, "?", token) as caller:
        return caller.get("/api/v1/scripts").status_code == 200


@pytest.mark.parametrize("path", [TOKEN, LEGACY_TOKEN])
def test_a_login_answers_as_the_compatible_service_does(nobody: httpx2.Client, path: str) -> None:
    answer = nobody.post(path, json=LOGIN)
    token = answer.json()["accessToken"]
    wanted = f'{{"accessToken":"{token}","expiresIn":3600,"tokenType":"Bearer"}}'
    assert (answer.status_code, answer.text) == (200, wanted)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(wanted))


def test_a_user_name_is_taken_in_any_case(nobody: httpx2.Client) -> None:
    assert nobody.post(TOKEN, json={**LOGIN, "username": "AlIcE"}).status_code == 200


def test_a_form_and_unlabelled_json_are_accepted(nobody: httpx2.Client) -> None:
    """OAuth 2 clients send forms; curl -d calls everything a form."""
    assert nobody.post(TOKEN, data=LOGIN).status_code == 200
    body = f'{{"grant_type":"password","username":"alice","password":"{PASSWORD}"}}'
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert nobody.post(TOKEN, content=body, headers=form).status_code == 200
    assert nobody.post(TOKEN, content=body).status_code == 200


@pytest.mark.parametrize("member", ["refresh_token", "token"])
@pytest.mark.parametrize("has_header", [False, True])
def test_both_forms_of_refresh_give_a_new_token_and_leave_the_old_one(
    server: Server, nobody: httpx2.Client, member: str, has_header: bool
) -> None:
    old = server.token("alice")
    headers = {"Authorization": f"Bearer {old}"} if has_header else {}
    body = {"grant_type": "refresh_token", member: old}
    answer = nobody.post(TOKEN, json=body, headers=headers)
    assert list(answer.json()) == ["accessToken", "expiresIn", "tokenType"]
    new = answer.json()["accessToken"]
    assert new != old
    assert _is_good(server, new)
    assert _is_good(server, old)


@pytest.mark.parametrize(
    ("path", "body"),
    [(TOKEN, {"grant_type": "revoke"}), (REVOKE, {}), (REVOKE, {"token_type_hint": "x"})],
)
def test_a_revoked_token_is_of_no_use_and_cannot_be_refreshed(
    server: Server, nobody: httpx2.Client, path: str, body: dict[str, str]
) -> None:
    token, other = server.token("bob"), server.token("bob")
    assert _is_good(server, token)
    for _ in range(2):
        answer = nobody.post(path, json={**body, "token": token})
        assert (answer.status_code, answer.json()) == (
            200,
            {"result": "token revoked successfully"},
        )
    assert not _is_good(server, token)
    refused = nobody.post(TOKEN, json={"grant_type": "refresh_token", "token": token})
    assert (refused.status_code, refused.json()["errorCode"]) == (401, 2101)
    assert _is_good(server, other)


@pytest.mark.parametrize(
    ("change", "status", "code", "named"),
    [
        ({"password": "wrong"}, 401, 2103, "password"),
        ({"username": "nobody_here"}, 401, 2103, "password"),
        ({"username": None}, 400, 2002, '"username" is missing'),
        ({"password": ""}, 400, 2002, '"password" is empty'),
        ({"password": 12345678}, 400, 2002, '"password" is not a text'),
        ({"grant_type": "magic"}, 400, 2002, '"refresh_token"'),
        ({"grant_type": None}, 400, 2002, '"grant_type" is missing'),
        ({"grant_type": "refresh_token"}, 400, 2002, '"refresh_token" is missing'),
        ({"grant_type": "refresh_token", "token": "nonsense"}, 401, 2101, "token"),
    ],
)
def test_a_login_that_cannot_be_says_why(
    nobody: httpx2.Client, change: dict[str, object], status: int, code: int, named: str
) -> None:
    answer = nobody.post(TOKEN, json={**LOGIN, **change})
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    assert named in answer.json()["errorMessage"]
    assert (answer.headers.get("www-authenticate") == "Bearer") is (status == 401)
    assert "12345678" not in answer.text


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'{"a":"\xff"}', b"grant_type=%FF"])
def test_a_body_that_cannot_be_read_is_refused(nobody: httpx2.Client, body: bytes) -> None:
    is_form = body.startswith(b"g")
    kind = "application/x-www-form-urlencoded" if is_form else "application/json"
    answer = nobody.post(TOKEN, content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2001)


def test_failed_logins_are_slowed_down_and_told_how_long(start_server: StartServer) -> None:
    server = start_server(users={"eve": "developer"})
    body = {"grant_type": "password", "username": "eve", "password": "wrong"}
    with server.client() as client:
        answers = [client.post(TOKEN, json=body) for _ in range(8)]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["errorCode"] == 2104
        assert int(refused.headers["retry-after"]) >= 1
        right = client.post(TOKEN, json={**body, "password": PASSWORD})
        assert right.status_code == 429, "a right password must not be told apart while it waits"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Basic YTpi", "Bearer nonsense", "Bearer \xff", "nonsense"]
)
def test_what_is_no_token_is_refused_with_the_error_object(
    nobody: httpx2.Client, header: str | None
) -> None:
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    answer = nobody.get("/oml/api/py-scripts/v1/scripts", headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (401, 2101)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_is_looked_at_before_the_body(nobody: httpx2.Client) -> None:
    answer = nobody.put("/api/v1/scripts/x", content=b"{", headers={"Content-Type": "a/json"})
    assert answer.status_code == 401


def test_an_expired_token_says_so(start_server: StartServer) -> None:
    server = start_server("--token-lifetime-s", "1", users={"alice": "developer"})
    with server.caller("alice") as caller:
        # The limit is the test's; each question takes the server a moment.
        answer = caller.get("/api/v1/scripts")
        while answer.status_code == 200:
            answer = caller.get("/api/v1/scripts")
        assert (answer.status_code, answer.json()["errorCode"]) == (401, 2102)
        assert "expired" in answer.json()["errorMessage"]


def test_curl_as_in_the_manual(server: Server) -> None:
    body = f'{{"grant_type":"password","username":"ALICE","password":"{PASSWORD}"}}'
    done = subprocess.run(
        [
            "curl",
            "-sS",
            "-i",
            "-H",
            "Content-Type: application/json",
            "-d",
            body,
            server.url + TOKEN,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    head, _, answer = done.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert answer.startswith('{"accessToken":"')
