from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from typing_extensions import override

from fanfold_server.model.actor import Role
from fanfold_server.model.errors import (
    InvalidField,
    Overloaded,
    TokenExpired,
    TooManyAttempts,
    Unauthenticated,
    UnknownUser,
    UserExists,
    WrongCredentials,
)
from fanfold_server.service import passwords
from fanfold_server.service.access import CACHE_LIFETIME_S, Access, LoginLimits, Token
from fanfold_server.service.passwords import Passwords
from fanfold_server.service.tokens import AccessTokens
from fanfold_server.store.port import TokenRecord
from fanfold_server.store.sql import Store, open_store, sqlite_url
from fanfold_server.store.sql_accounts import SqlSessions, Transactions

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse"


@dataclass
class Clock:
    """A time of day and a monotonic clock that go on together, when told to."""

    day: datetime = field(default_factory=lambda: datetime(2026, 11, 23, tzinfo=UTC))
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.day

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.day += timedelta(seconds=seconds)
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(sqlite_url(tmp_path / "fanfold.db")) as opened:
        yield opened


def build(store: Store, clock: Clock, **limits: int) -> Access:
    return Access(
        store.accounts,
        store.sessions,
        Passwords(concurrency=2, hasher=CHEAP),
        AccessTokens(store.tokens, now=clock.now),
        limits=LoginLimits(**limits),
        now=clock.now,
        monotonic=clock.monotonic,
    )


@pytest.fixture
async def access(store: Store, clock: Clock) -> Access:
    built = build(store, clock)
    await built.add_user("alice", PASSWORD, Role.DEVELOPER)
    return built


class SlowSessions(SqlSessions):
    """The real thing, but what it has read arrives only when the test lets it."""

    def __init__(self, database: Transactions) -> None:
        super().__init__(database)
        self.was_read = asyncio.Event()
        self.may_go_on = asyncio.Event()

    @override
    async def token(self, digest: bytes) -> TokenRecord | None:
        record = await super().token(digest)
        self.was_read.set()
        await self.may_go_on.wait()
        return record


async def log_in(access: Access, name: str = "ALICE", password: str = PASSWORD) -> Token:
    return await access.issue(name, password, address="10.0.0.1")


