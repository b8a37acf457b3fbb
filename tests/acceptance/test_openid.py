"""Bearer tokens of a real OpenID provider, and everything that only looks like them."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.acceptance.conftest import Server, StartServer, run_fanfold, serving
from tests.fakes.ports import reserved_port
from tests.openid.provider import INSTALL_LIMIT_S, Provider, fresh_key

pytestmark = pytest.mark.timeout(60 + INSTALL_LIMIT_S)

USERS = {"alice": "developer", "bob": "developer", "root": "admin"}
SCRIPTS = "/api/v1/scripts"
AUDIT = "/api/v1/audit"


@pytest.fixture(scope="module")
def key() -> RSAKey:
    return fresh_key("first")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory, key: RSAKey) -> Iterator[Provider]:
    with running(tmp_path_factory.mktemp("provider"), key) as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("openid"), *trusting(provider), users=USERS) as started:
        run_fanfold("user", "disable", "bob", "--data", str(started.data))
        yield started


@contextmanager
def running(folder: Path, key: RSAKey) -> Iterator[Provider]:
    with reserved_port() as port:
        provider = Provider(folder, port)
        provider.start(key)
        try:
            yield provider
        finally:
            provider.stop()


def trusting(provider: Provider) -> tuple[str, ...]:
    return (
        *("--oidc-issuer", provider.issuer, "--oidc-audience", "fanfold"),
        *("--oidc-leeway-s", "0"),
    )


def get(server: Server, token: str, path: str = SCRIPTS) -> httpx2.Response:
    return httpx2.get(server.url + path, headers={"Authorization": f"Bearer {token}"})


def assert_refused(answer: httpx2.Response, why: str) -> None:
    assert answer.status_code == 401, answer.text
    assert why in answer.json()["errorMessage"]
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_of_the_provider_opens_the_account_of_its_user(
    server: Server, provider: Provider
) -> None:
    token = provider.token("alice")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=60) as client:
        stored = client.put(f"{SCRIPTS}/two", json={"source": "def two():\n    return 2\n"})
        assert stored.status_code == 201, stored.text
        assert stored.json()["owner"] == "ALICE"
        assert client.post("/oml/api/py-scripts/v1/do-eval/two", json={}).json() == {"result": 2}
        assert client.get(AUDIT).status_code == 403, "her own role holds"
    told = get(server, server.token("root"), f"{AUDIT}?actor=alice&action=run.do-eval").text
    assert '"target":"two"' in told
    assert token.split(".")[1] not in server.log.read_text() + told


def test_a_token_for_another_server_is_refused(server: Server, provider: Provider) -> None:
    assert_refused(get(server, provider.token("alice", "urn:elsewhere")), '"aud"')


def test_a_token_of_another_issuer_is_refused_even_if_it_has_the_same_key(
    server: Server, key: RSAKey, tmp_path: Path
) -> None:
    with running(tmp_path, key) as other:
        assert_refused(get(server, other.token("alice")), '"iss"')


def test_a_token_ends_when_it_says_so(server: Server, provider: Provider) -> None:
    token = provider.token("alice", "urn:fanfold/2")
    assert get(server, token).status_code == 200
    deadline = time.monotonic() + 20
    while (answer := get(server, token)).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer.status_code == 401
    assert answer.json()["errorCode"] == 2102


def test_what_nobody_has_signed_is_refused(server: Server, provider: Provider) -> None:
    body = provider.token("alice").split(".")[1]
    for alg in ("none", "None", "NONE", "", None):
        head = json.dumps({"alg": alg, "kid": "first"}).encode()
        forged = f"{_encoded(head)}.{body}."
        assert_refused(get(server, forged), "not valid")


def test_a_public_key_is_no_password_to_sign_with(server: Server, provider: Provider) -> None:
    """Who confuses the two lets in everybody: the public key is public."""
    body = provider.token("alice").split(".")[1]
    public = _public(provider)
    head = _encoded(b'{"alg":"HS256","kid":"first"}')
    for secret in (public.as_pem(private=False), public.as_der(private=False)):
        sealed = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
        forged = f"{head}.{body}.{_encoded(sealed)}"
        assert_refused(get(server, forged), "does not admit")


def test_a_key_that_comes_with_the_token_is_not_used(server: Server, provider: Provider) -> None:
    claims = jwt.decode(provider.token("alice"), _public(provider), ["RS256"]).claims
    own = fresh_key("first")
    head = {"alg": "RS256", "kid": "first", "jwk": own.as_dict(private=False)}
    assert_refused(get(server, jwt.encode(head, claims, own)), "signature")


def test_a_token_that_was_changed_is_refused(server: Server, provider: Provider) -> None:
    head, body, signature = provider.token("alice").split(".")
    other = provider.token("stranger").split(".")
    assert_refused(get(server, f"{head}.{other[1]}.{signature}"), "signature")
    assert_refused(get(server, f"{head}.{body}.{other[2]}"), "signature")
    assert_refused(get(server, f"{head}.{body}."), "")


def test_a_user_without_an_account_and_a_disabled_one_are_told_the_same(
    server: Server, provider: Provider
) -> None:
    stranger, bob = (get(server, provider.token(name)) for name in ("stranger", "bob"))
    assert_refused(stranger, "may not come in")
    assert stranger.content == bob.content


def test_the_providers_groups_are_roles_here_if_the_operator_says_so(
    start_server: StartServer, provider: Provider
) -> None:
    server = start_server(
        *trusting(provider),
        *("--oidc-role-claim", "realm.groups", "--oidc-roles", "admins=admin,users=developer"),
        users=USERS,
    )
    assert get(server, provider.token("alice-admins"), AUDIT).status_code == 200
    for client in ("alice", "alice-guests"):
        assert_refused(get(server, provider.token(client)), "realm.groups")


def test_new_keys_are_fetched_when_a_token_names_one(
    start_server: StartServer, tmp_path: Path
) -> None:
    with running(tmp_path, fresh_key("old")) as provider:
        server = start_server(*trusting(provider), users=USERS)
        old = provider.token("alice")
        assert get(server, old).status_code == 200
        provider.stop()
        provider.start(fresh_key("new"))
        assert get(server, provider.token("alice")).status_code == 200
        provider.stop()
        deadline = time.monotonic() + 20  # what was good is taken for good for 5 s
        while (answer := get(server, old)).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert_refused(answer, "no such key")


def test_a_provider_that_is_away_is_missed_by_nobody_whose_keys_are_known(
    start_server: StartServer, tmp_path: Path, key: RSAKey
) -> None:
    with running(tmp_path, key) as provider:
        tokens = [provider.token("alice", f"urn:fanfold/{life}") for life in (500, 600)]
        server = start_server(*trusting(provider), users=USERS)
        assert get(server, tokens[0]).status_code == 200
        provider.stop()
        assert get(server, tokens[1]).status_code == 200, "by the keys that are known"
        late = start_server(*trusting(provider), users=USERS)
        answer = get(late, tokens[0])
        assert answer.status_code == 503
        assert answer.json()["errorCode"] == 5030
        assert int(answer.headers["retry-after"]) >= 1
        assert get(late, late.token("alice")).status_code == 200, "a password does all the same"


def _public(provider: Provider) -> RSAKey:
    return RSAKey.import_key(httpx2.get(f"{provider.issuer}/jwks").json()["keys"][0])


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
