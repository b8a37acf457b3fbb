"""Keys of a provider: when they are fetched, which are used, and what a token has to say.

The provider here is a small server of the test's own, which says what no real one would; a real one
is in `tests/acceptance/test_openid.py`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, RSAKey

from fanfold_server.identity.openid import (
    FRESH_S,
    MAX_ANSWER_BYTES,
    MAX_TOKEN_BYTES,
    PAUSE_S,
    STALE_S,
    OpenIdProvider,
)
from fanfold_server.identity.port import Vouched
from fanfold_server.model.actor import Role
from fanfold_server.model.errors import IdentityUnavailable, TokenExpired, Unauthenticated
from fanfold_server.model.identity import Meaning, Trust, check_address, claim, read_roles

NOW = 1_800_000_000
LEEWAY_S = 30
KEYS = "/keys"
DISCOVERY = "/.well-known/openid-configuration"


@dataclass
class Site:
    """What is answered, by path: status and body; and how often each was asked for."""

    url: str = ""
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    pause_s: float = 0.0
    """Between the bytes of an answer."""

    def offer(self, *keys: object) -> None:
        """Answer as a provider with these keys does."""
        listed = [key if isinstance(key, dict) else _public(key) for key in keys]
        told = {"issuer": self.url, "jwks_uri": self.url + KEYS}
        self.answers = {
            DISCOVERY: (200, json.dumps(told).encode()),
            KEYS: (200, json.dumps({"keys": listed}).encode()),
        }

    @property
    def rounds(self) -> int:
        """How often the provider was asked for what it says of itself."""
        return self.asked.count(DISCOVERY)


@dataclass
class Clock:
    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            status, body = found.answers.get(self.path, (404, b""))
            self.send_response(status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # nobody waits so long
                for piece in (
                    [body] if not found.pause_s else [body[i : i + 1] for i in range(len(body))]
                ):
                    self.wfile.write(piece)
                    time.sleep(found.pause_s)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "one"})


@asynccontextmanager
async def asking(
    site: Site, clock: Clock, *, algorithms: tuple[str, ...] = ("RS256", "ES256")
) -> AsyncIterator[OpenIdProvider]:
    trust = Trust(issuer=site.url, audience="fanfold", algorithms=algorithms, leeway_s=LEEWAY_S)
    async with httpx2.AsyncClient(trust_env=False) as client:
        provider = OpenIdProvider(trust, client, now=lambda: float(NOW), monotonic=clock)
        try:
            yield provider
        finally:
            await provider.close()


def signed(site: Site, key: Any, *, head: dict[str, Any] | None = None, **claims: object) -> bytes:
    """Make a token that is good, but for what is said."""
    whole = {"iss": site.url, "aud": "fanfold", "exp": NOW + 60, "sub": "u", **claims}
    header = {"alg": "ES256" if isinstance(key, ECKey) else "RS256", "kid": key.kid, **(head or {})}
    told = {name: value for name, value in whole.items() if value is not ...}
    return jwt.encode(header, told, key, [header["alg"]]).encode()


def by_hand(site: Site, key: RSAKey, head: dict[str, Any]) -> bytes:
    """Sign what the library would not."""
    claims = {"iss": site.url, "aud": "fanfold", "exp": NOW + 60}
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (head, claims)]
    text = b".".join(parts)
    seal = key.private_key.sign(text, PKCS1v15(), SHA256()) if key.private_key else b""
    return text + b"." + urlsafe_b64encode(seal).rstrip(b"=")


def _public(key: Any) -> dict[str, Any]:
    public: dict[str, Any] = key.as_dict(private=isinstance(key, OctKey))
    return public


async def refusal(provider: OpenIdProvider, token: bytes) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await provider.vouch(token)
    return caught.value.message


async def test_keys_are_fetched_once_and_renewed_beside_the_requests(
    site: Site, key: RSAKey
) -> None:
    site.offer(key)
    clock = Clock()
    async with asking(site, clock) as provider:
        tokens = [signed(site, key, jti=str(i)) for i in range(5)]
        found = await asyncio.gather(*map(provider.vouch, tokens))
        assert all(one is not None and one.life_s == 60 + LEEWAY_S for one in found)
        assert site.rounds == 1
        clock.seconds += FRESH_S + 1
        site.answers = {}  # it is away: nobody waits, nobody misses it
        for token in tokens:
            assert await provider.vouch(token) is not None
        clock.seconds += STALE_S
        with pytest.raises(IdentityUnavailable):
            await provider.vouch(tokens[0])


async def test_keys_that_nobody_has_do_not_have_the_provider_asked_again_and_again(
    site: Site, key: RSAKey
) -> None:
    site.offer(key)
    clock = Clock()
    async with asking(site, clock) as provider:
        for i in range(20):
            unknown = signed(site, key, head={"kid": f"unknown {i}"})
            assert "no such key" in await refusal(provider, unknown)
        assert site.rounds == 2  # the first time, and once for a key that could be new
        clock.seconds += PAUSE_S
        other = RSAKey.generate_key(2048, {"kid": "two"})
        site.offer(other)
        assert await provider.vouch(signed(site, other)) is not None
        assert site.rounds == 3
        assert "no such key" in await refusal(provider, signed(site, key))


async def test_a_provider_that_is_away_is_asked_once_in_a_while(site: Site, key: RSAKey) -> None:
    clock = Clock()
    async with asking(site, clock) as provider:
        for _ in range(5):
            with pytest.raises(IdentityUnavailable):
                await provider.vouch(signed(site, key))
        assert site.rounds == 1
        site.offer(key)
        clock.seconds += PAUSE_S
        assert await provider.vouch(signed(site, key)) is not None


async def test_a_provider_that_drips_is_as_good_as_away(
    site: Site, key: RSAKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte is news, but the answer as a whole has its time."""
    monkeypatch.setattr("fanfold_server.identity.openid.ANSWER_S", 0.1)
    site.offer(key)
    clock = Clock()
    async with asking(site, clock) as provider:
        site.pause_s = 0.05
        with pytest.raises(IdentityUnavailable):
            await provider.vouch(signed(site, key))
        site.pause_s = 0.0
        clock.seconds += PAUSE_S
        assert await provider.vouch(signed(site, key)) is not None