def read_all(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def is_good(access: Access, token: Token) -> bool:
    try:
        await access.authenticate(token.text.encode())
    except Unauthenticated:
        return False
    return True


# ------------------------------------------------------------------------------------------ tokens


@pytest.mark.parametrize("name", ["alice", "ALICE", "Alice"])
async def test_a_login_gives_a_token_that_leads_to_its_account(access: Access, name: str) -> None:
    token = await log_in(access, name)
    assert token.expires_in_s == 3600
    actor = await access.authenticate(token.text.encode())
    assert (actor.name, actor.role) == ("ALICE", Role.DEVELOPER)


async def test_the_store_holds_no_token_and_no_password(access: Access, tmp_path: Path) -> None:
    token = await log_in(access)
    written = read_all(tmp_path)
    assert b"$argon2id$" in written
    assert token.text.encode() not in written
    assert PASSWORD.encode() not in written


@pytest.mark.parametrize("token", [b"", b"x", b"\xff\x00", b"a" * 10_000])
async def test_what_was_never_issued_is_refused(access: Access, token: bytes) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await access.authenticate(token)
    assert type(caught.value) is Unauthenticated
    assert access.known(token, 0) is None


async def test_a_token_ends_after_its_lifetime(access: Access, clock: Clock) -> None:
    token = await log_in(access)
    clock.advance(3599)
    assert await is_good(access, token)
    assert access.known(token.text.encode(), clock.seconds + 0.9) is not None
    assert access.known(token.text.encode(), clock.seconds + 1) is None  # not 5 s beyond its end
    clock.advance(1)
    with pytest.raises(TokenExpired):
        await access.authenticate(token.text.encode())
    with pytest.raises(TokenExpired):
        await access.refresh(token.text)


async def test_a_login_can_be_renewed_for_eight_hours_and_no_longer(
    access: Access, clock: Clock
) -> None:
    token = await log_in(access)
    for _ in range(9):
        clock.advance(3000)
        newer = await access.refresh(token.text)
        assert await is_good(access, token)  # the old one stays good until its own end
        assert await is_good(access, newer)
        token = newer
    assert token.expires_in_s == 28800 - 27000
    clock.advance(token.expires_in_s - 0.5)
    with pytest.raises(TokenExpired, match="log in again"):
        await access.refresh(token.text)
    clock.advance(0.5)
    assert not await is_good(access, token)


async def test_a_revoked_login_is_over_with_all_its_tokens(access: Access) -> None:
    first = await log_in(access)
    second = await access.refresh(first.text)
    other = await log_in(access)
    assert await is_good(access, first)
    await access.revoke(second.text)
    assert access.known(first.text.encode(), 0) is None
    assert not await is_good(access, first)
    assert not await is_good(access, second)
    assert await is_good(access, other)
    with pytest.raises(Unauthenticated):
        await access.refresh(first.text)
    await access.revoke("never issued")


async def test_a_verified_token_is_known_for_five_seconds(access: Access, clock: Clock) -> None:
    token = (await log_in(access)).text.encode()
    assert access.known(token, clock.seconds) is None
    actor = await access.authenticate(token)
    assert access.known(token, clock.seconds + CACHE_LIFETIME_S - 0.01) is actor
    assert access.known(token, clock.seconds + CACHE_LIFETIME_S) is None


async def test_a_known_token_is_found_within_microseconds(access: Access, clock: Clock) -> None:
    """It is asked for on every run; the limit leaves room for a machine that is busy."""
    token = (await log_in(access)).text.encode()
    await access.authenticate(token)
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(1000):
            access.known(token, clock.seconds)
        best = min(best, time.perf_counter() - started)
    assert best / 1000 < 2e-6


async def test_a_change_by_another_process_is_seen_when_the_cache_ends(
    access: Access, store: Store, clock: Clock
) -> None:
    token = await log_in(access)
    assert await is_good(access, token)
    await build(store, clock).disable("ALICE")
    assert access.known(token.text.encode(), clock.seconds) is not None
    clock.advance(CACHE_LIFETIME_S)
    assert access.known(token.text.encode(), clock.seconds) is None
    assert not await is_good(access, token)


async def test_what_is_revoked_while_it_is_verified_is_not_remembered(
    store: Store, clock: Clock, access: Access
) -> None:
    """Else a token read just before its end would stay good for another 5 s."""
    sessions = SlowSessions(store.sessions._database)
    slow = Access(
        store.accounts,
        sessions,
        access._passwords,
        access._tokens,
        now=clock.now,
        monotonic=clock.monotonic,
    )
    token = await log_in(slow)
    verifying = asyncio.create_task(is_good(slow, token))
    await sessions.was_read.wait()
    await slow.revoke(token.text)
    sessions.may_go_on.set()
    assert await verifying  # it was good when it was asked for
    assert slow.known(token.text.encode(), clock.seconds) is None


# ---------------------------------------------------------------------------------------- accounts


async def test_has_accounts_turns_true_with_the_first(store: Store, clock: Clock) -> None:
    access, other = build(store, clock), build(store, clock)
    assert not await access.has_accounts()
    await other.add_user("alice", PASSWORD, Role.ADMIN)
    assert await access.has_accounts()


@pytest.mark.parametrize(
    "name",
    ["", "1a", "_a", "a b", "a-b", "a/b", "a\n", "é", "\u017fmith", "a" * 129, "PYQSYS", "public"],
)
async def test_a_user_name_that_cannot_be_is_refused(access: Access, name: str) -> None:
    with pytest.raises(InvalidField):
        await access.add_user(name, PASSWORD, Role.DEVELOPER)


async def test_names_are_kept_in_upper_case_and_only_once(access: Access) -> None:
    await access.add_user("b_$#9", PASSWORD, Role.ADMIN)
    with pytest.raises(UserExists):
        await access.add_user("Alice", PASSWORD, Role.DEVELOPER)
    assert [account.name for account in await access.list_users()] == ["ALICE", "B_$#9"]


@pytest.mark.parametrize("password", ["", "7 chars", "x" * 1025])
async def test_a_password_has_a_sensible_length(access: Access, password: str) -> None:
    with pytest.raises(InvalidField, match=str(len(password))):
        await access.add_user("bob", password, Role.DEVELOPER)
    with pytest.raises(InvalidField):
        await access.set_password("alice", password)


async def test_any_password_of_that_length_works(access: Access) -> None:
    for number, password in enumerate(["        ", "pässwörd", "\ud800" * 8, "\0" * 8, "x" * 1024]):
        await access.add_user(f"u{number}", password, Role.DEVELOPER)
        assert await is_good(access, await log_in(access, f"u{number}", password))


async def test_a_disabled_account_is_out_at_once_and_cannot_come_in(access: Access) -> None:
    token = await log_in(access)
    assert await is_good(access, token)
    await access.disable("alice")
    assert access.known(token.text.encode(), 0) is None
    assert not await is_good(access, token)
    with pytest.raises(WrongCredentials):
        await log_in(access)
    await access.enable("alice")
    assert not await is_good(access, token)
    assert await is_good(access, await log_in(access))


async def test_a_new_password_ends_what_the_old_one_began(access: Access) -> None:
    token = await log_in(access)
    await access.set_password("alice", "battery staple")
    assert not await is_good(access, token)
    with pytest.raises(WrongCredentials):
        await log_in(access)
    assert await is_good(access, await log_in(access, password="battery staple"))


async def test_what_is_done_to_nobody_is_told(access: Access) -> None:
    with pytest.raises(UnknownUser, match="BOB"):
        await access.disable("bob")
    with pytest.raises(UnknownUser):
        await access.enable("bob")
    with pytest.raises(UnknownUser):
        await access.set_password("bob", PASSWORD)


# ------------------------------------------------------------------------------------------ logins


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "wrong horse"), ("bob", PASSWORD), ("", ""), ("a b", PASSWORD), ("ALİCE", PASSWORD)],
)
async def test_a_failed_login_does_not_tell_what_was_wrong(
    access: Access, name: str, password: str
) -> None:
    with pytest.raises(WrongCredentials) as caught:
        await log_in(access, name, password)
    assert caught.value.message == WrongCredentials().message
    assert caught.value.details == {}


