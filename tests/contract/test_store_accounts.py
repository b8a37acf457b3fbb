"""What every `AccountStore` and `SessionStore` guarantees."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import URL

from fanfold_server.model.actor import Role
from fanfold_server.model.errors import UserExists
from fanfold_server.store.port import AccountStore, Credentials, Failures, SessionStore
from fanfold_server.store.sql import Store, open_store

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def accounts(store: Store) -> AccountStore:
    return store.accounts


@pytest.fixture
def sessions(store: Store) -> SessionStore:
    return store.sessions


@pytest.fixture
async def alice(accounts: AccountStore) -> Credentials:
    await accounts.add("ALICE", "hash-a", Role.DEVELOPER, NOW)
    return await credentials(accounts, "ALICE")


async def credentials(accounts: AccountStore, name: str) -> Credentials:
    found = await accounts.credentials(name)
    assert found is not None
    return found


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


async def begin(sessions: SessionStore, login: Credentials, name: str) -> bool:
    return await sessions.open_session(
        login, digest(name), started=NOW, ends=NOW + 8 * HOUR, token_expires=NOW + HOUR
    )


async def is_revoked(sessions: SessionStore, name: str) -> bool:
    record = await sessions.token(digest(name))
    assert record is not None
    return record.revoked


async def test_a_new_store_has_no_account(accounts: AccountStore) -> None:
    assert not await accounts.has_accounts()
    assert await accounts.accounts() == []
    assert await accounts.credentials("ALICE") is None


async def test_an_account_comes_back_as_it_was_added(accounts: AccountStore) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-7)))
    await accounts.add("BOB", "hash-b", Role.ADMIN, elsewhere)
    await accounts.add("ALICE", "hash-a", Role.DEVELOPER, NOW)
    listed = await accounts.accounts()
    assert [account.name for account in listed] == ["ALICE", "BOB"]
    assert [account.role for account in listed] == [Role.DEVELOPER, Role.ADMIN]
    assert [account.created for account in listed] == [NOW, NOW]
    assert {account.created.tzinfo for account in listed} == {UTC}
    bob = await credentials(accounts, "BOB")
    assert (bob.actor.name, bob.actor.is_admin) == ("BOB", True)
    assert (bob.password_hash, bob.disabled) == ("hash-b", False)
    assert await accounts.has_accounts()


async def test_of_many_that_add_a_name_at_once_one_succeeds(accounts: AccountStore) -> None:
    results = await asyncio.gather(
        *(accounts.add("ALICE", f"hash-{n}", Role.DEVELOPER, NOW) for n in range(8)),
        return_exceptions=True,
    )
    assert [type(result) for result in results if result is not None] == [UserExists] * 7
    assert len(await accounts.accounts()) == 1


async def test_changes_tell_whether_there_is_such_an_account(accounts: AccountStore) -> None:
    assert not await accounts.replace_password("ALICE", "hash")
    assert not await accounts.set_disabled("ALICE", disabled=True)


async def test_a_token_leads_to_its_account(sessions: SessionStore, alice: Credentials) -> None:
    assert await begin(sessions, alice, "one")
    record = await sessions.token(digest("one"))
    assert record is not None
    assert record.actor == alice.actor
    assert (record.expires, record.session_expires) == (NOW + HOUR, NOW + 8 * HOUR)
    assert not record.revoked
    assert await sessions.token(digest("another")) is None


async def test_the_end_of_a_session_revokes_all_its_tokens_and_no_other(
    sessions: SessionStore, alice: Credentials
) -> None:
    await begin(sessions, alice, "one")
    await begin(sessions, alice, "other")
    record = await sessions.token(digest("one"))
    assert record is not None
    assert await sessions.add_token(record.session, digest("two"), NOW + 2 * HOUR)
    await sessions.end_session(digest("two"))
    assert await is_revoked(sessions, "one")
    assert await is_revoked(sessions, "two")
    assert not await is_revoked(sessions, "other")
    assert not await sessions.add_token(record.session, digest("three"), NOW + HOUR)
    assert await sessions.token(digest("three")) is None
    await sessions.end_session(digest("unknown"))


@pytest.mark.parametrize("change", ["password", "disable"])
async def test_a_changed_account_ends_its_sessions_and_those_being_opened(
    accounts: AccountStore, sessions: SessionStore, alice: Credentials, change: str
) -> None:
    """A login that was checked against the old password must not slip in after the change."""
    await begin(sessions, alice, "before")
    if change == "password":
        assert await accounts.replace_password("ALICE", "hash-new")
    else:
        assert await accounts.set_disabled("ALICE", disabled=True)
    assert await is_revoked(sessions, "before")
    assert not await begin(sessions, alice, "after")
    assert await sessions.token(digest("after")) is None


async def test_an_enabled_account_does_not_get_its_old_sessions_back(
    accounts: AccountStore, sessions: SessionStore, alice: Credentials
) -> None:
    await begin(sessions, alice, "before")
    await accounts.set_disabled("ALICE", disabled=True)
    await accounts.set_disabled("ALICE", disabled=False)
    assert await is_revoked(sessions, "before")
    assert await begin(sessions, alice, "after")


async def test_what_is_over_is_forgotten_and_nothing_else(
    sessions: SessionStore, alice: Credentials
) -> None:
    await begin(sessions, alice, "one")
    await sessions.count_failure(["user:X"], NOW, quiet=NOW)
    await sessions.forget_before(NOW)
    assert await sessions.token(digest("one")) is not None
    assert await sessions.failures(["user:X"]) != {}
    await sessions.forget_before(NOW + 9 * HOUR)
    assert await sessions.token(digest("one")) is None
    assert await sessions.failures(["user:X"]) == {}


async def test_failures_are_counted_by_key_until_cleared_or_quiet(sessions: SessionStore) -> None:
    for minute in range(3):
        await sessions.count_failure(
            ["user:X", "address:1"], NOW + timedelta(minutes=minute), quiet=NOW - HOUR
        )
    await sessions.count_failure(["user:Y", "address:1"], NOW + HOUR, quiet=NOW)
    assert await sessions.failures(["user:X", "user:Y", "address:1", "address:2"]) == {
        "user:X": Failures(count=3, last=NOW + timedelta(minutes=2)),
        "user:Y": Failures(count=1, last=NOW + HOUR),
        "address:1": Failures(count=4, last=NOW + HOUR),
    }
    await sessions.clear_failures("user:X")
    await sessions.count_failure(["address:1"], NOW + 3 * HOUR, quiet=NOW + HOUR)
    assert await sessions.failures(["user:X", "address:1"]) == {
        "address:1": Failures(count=1, last=NOW + 3 * HOUR)
    }


async def test_failures_counted_at_once_are_all_counted(sessions: SessionStore) -> None:
    await asyncio.gather(
        *(sessions.count_failure(["user:X", f"a:{n}"], NOW, quiet=NOW - HOUR) for n in range(20))
    )
    assert (await sessions.failures(["user:X"]))["user:X"].count == 20


async def test_another_process_sees_what_one_has_stored(store: Store, url: URL) -> None:
    async with open_store(url) as other:
        await store.accounts.add("ALICE", "hash", Role.DEVELOPER, NOW)
        assert await other.accounts.has_accounts()
        results = await asyncio.gather(
            *(
                one.sessions.count_failure(["user:X"], NOW, quiet=NOW - HOUR)
                for one in (store, other)
                for _ in range(10)
            )
        )
        assert len(results) == 20
        assert (await store.sessions.failures(["user:X"]))["user:X"].count == 20