async def test_a_provider_is_not_followed_elsewhere(site: Site, key: RSAKey) -> None:
    """What answers in its name says so itself, under its own address."""
    site.offer(key)
    told = {
        "a redirect": (302, b""),
        "another issuer": (200, b'{"issuer":"https://other.example","jwks_uri":"x"}'),
        "a list": (200, b"[]"),
        "no JSON": (200, b"<html>"),
        "no keys": (200, json.dumps({"issuer": site.url}).encode()),
        "a file": (200, json.dumps({"issuer": site.url, "jwks_uri": "file:///etc"}).encode()),
        "no TLS": (
            200,
            json.dumps({"issuer": site.url, "jwks_uri": "http://keys.example/k"}).encode(),
        ),
        "too much": (200, b" " * (MAX_ANSWER_BYTES + 1)),
    }
    for answer in told.values():
        site.answers[DISCOVERY] = answer
        site.headers = {"location": site.url + "/elsewhere"}
        async with asking(site, Clock()) as provider:
            with pytest.raises(IdentityUnavailable):
                await provider.vouch(signed(site, key))
    assert set(site.asked) == {DISCOVERY}


async def test_only_keys_that_verify_and_are_long_enough_are_used(site: Site, key: RSAKey) -> None:
    shared = OctKey.generate_key(256, {"kid": "shared"})
    with pytest.warns(SecurityWarning):
        short = RSAKey.generate_key(1024, {"kid": "short"})
    curve = ECKey.generate_key("P-256", {"kid": "curve"})
    sealing = {**_public(key), "kid": "sealing", "use": "enc"}
    odd: list[object] = [{"kty": "XYZ"}, {"kty": "RSA", "n": "!"}, {}, 7, {"kty": "EC", "crv": 1}]
    site.offer(shared, short, sealing, curve, key)
    listed = json.loads(site.answers[KEYS][1])["keys"]
    site.answers[KEYS] = (200, json.dumps({"keys": odd + listed}).encode())
    async with asking(site, Clock(), algorithms=("RS256", "ES256")) as provider:
        assert await provider.vouch(signed(site, key)) is not None
        assert await provider.vouch(signed(site, curve)) is not None
        for name in ("short", "sealing", "shared"):
            token = signed(site, key, head={"kid": name})
            assert "no such key" in await refusal(provider, token)
        confused = signed(site, key, head={"kid": "curve"})
        assert "signature" in await refusal(provider, confused)


