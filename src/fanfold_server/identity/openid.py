"""`IdentityProvider` by OpenID Connect: discovery, keys, and signatures.

The provider's keys are fetched when a token first needs them, so that a server starts without the
provider. They are used for `FRESH_S`; older ones are used on while new ones are fetched beside, so
that nobody waits and a provider that is away is not missed, up to `STALE_S`. A token that names a
key that is not known has them fetched anew, as a provider may have rotated; at most once in
`PAUSE_S`, since anybody can name a key.

Source: OpenID Connect Discovery 1.0; RFC 7517 (keys), 7519 (tokens), 8725 and 9068 (their use).
"""

from __future__ import annotations

import asyncio
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import orjson
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jws, jwt
from joserfc.errors import (
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
    SecurityWarning,
)
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from fanfold_server.identity.port import Vouched
from fanfold_server.model.errors import IdentityUnavailable, TokenExpired, Unauthenticated
from fanfold_server.model.identity import Trust, check_address

FRESH_S: Final = 3600.0
STALE_S: Final = 24 * 3600.0
PAUSE_S: Final = 10.0
ANSWER_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 1 << 20
MAX_TOKEN_BYTES: Final = 16 << 10
MAX_HEADER_BYTES: Final = 4 << 10
MIN_RSA_BITS: Final = 2048

_LIFE_S: Final = 24 * 3600.0
"""A token is looked at again after this, however long it lives."""

_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_SEGMENTS: Final = 3
_TYPES: Final = frozenset({None, "jwt", "at+jwt", "application/at+jwt"})
"""Of tokens that speak for somebody; others, such as those of logouts, do not."""


class _Away(Exception):
    """The provider did not answer as it should; the message says how, for the log."""


@asynccontextmanager
async def open_provider(trust: Trust) -> AsyncIterator[OpenIdProvider]:
    """Open what asks a provider."""
    async with httpx2.AsyncClient(
        verify=ssl.create_default_context(),
        trust_env=False,
        follow_redirects=False,
        timeout=ANSWER_S,
    ) as client:
        provider = OpenIdProvider(trust, client)
        try:
            yield provider
        finally:
            await provider.close()


