"""Accounts, logins and tokens: who may come in.

Tokens are opaque: 32 random bytes, of which the store keeps a SHA-256 only. All tokens that descend
from one login form a session, which ends at most `session_lifetime_s` after the login, when it is
revoked, when the password changes, or when the account is disabled.

Called by http on every request, and by the operator's commands.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fanfold_server.model.actor import (
    EVERYONE,
    GLOBAL_OWNER,
    AccessToken,
    Account,
    Actor,
    Role,
    Scope,
    account_name,
)
from fanfold_server.model.errors import (
    InvalidField,
    TokenExpired,
    TooManyAttempts,
    Unauthenticated,
    UnknownUser,
    UserExists,
    WrongCredentials,
)
from fanfold_server.service.passwords import Passwords
from fanfold_server.service.remembering import Remembered
from fanfold_server.service.tokens import AccessTokens, Verified, Verifier, require_login
from fanfold_server.store.port import AccountStore, Credentials, Failures, SessionStore

CACHE_LIFETIME_S = 5.0
"""How long a verified token is taken for good without asking the store again."""

CACHE_SIZE = 10_000
"""How many verified tokens are remembered; at more, all are forgotten and asked for again."""

MIN_PASSWORD = 8
MAX_PASSWORD = 1024
RESERVED_NAMES = frozenset({GLOBAL_OWNER, EVERYONE})

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_$#]{0,127}", re.ASCII)
_FORGET_AFTER = timedelta(days=1)
_UNKNOWN = "The token is not valid: it was never issued here, or has been revoked."


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A fresh access token; `text` goes into the header, `expires_in_s` seconds of life."""

    text: str
    expires_in_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginLimits:
    """How failed logins slow down further ones.

    After `…_free` failures the next login must wait 1 s, then 2 s, 4 s … up to `max_delay_s` after
    the last failure. After a quiet spell of `quiet_s` the count starts anew. An address is given
    more than a user, since many people may share it.
    """

    user_free: int = 5
    address_free: int = 20
    max_delay_s: int = 60
    quiet_s: int = 3600


def utc_now() -> datetime:
    """Give the time of day."""
    return datetime.now(UTC)