async def test_a_token_without_a_keys_name_is_good_if_there_is_one_key(
    site: Site, key: RSAKey
) -> None:
    nameless = RSAKey.import_key(key.as_pem(private=True))
    site.offer(key)
    async with asking(site, Clock()) as provider:
        token = jwt.encode(
            {"alg": "RS256"},
            {"iss": site.url, "aud": ["other", "fanfold"], "exp": NOW + 1},
            nameless,
        )
        assert await provider.vouch(token.encode()) is not None
        site.offer(key, ECKey.generate_key("P-256", {"kid": "two"}))
    async with asking(site, Clock()) as provider:
        assert "no such key" in await refusal(provider, token.encode())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "other"}, '"aud"'),
        ({"aud": ["other"]}, '"aud"'),
        ({"aud": ...}, '"aud"'),
        ({"aud": {"fanfold": 1}}, '"aud"'),
        ({"iss": "https://other.example"}, '"iss"'),
        ({"iss": ...}, '"iss"'),
        ({"iss": 7}, '"iss"'),
        ({"exp": ...}, '"exp"'),
        ({"exp": "tomorrow"}, '"exp"'),
        ({"exp": True}, '"exp"'),
        ({"nbf": NOW + LEEWAY_S + 1}, '"nbf"'),
        ({"iat": NOW + LEEWAY_S + 1}, '"iat"'),
    ],
    ids=str,
)
async def test_what_a_token_has_to_say(
    site: Site, key: RSAKey, claims: dict[str, Any], why: str
) -> None:
    site.offer(key)
    async with asking(site, Clock()) as provider:
        message = await refusal(provider, signed(site, key, **claims))
        assert why in message
        assert "other" not in message, "what is in a token is its holder's"


async def test_clocks_may_be_off_by_the_leeway_and_no_more(site: Site, key: RSAKey) -> None:
    site.offer(key)
    async with asking(site, Clock()) as provider:
        late = signed(site, key, exp=NOW - LEEWAY_S + 1, iat=NOW + LEEWAY_S, nbf=NOW + LEEWAY_S)
        found = await provider.vouch(late)
        assert found is not None
        assert found.life_s == 1
        with pytest.raises(TokenExpired):
            await provider.vouch(signed(site, key, exp=NOW - LEEWAY_S))
        endless = await provider.vouch(signed(site, key, exp=10**400))
        assert endless is not None
        assert endless.life_s <= 24 * 3600


async def test_other_kinds_of_tokens_do_not_speak_for_their_holder(site: Site, key: RSAKey) -> None:
    site.offer(key)
    async with asking(site, Clock()) as provider:
        for kind in ("logout+jwt", "dpop+jwt", "secevent+jwt"):
            assert await refusal(provider, signed(site, key, head={"typ": kind}))
        for kind in ("JWT", "at+jwt", "application/at+jwt"):
            assert await provider.vouch(signed(site, key, head={"typ": kind})) is not None
        huge = signed(site, key, filling="x" * MAX_TOKEN_BYTES)
        assert "longer" in await refusal(provider, huge)
        heads: list[dict[str, Any]] = [{"typ": 7}, {"crit": ["exp"], "exp": 1}]
        for head in heads:
            assert await refusal(
                provider, by_hand(site, key, {"alg": "RS256", "kid": "one"} | head)
            )
        assert await provider.vouch(by_hand(site, key, {"alg": "RS256", "kid": "one"})) is not None
        assert await provider.vouch(b"fft_something.that.is-ours") is None
        assert await provider.vouch(b"7h3-t0k3n-0f-4-l0g1n") is None