async def test_an_unknown_user_costs_a_check_as_a_known_one_does(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the time of the answer would tell which accounts exist."""
    checked: list[str] = []
    verify = PasswordHasher.verify

    def counting(self: PasswordHasher, hash_: str, password: bytes) -> bool:
        checked.append(hash_.rpartition("$")[0].rpartition("$")[0])
        return verify(self, hash_, password)

    monkeypatch.setattr(PasswordHasher, "verify", counting)
    access = build(store, clock)
    await access.add_user("alice", PASSWORD, Role.DEVELOPER)
    for name in ("alice", "bob", "no name"):
        with pytest.raises(WrongCredentials):
            await log_in(access, name, "wrong horse")
    assert len(checked) == 3
    assert len(set(checked)) == 1  # the same parameters, so the same work


async def test_failed_logins_make_the_next_one_wait_ever_longer(
    access: Access, clock: Clock
) -> None:
    for _ in range(6):
        with pytest.raises(WrongCredentials):
            await log_in(access, password="wrong horse")
    waits = []
    for _ in range(8):
        with pytest.raises(TooManyAttempts) as caught:
            await log_in(access)  # even with the right password
        wait_s = caught.value.details["retry_after_s"]
        assert isinstance(wait_s, int)
        waits.append(wait_s)
        clock.advance(wait_s)
        with pytest.raises(WrongCredentials):
            await log_in(access, password="wrong horse")
    assert waits == sorted(waits)
    assert waits[0] <= 2
    assert waits[-1] in {60, 61}
    clock.advance(waits[-1])
    assert await is_good(access, await log_in(access))
    with pytest.raises(WrongCredentials):  # forgotten by the success
        await log_in(access, password="wrong horse")
    await log_in(access)


async def test_failures_slow_down_one_user_and_one_address_only(store: Store, clock: Clock) -> None:
    access = build(store, clock, user_free=2, address_free=4)
    for name in ("alice", "bob"):
        await access.add_user(name, PASSWORD, Role.DEVELOPER)
    for _ in range(3):
        with pytest.raises(WrongCredentials):
            await access.issue("alice", "wrong horse", address="1")
    with pytest.raises(TooManyAttempts):
        await access.issue("alice", PASSWORD, address="2")
    await access.issue("bob", PASSWORD, address="1")
    for name in ("x1", "x2"):
        with pytest.raises(WrongCredentials):
            await access.issue(name, "wrong horse", address="1")
    with pytest.raises(TooManyAttempts):
        await access.issue("bob", PASSWORD, address="1")
    await access.issue("bob", PASSWORD, address="2")


async def test_a_quiet_spell_forgives(access: Access, clock: Clock) -> None:
    for _ in range(6):
        with pytest.raises(WrongCredentials):
            await log_in(access, password="wrong horse")
    clock.advance(3600)
    with pytest.raises(WrongCredentials):
        await log_in(access, password="wrong horse")
    assert await is_good(access, await log_in(access))


async def test_guesses_sent_at_once_are_slowed_down_as_well(access: Access) -> None:
    results = await asyncio.gather(
        *(log_in(access, password=f"wrong {n:05}") for n in range(40)), return_exceptions=True
    )
    judged = sum(isinstance(result, WrongCredentials) for result in results)
    assert judged <= 6 + 2  # those that were being checked when the limit was reached
    assert all(isinstance(r, WrongCredentials | TooManyAttempts) for r in results)


async def test_right_logins_sent_at_once_all_succeed(access: Access) -> None:
    tokens = await asyncio.gather(*(log_in(access) for _ in range(40)))
    assert len({token.text for token in tokens}) == 40


async def test_checks_are_done_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check takes 64 MiB: as many as come would be a way to fill the memory."""
    monkeypatch.setattr(passwords, "MAX_WAITING", 7)
    checker = Passwords(concurrency=3, hasher=CHEAP)
    running = most = 0
    gate = asyncio.Event()

    async def check() -> None:
        nonlocal running, most
        async with checker.turn():
            running += 1
            most = max(most, running)
            await gate.wait()
            running -= 1

    checks = [asyncio.create_task(check()) for _ in range(10)]
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await check()
    checks[-1].cancel()
    gate.set()
    done = await asyncio.gather(*checks, return_exceptions=True)
    assert done.count(None) == 9
    assert most == 3
    await check()


def test_nobodys_password_is_never_right() -> None:
    checker = Passwords(concurrency=1, hasher=CHEAP)
    assert not asyncio.run(checker.verify(None, ""))
    assert not asyncio.run(checker.verify("not a hash", "x"))