class Access:
    """Knows accounts, issues and checks tokens.

    Args:
        accounts: where accounts are kept.
        sessions: where sessions are kept.
        passwords: what checks passwords.
        tokens: keeps access tokens.
        verifiers: know tokens of further kinds.
        token_lifetime_s: how long a token lives, > 0.
        session_lifetime_s: how long after a login its token may be renewed, ≥ `token_lifetime_s`.
        limits: how failed logins are slowed down.
        now: gives the time of day.
        monotonic: gives seconds for the cache; what callers of `known` pass as `now`.
    """

    def __init__(
        self,
        accounts: AccountStore,
        sessions: SessionStore,
        passwords: Passwords,
        tokens: AccessTokens,
        *,
        verifiers: Sequence[Verifier] = (),
        token_lifetime_s: int = 3600,
        session_lifetime_s: int = 8 * 3600,
        limits: LoginLimits | None = None,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._passwords = passwords
        self._tokens = tokens
        self._verifiers = (tokens, *verifiers)
        self._token_lifetime = timedelta(seconds=token_lifetime_s)
        self._session_lifetime = timedelta(seconds=session_lifetime_s)
        self._limits = limits or LoginLimits()
        self._now = now
        self._has_accounts = False
        self._known = Remembered[bytes, Actor](size=CACHE_SIZE, monotonic=monotonic)

    # -------------------------------------------------------------------------------- tokens

    def known(self, token: bytes, now: float) -> Actor | None:
        """Look a token up among those verified a moment ago. No I/O: for the hot path.

        Args:
            token: as sent after "Bearer ".
            now: `time.monotonic()`.

        Returns:
            None if the token has to be put to `authenticate`.
        """
        return self._known.known(token, now)

    async def authenticate(self, token: bytes) -> Actor:
        """Verify a token against the store, and remember it for `CACHE_LIFETIME_S`.

        Raises:
            TokenExpired: it was good and has ended.
            Unauthenticated: it was never issued, or is revoked, or its account is disabled.
        """
        return await self._known.ask(token, lambda: self._actor(token))

    async def _actor(self, token: bytes) -> tuple[Actor, float]:
        found = await self._verified(token)
        return found.actor, min(found.life_s, CACHE_LIFETIME_S)

    async def _verified(self, token: bytes) -> Verified:
        record = await self._sessions.token(_digest(token))
        if record is None:
            for verifier in self._verifiers:
                if (found := await verifier.verify(token)) is not None:
                    return found
        if record is None or record.revoked:
            raise Unauthenticated(_UNKNOWN)
        life_s = (record.expires - self._now()).total_seconds()
        if life_s <= 0:
            raise TokenExpired
        return Verified(actor=record.actor, life_s=life_s)

    async def issue(self, username: str, password: str, *, address: str) -> Token:
        """Log in.

        Args:
            username: in any case.
            password: as it is.
            address: where the request comes from.

        Raises:
            WrongCredentials: no such account, wrong password, or the account is disabled; which of
                these is not told, and takes the same time.
            TooManyAttempts: too many logins failed; `details` has `retry_after_s`.
            Overloaded: too many logins are being checked.
        """
        name = account_name(username) if _NAME.fullmatch(username) else None
        # Names that nobody can have share one count: the store must not grow by what is sent.
        user_key, address_key = f"user:{name or '?'}", f"address:{address[:100]}"
        await self._refuse_throttled(user_key, address_key)
        async with self._passwords.turn():
            # Looked at again: guesses sent at once were all let in by the first look.
            await self._refuse_throttled(user_key, address_key)
            login = None if name is None else await self._accounts.credentials(name)
            password_hash = None if login is None else login.password_hash
            right = await self._passwords.verify(password_hash, password)
            if login is None or login.disabled or not right:
                now = self._now()
                quiet = now - timedelta(seconds=self._limits.quiet_s)
                await self._sessions.count_failure((user_key, address_key), now, quiet=quiet)
                raise WrongCredentials
        token = await self._open_session(login)
        await self._sessions.clear_failures(user_key)
        return token

    async def refresh(self, token: str) -> Token:
        """Give a new token of the same session; the old one stays good until its own end.

        Raises:
            TokenExpired: the token, or the time for which its login may be renewed, has ended.
            Unauthenticated: the token was never issued, or is revoked.
        """
        record = await self._sessions.token(_digest(_raw(token)))
        if record is None or record.revoked:
            raise Unauthenticated(_UNKNOWN)
        now = self._now()
        expires = min(now + self._token_lifetime, record.session_expires)
        if record.expires <= now:
            raise TokenExpired
        if expires - now < timedelta(seconds=1):
            raise TokenExpired("The login is too long ago to be renewed: log in again.")
        fresh = _fresh_token()
        if not await self._sessions.add_token(record.session, _digest(_raw(fresh)), expires):
            raise Unauthenticated(_UNKNOWN)
        return Token(text=fresh, expires_in_s=int((expires - now).total_seconds()))

    async def revoke(self, token: str) -> None:
        """End the session to which the token belongs, with all its tokens; unknown: nothing.

        An access token ends alone.
        """
        raw = _raw(token)
        try:
            for verifier in self._verifiers:
                if await verifier.revoke(raw):
                    return
            await self._sessions.end_session(_digest(raw))
        finally:
            self._forget_verified()

    # ------------------------------------------------------------------------- access tokens

    async def create_token(
        self,
        actor: Actor,
        name: str,
        scopes: Collection[Scope],
        *,
        days: int,
        script: tuple[str, str] | None = None,
    ) -> tuple[AccessToken, str]:
        """Make an access token for oneself; see `AccessTokens.create`.

        Raises:
            Forbidden: the actor came with an access token.
        """
        require_login(actor)
        return await self._tokens.create(actor.name, name, scopes, days=days, script=script)

    async def list_tokens(self, actor: Actor) -> list[AccessToken]:
        """List one's access tokens by name. Raises Forbidden as `create_token`."""
        require_login(actor)
        return await self._tokens.listing(actor.name)

    async def remove_token(self, actor: Actor, name: str) -> None:
        """Revoke an access token of one's own.

        Raises:
            UnknownToken: there is none of that name.
            Forbidden: as `create_token`.
        """
        require_login(actor)
        try:
            await self._tokens.remove(actor.name, name)
        finally:
            self._forget_verified()

    # ------------------------------------------------------------------------------ accounts

    async def has_accounts(self) -> bool:
        """Tell whether there is any account; asks the store only until there is."""
        if not self._has_accounts:
            self._has_accounts = await self._accounts.has_accounts()
        return self._has_accounts

    async def add_user(self, name: str, password: str, role: Role) -> None:
        """Add an account.

        Args:
            name: a letter, then up to 127 letters, digits, `_`, `$` and `#`; kept in upper case.
            password: from `MIN_PASSWORD` to `MAX_PASSWORD` characters.
            role: what it may do.

        Raises:
            InvalidField: the name or the password is not like that, or the name is reserved.
            UserExists: the name is taken.
        """
        if not _NAME.fullmatch(name):
            raise InvalidField(
                f'"{name}" cannot be a user name: it must begin with a letter and hold at most 128 '
                'letters (a-z), digits, "_", "$" and "#".',
                field="name",
            )
        stored = account_name(name)
        if stored in RESERVED_NAMES:
            raise InvalidField(f'The user name "{stored}" is reserved.', field="name")
        _check_password(password)
        if await self._accounts.credentials(stored) is not None:
            raise UserExists(f'There is a user "{stored}" already.')
        await self._accounts.add(stored, await self._passwords.hash(password), role, self._now())

    async def list_users(self) -> list[Account]:
        """List all accounts by name."""
        return await self._accounts.accounts()

    async def set_password(self, name: str, password: str) -> None:
        """Give an account another password; ends its sessions and access tokens.

        Raises:
            InvalidField: the password is too short or too long.
            UnknownUser: there is no such account.
        """
        stored = _existing_name(name)
        _check_password(password)
        password_hash = await self._passwords.hash(password)
        self._changed(stored, await self._accounts.replace_password(stored, password_hash))

    async def disable(self, name: str) -> None:
        """Keep an account from logging in; ends its sessions and access tokens.

        Raises:
            UnknownUser: there is no such account.
        """
        stored = _existing_name(name)
        self._changed(stored, await self._accounts.set_disabled(stored, disabled=True))

    async def enable(self, name: str) -> None:
        """Let a disabled account log in again.

        Raises:
            UnknownUser: there is no such account.
        """
        stored = _existing_name(name)
        self._changed(stored, await self._accounts.set_disabled(stored, disabled=False))

    # -------------------------------------------------------------------------------- inside

    def _changed(self, name: str, was_there: bool) -> None:
        self._forget_verified()
        if not was_there:
            raise UnknownUser(f'There is no user "{name}".', user=name)

    def _forget_verified(self) -> None:
        self._known.forget()

    async def _open_session(self, login: Credentials) -> Token:
        now = self._now()
        ends = now + self._session_lifetime
        expires = min(now + self._token_lifetime, ends)
        text = _fresh_token()
        opened = await self._sessions.open_session(
            login, _digest(_raw(text)), started=now, ends=ends, token_expires=expires
        )
        if not opened:  # disabled, or given another password, while we checked
            raise WrongCredentials
        await self._sessions.forget_before(now - _FORGET_AFTER)
        return Token(text=text, expires_in_s=int((expires - now).total_seconds()))

    async def _refuse_throttled(self, user_key: str, address_key: str) -> None:
        failures = await self._sessions.failures((user_key, address_key))
        limits = self._limits
        wait_s = max(
            self._wait_s(failures.get(user_key), limits.user_free),
            self._wait_s(failures.get(address_key), limits.address_free),
        )
        if wait_s > 0:
            whole_s = int(wait_s) + 1
            raise TooManyAttempts(
                f"Too many failed logins: try again in {whole_s} s.", retry_after_s=whole_s
            )

    def _wait_s(self, failures: Failures | None, free: int) -> float:
        """Tell for how long no login may be tried, in seconds; ≤ 0: it may be tried now."""
        if failures is None or failures.count <= free:
            return 0.0
        since_s = (self._now() - failures.last).total_seconds()
        if since_s >= self._limits.quiet_s:
            return 0.0
        doublings = min(failures.count - free - 1, 32)
        return min(2.0**doublings, self._limits.max_delay_s) - since_s


def _existing_name(name: str) -> str:
    if not _NAME.fullmatch(name):  # nor could every database be asked for it
        raise UnknownUser(f"There is no user {name!a}.")
    return account_name(name)


def _fresh_token() -> str:
    return secrets.token_urlsafe(32)


def _raw(token: str) -> bytes:
    return token.encode("utf-8", "surrogatepass")


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _check_password(password: str) -> None:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise InvalidField(
            f"A password has from {MIN_PASSWORD} to {MAX_PASSWORD} characters; "
            f"this one has {len(password)}.",
            field="password",
        )