def test_no_bytes_do_anything_but_be_refused(site: Site, key: RSAKey) -> None:
    """Every token that anybody sends comes here: arbitrary ones, and good ones that were hurt."""
    site.offer(key)
    good = signed(site, key)

    @given(
        base=st.booleans(),
        cuts=st.lists(st.tuples(st.integers(0, 900), st.binary(max_size=6)), max_size=4),
        text=st.binary(max_size=300) | st.from_regex(rb"eyJ[\w-]{0,80}\.[\w-]{0,80}\.[\w-]{0,40}"),
    )
    @settings(max_examples=500, deadline=None)
    def holds(base: bool, cuts: list[tuple[int, bytes]], text: bytes) -> None:
        token = good if base else text
        for place, piece in cuts:
            at = place % (len(token) + 1)
            token = token[:at] + piece + token[at + len(piece) :]
        found = loop.run(vouched(provider, token))
        assert (found is None) or _meant(token) == _meant(good)

    with asyncio.Runner() as loop:
        opened = asking(site, Clock())
        provider = loop.run(opened.__aenter__())
        holds()
        loop.run(opened.__aexit__(None, None, None))


async def vouched(provider: OpenIdProvider, token: bytes) -> Vouched | None:
    try:
        return await provider.vouch(token)
    except Unauthenticated:
        return None


def _meant(token: bytes) -> list[bytes]:
    """Give what is signed; the last letter of a signature has bits that mean nothing."""
    return token.split(b".")[:2]


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        ("https://login.example.org", True),
        ("https://login.example.org/realms/main", True),
        ("http://127.0.0.1:8080/realm", True),
        ("http://localhost", True),
        ("http://[::1]:1", True),
        ("http://login.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://localhost@example.org", False),
        ("https://user:word@example.org", False),
        ("https://example.org/#a", False),
        ("https://example.org:0", False),
        ("https://example.org:99999", False),
        ("https:///path", False),
        ("ftp://example.org", False),
        ("https://example.org/a b", False),
        ("", False),
    ],
)
def test_a_provider_is_reached_with_tls_or_on_this_machine(url: str, is_good: bool) -> None:
    try:
        check_address(url)
    except ValueError:
        assert not is_good
    else:
        assert is_good


def test_claims_are_found_by_name_and_by_path() -> None:
    claims = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}}, "n": None}
    assert claim(claims, "a.b") == 1
    assert claim(claims, "a.c.d") == 3
    assert claim(claims, "a.c.d.e") is None
    assert claim(claims, "n.x") is None


def test_the_highest_of_the_roles_counts_and_none_is_none() -> None:
    meaning = Meaning(
        user="name", roles_in="groups", roles=read_roles(["ops=admin", "a=b=developer"])
    )
    for groups, role in (
        (["a=b", "ops"], Role.ADMIN),
        ("ops a=b", Role.ADMIN),
        (["a=b"], Role.DEVELOPER),
        ([["ops"], {"ops": 1}, None], None),
        ({"ops": True}, None),
        (None, None),
        ([], None),
    ):
        assert meaning.role_of({"groups": groups}, Role.ADMIN) is role
    assert Meaning(user="name").role_of({}, Role.DEVELOPER) is Role.DEVELOPER
    assert Meaning(user="name").user_of({"name": ["alice"]}) is None
    with pytest.raises(ValueError, match="the role is developer or admin"):
        read_roles(["ops=root"])