class OpenIdProvider:
    """`IdentityProvider`; see `open_provider`.

    Args:
        trust: which tokens are believed.
        client: asks the provider; it follows no redirects.
        now: gives the time of day, seconds since 1970.
        monotonic: gives seconds for the age of keys.
    """

    def __init__(
        self,
        trust: Trust,
        client: httpx2.AsyncClient,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trust = trust
        self._client = client
        self._now = now
        self._monotonic = monotonic
        self._keys: tuple[Key, ...] = ()
        self._fetched = self._tried = float("-inf")
        self._searched = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._registry = jws.JWSRegistry(
            algorithms=list(trust.algorithms),
            strict_check_header=False,  # members of makers' own; `crit` is checked all the same
        )
        self._registry.max_header_length = MAX_HEADER_BYTES
        self._log = structlog.get_logger("fanfold_server.identity")

    async def close(self) -> None:
        """Stop asking."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def vouch(self, token: bytes) -> Vouched | None:
        if token.count(b".") != _SEGMENTS - 1 or not token.startswith(b"eyJ"):
            return None
        if len(token) > MAX_TOKEN_BYTES:
            raise _refused(f"it is longer than {MAX_TOKEN_BYTES} bytes")
        header = self._header(token)
        key = await self._key(header)
        try:
            claims = jwt.decode(token, key, [header["alg"]], self._registry).claims
        except (JoseError, ValueError, TypeError) as exc:
            raise _refused("its signature is not the provider's") from exc
        return self._checked(claims)

    # ------------------------------------------------------------------ what is in a token

    def _header(self, token: bytes) -> dict[str, Any]:
        """Read the header of a token, which nobody has signed yet."""
        try:
            header = jws.extract_compact(token, registry=self._registry).headers()
        except (JoseError, ValueError, TypeError) as exc:
            raise _refused("it cannot be read") from exc
        if header.get("alg") not in self._trust.algorithms:
            raise _refused("it is signed in a way that this server does not admit")
        kind = header.get("typ")
        if (kind.lower() if isinstance(kind, str) else kind) not in _TYPES:
            raise _refused("it is no token of access")
        return header

    def _checked(self, claims: dict[str, Any]) -> Vouched:
        """Hold the claims, which the provider has signed, against what is expected.

        Raises:
            TokenExpired, Unauthenticated.
        """
        now, leeway_s = int(self._now()), self._trust.leeway_s
        rules = jwt.JWTClaimsRegistry(
            now=now,
            leeway=leeway_s,
            iss={"essential": True, "value": self._trust.issuer},
            aud={"essential": True, "value": self._trust.audience},
            exp={"essential": True},
        )
        try:
            rules.validate(claims)
        except ExpiredTokenError as exc:
            raise TokenExpired from exc
        except MissingClaimError as exc:
            raise _refused(f'it says nothing of "{exc.claim}"') from exc
        except InvalidClaimError as exc:
            raise _refused(f'its "{exc.claim}" is not what this server expects') from exc
        except JoseError as exc:
            raise _refused("its claims are not what this server expects") from exc
        life_s = float(min(claims["exp"] - now + leeway_s, _LIFE_S))
        return Vouched(claims=claims, life_s=life_s)

    # ------------------------------------------------------------------ keys

    async def _key(self, header: Mapping[str, Any]) -> Key:
        """Give the key that a header names.

        Raises:
            Unauthenticated: the provider has no such key.
            IdentityUnavailable: nobody knows.
        """
        age_s = self._monotonic() - self._fetched
        if age_s > STALE_S:
            await self._refresh()
        elif age_s > FRESH_S:
            self._begin()
        key = self._known(header)
        if key is None and self._monotonic() - self._searched >= PAUSE_S:
            self._searched = self._monotonic()
            await self._refresh()
            key = self._known(header)
        if key is None:
            raise _refused("the provider has no such key")
        return key

    def _known(self, header: Mapping[str, Any]) -> Key | None:
        kid = header.get("kid")
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.kid == kid), None)

    async def _refresh(self) -> None:
        """Fetch the keys and wait for them.

        Raises:
            IdentityUnavailable: they cannot be had.
        """
        has_failed = self._fetched < self._tried and self._fetching is None
        if not has_failed or self._monotonic() - self._tried >= PAUSE_S:
            await asyncio.shield(self._begin())
        if self._fetched < self._tried:
            raise IdentityUnavailable(
                "The identity provider's keys cannot be had: it does not answer. Try again later, "
                "or log in with a password.",
                retry_after_s=PAUSE_S,
            )

    def _begin(self) -> asyncio.Task[None]:
        """Have the keys fetched, by one task at a time."""
        if self._fetching is None:
            self._tried = self._monotonic()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch(), name="keys")
        return self._fetching

    async def _fetch(self) -> None:
        try:
            issuer = self._trust.issuer
            told = await self._get(issuer.rstrip("/") + _WELL_KNOWN)
            address = told.get("jwks_uri")
            if told.get("issuer") != issuer or not isinstance(address, str):
                raise _Away("what it says of itself names another issuer, or no keys")
            self._keys = self._read(await self._get(address))
            self._fetched = self._monotonic()
        except (_Away, httpx2.HTTPError, TimeoutError, ValueError) as exc:
            self._log.warning("identity provider does not answer", error=str(exc) or repr(exc))
        finally:
            self._fetching = None

    async def _get(self, url: str) -> dict[str, Any]:
        """Fetch a JSON object. Raises _Away, ValueError, httpx2.HTTPError."""
        check_address(url)
        if self._trust.issuer.startswith("https:") and not url.startswith("https:"):
            raise _Away("its keys are offered without TLS")
        async with (
            asyncio.timeout(2 * ANSWER_S),
            self._client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != httpx2.codes.OK:
                raise _Away(f"{url} answers {answer.status_code}")
            body = b""
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise _Away(f"{url} answers with more than {MAX_ANSWER_BYTES} bytes")
        found = orjson.loads(body)
        if not isinstance(found, dict):
            raise _Away(f"{url} does not answer with an object")
        return found

    def _read(self, told: Mapping[str, Any]) -> tuple[Key, ...]:
        """Read the keys that verify signatures; what cannot be used is left out."""
        listed = told.get("keys")
        found = []
        for entry in listed if isinstance(listed, list) else ():
            try:
                if entry["kty"] == "oct" or entry.get("use", "sig") != "sig":
                    continue
                with warnings.catch_warnings(action="ignore", category=SecurityWarning):
                    key = JWKRegistry.import_key(entry)
                if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
                    raise _Away("it is too short")
            except (
                *(_Away, JoseError, ValueError, TypeError, KeyError, AttributeError),
                UnsupportedAlgorithm,
            ) as exc:
                self._log.warning("a key of the identity provider is left out", error=repr(exc))
                continue
            if isinstance(key, RSAKey | ECKey | OKPKey):
                found.append(key)
        if not found:
            raise _Away("it has no keys that verify signatures")
        return tuple(found)


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated(f"The identity provider's token is not valid: {why}.")
