from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typing_extensions import override

from fanfold_server.model.actor import GLOBAL_OWNER, Actor, Role
from fanfold_server.model.errors import (
    Forbidden,
    InvalidField,
    InvalidSource,
    Overloaded,
    ScriptExists,
    UnknownGrant,
    UnknownScript,
    UnknownUser,
    UnknownVersion,
)
from fanfold_server.model.script import Grant, Script, ScriptType
from fanfold_server.service.library import CACHE_LIFETIME_S, Library
from fanfold_server.store.port import Found
from fanfold_server.store.sql import Store, open_store, sqlite_url
from fanfold_server.store.sql_accounts import Transactions
from fanfold_server.store.sql_scripts import SqlScripts

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ONE = "def f(x):\n    return x\n"
TWO = "def f(x):\n    return 2 * x\n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(sqlite_url(tmp_path / "fanfold.db")) as opened:
        yield opened


class SlowScripts(SqlScripts):
    """The real thing, but what it has read arrives only when the test lets it."""

    def __init__(self, database: Transactions) -> None:
        super().__init__(database)
        self.was_read = asyncio.Event()
        self.may_go_on = asyncio.Event()

    @override
    async def find(
        self, name: str, *, reader: str, owner: str | None = None, version: int | None = None
    ) -> Found | None:
        found = await super().find(name, reader=reader, owner=owner, version=version)
        self.was_read.set()
        await self.may_go_on.wait()
        return found


async def an_account(store: Store, name: str, role: Role = Role.DEVELOPER) -> Actor:
    await store.accounts.add(name, "hash", role, NOW)
    credentials = await store.accounts.credentials(name)
    assert credentials is not None
    return credentials.actor


@pytest.fixture
async def alice(store: Store) -> Actor:
    return await an_account(store, "ALICE")


@pytest.fixture
async def bob(store: Store) -> Actor:
    return await an_account(store, "BOB")


@pytest.fixture
async def root(store: Store) -> Actor:
    return await an_account(store, "ROOT", Role.ADMIN)


@pytest.fixture
def library(store: Store) -> Library:
    return Library(store.scripts, store.accounts, now=lambda: NOW, monotonic=lambda: 0.0)


async def publish(
    library: Library,
    actor: Actor,
    name: str = "f",
    source: str = ONE,
    *,
    description: str | None = None,
    is_global: bool = False,
    overwrite: bool = True,
) -> tuple[Script, bool]:
    return await library.publish(
        actor,
        name=name,
        source=source,
        description=description,
        is_global=is_global,
        overwrite=overwrite,
    )


# -------------------------------------------------------------------------------------- publishing


async def test_a_published_script_knows_its_function_and_digest(
    library: Library, alice: Actor
) -> None:
    script, is_new = await publish(library, alice, description="twice")
    assert is_new
    assert (script.owner, script.version, script.entry) == ("ALICE", 1, "f")
    assert script.digest == hashlib.sha256(ONE.encode()).hexdigest()
    assert script.description == "twice"
    assert script.created == NOW


async def test_a_byte_order_mark_is_no_part_of_the_text(library: Library, alice: Actor) -> None:
    """Python passes over it at the beginning of a file, and editors of Windows write it there."""
    plain, _ = await publish(library, alice)
    marked, is_new = await publish(library, alice, source="\ufeff" + ONE)
    assert (marked, is_new) == (plain, False)


async def test_a_script_is_replaced_only_when_told(library: Library, alice: Actor) -> None:
    await publish(library, alice)
    with pytest.raises(ScriptExists, match='"overwrite": true'):
        await publish(library, alice, source=TWO, overwrite=False)
    script, is_new = await publish(library, alice, source=TWO)
    assert (script.version, is_new) == (2, False)
    assert (await library.resolve(alice, "f")) == script


async def test_the_same_again_is_the_same_version(library: Library, alice: Actor) -> None:
    script, _ = await publish(library, alice, description="one")
    assert await publish(library, alice) == (script, False)
    assert await publish(library, alice, description="one") == (script, False)
    other, _ = await publish(library, alice, description="two")
    assert other.version == 2


@pytest.mark.parametrize(
    "name", ["", " f", "f ", "a/b", ".", "..", "a\nb", "a\0", "\ud800", "x" * 129]
)
async def test_a_name_that_cannot_be_in_a_path_is_refused(
    library: Library, alice: Actor, name: str
) -> None:
    with pytest.raises(InvalidField):
        await publish(library, alice, name)
    with pytest.raises(UnknownScript):
        await library.resolve(alice, name)
    with pytest.raises(UnknownScript):
        await library.drop(alice, name, is_global=False)


@pytest.mark.parametrize("name", ["f", "a b", "größe", "a.b-c_d", "函数", "...", "x" * 128, "%41"])
async def test_any_other_name_is_kept_as_it_is(library: Library, alice: Actor, name: str) -> None:
    await publish(library, alice, name)
    assert (await library.resolve(alice, name)).name == name
    with pytest.raises(UnknownScript):
        await library.resolve(alice, name.swapcase() + "_")


@pytest.mark.parametrize("description", ["x" * 4001, "a\0b", "\ud800"])
async def test_a_description_that_cannot_be_kept_is_refused(
    library: Library, alice: Actor, description: str
) -> None:
    with pytest.raises(InvalidField, match="description"):
        await publish(library, alice, description=description)


async def test_a_source_that_is_refused_stores_nothing(
    store: Store, library: Library, alice: Actor
) -> None:
    with pytest.raises(InvalidSource):
        await publish(library, alice, source="def f(:")
    short = Library(store.scripts, store.accounts, max_source_bytes=10)
    with pytest.raises(InvalidSource, match="at most 10"):
        await publish(short, alice)
    assert await library.listing(alice, ScriptType.ALL) == []


async def test_many_who_publish_at_once_all_get_a_version_of_their_own(
    library: Library, alice: Actor
) -> None:
    """One may lose so often that it is told to try again; none may get another's version."""
    results = await asyncio.gather(
        *(publish(library, alice, source=f"def f(): return {n}") for n in range(8)),
        return_exceptions=True,
    )
    published = [result[0] for result in results if isinstance(result, tuple)]
    assert len({script.version for script in published}) == len(published) >= 7
    assert all(isinstance(result, tuple | Overloaded) for result in results)
    versions = await library.versions(alice, "f")
    assert {script.digest for script in published} == {script.digest for script in versions}


# ------------------------------------------------------------------------------------ global ones


async def test_anyone_makes_a_global_script_and_only_the_maker_or_an_admin_changes_it(
    library: Library, alice: Actor, bob: Actor, root: Actor
) -> None:
    script, _ = await publish(library, alice, is_global=True)
    assert script.owner == GLOBAL_OWNER
    assert await library.resolve(bob, "f") == script
    with pytest.raises(ScriptExists):
        await publish(library, bob, source=TWO, is_global=True, overwrite=False)
    for attempt in (
        publish(library, bob, source=TWO, is_global=True),
        library.drop(bob, "f", is_global=True),
        library.roll_back(bob, "f", 1, is_global=True),
    ):
        with pytest.raises(Forbidden, match="ALICE"):
            await attempt
    changed, is_new = await publish(library, root, source=TWO, is_global=True)
    assert (changed.version, is_new) == (2, False)
    again, _ = await publish(library, alice, source=ONE, is_global=True)  # still its maker's
    assert again.version == 3
    await library.drop(root, "f", is_global=True)
    with pytest.raises(UnknownScript):
        await library.resolve(alice, "f")


async def test_an_admin_has_no_right_to_what_is_private(
    library: Library, alice: Actor, root: Actor
) -> None:
    await publish(library, alice)
    with pytest.raises(UnknownScript):
        await library.resolve(root, "f", "ALICE")


async def test_ones_own_comes_before_the_global_one(
    library: Library, alice: Actor, bob: Actor
) -> None:
    shared, _ = await publish(library, bob, is_global=True)
    own, _ = await publish(library, alice, source=TWO)
    assert await library.resolve(alice, "f") == own
    assert await library.resolve(bob, "f") == shared
    for owner in ("PYQSYS", "pyqsys"):
        assert await library.resolve(alice, "f", owner) == shared
    for owner in ("ALICE", "alice", "Alice"):
        assert await library.resolve(alice, "f", owner) == own


# ---------------------------------------------------------------------------------------- versions


async def test_a_version_can_be_pinned_and_rolled_back_to(library: Library, alice: Actor) -> None:
    one, _ = await publish(library, alice, source=ONE)
    two, _ = await publish(library, alice, source=TWO)
    assert await library.load(alice, "f", version=1) == one
    assert await library.versions(alice, "f") == [two, one]
    assert await library.roll_back(alice, "f", 1, is_global=False) == one
    assert await library.resolve(alice, "f") == one
    assert await library.load(alice, "f", "alice", 2) == two


@pytest.mark.parametrize("version", [0, -1, 3, 2**31, 2**70, -(2**70)])
async def test_an_unknown_version_is_told_with_those_there_are(
    library: Library, alice: Actor, version: int
) -> None:
    await publish(library, alice, source=ONE)
    with pytest.raises(UnknownVersion, match="its only version is 1"):
        await library.resolve(alice, "f", version=version)
    await publish(library, alice, source=TWO)
    with pytest.raises(UnknownVersion, match="1 to 2"):
        await library.resolve(alice, "f", version=version)
    with pytest.raises(UnknownVersion, match="1 to 2"):
        await library.roll_back(alice, "f", version, is_global=False)


# ------------------------------------------------------------------------------------------ grants


async def test_whether_a_script_is_missing_or_not_granted_is_not_told(
    library: Library, alice: Actor, bob: Actor
) -> None:
    await publish(library, alice)
    messages = []
    for name in ("f", "g"):
        with pytest.raises(UnknownScript) as caught:
            await library.resolve(bob, name, "alice")
        messages.append(caught.value.message.replace(f'"{name}"', "NAME"))
        with pytest.raises(UnknownScript):
            await library.versions(bob, name, "alice")
    assert messages[0] == messages[1]
    assert "grant" in messages[0]


async def test_nobody_is_sent_to_ask_themselves(library: Library, alice: Actor) -> None:
    """Nor is anybody sent to the owner of the global scripts, who is no account."""
    with pytest.raises(UnknownScript, match=r'^You have no script "f"\.$'):
        await library.resolve(alice, "f", "alice")
    with pytest.raises(UnknownScript, match=r'^There is no global script "f"\.$'):
        await library.resolve(alice, "f", "PYQSYS")


async def test_a_grant_can_be_given_listed_and_taken_back(
    library: Library, alice: Actor, bob: Actor
) -> None:
    script, _ = await publish(library, alice)
    await library.grant(alice, "f", "bob")
    await library.grant(alice, "f", None)
    await library.grant(alice, "f", "public")  # as listings call everyone
    assert await library.grants(alice, "f") == [
        Grant(name="f", owner="ALICE", grantee="BOB"),
        Grant(name="f", owner="ALICE", grantee=None),
    ]
    await library.revoke(alice, "f", "Bob")
    assert await library.resolve(bob, "f", "alice") == script  # everyone still may
    await library.revoke(alice, "f", None)
    with pytest.raises(UnknownScript):
        await library.resolve(bob, "f", "alice")
    for grantee in ("bob", None, "public", "nobody", "\0"):
        with pytest.raises(UnknownGrant):
            await library.revoke(alice, "f", grantee)


async def test_only_owners_grant_and_only_to_other_accounts(
    library: Library, alice: Actor, bob: Actor, root: Actor
) -> None:
    await publish(library, alice)
    await publish(library, alice, "g", is_global=True)
    for actor, name in ((bob, "f"), (root, "f"), (alice, "g"), (alice, "h")):
        with pytest.raises(UnknownScript):
            await library.grant(actor, name, None)
        with pytest.raises(UnknownScript):
            await library.revoke(actor, name, None)
        with pytest.raises(UnknownScript):
            await library.grants(actor, name)
    for grantee in ("carol", "PYQSYS", "", "\0", "\ud800"):
        with pytest.raises(UnknownUser):
            await library.grant(alice, "f", grantee)
    with pytest.raises(InvalidField):
        await library.grant(alice, "f", "alice")


# ----------------------------------------------------------------------------------- what is known


async def test_a_resolved_script_is_known_for_two_seconds(library: Library, alice: Actor) -> None:
    script, _ = await publish(library, alice)
    assert library.known("ALICE", "f", None, 0.0) is None
    await library.resolve(alice, "f")
    assert library.known("ALICE", "f", None, CACHE_LIFETIME_S - 0.01) == script
    assert library.known("ALICE", "f", None, CACHE_LIFETIME_S) is None
    assert library.known("BOB", "f", None, 0.0) is None
    assert library.known("ALICE", "f", "alice", 0.0) is None
    await library.resolve(alice, "f", "alice")
    assert library.known("ALICE", "f", "alice", 0.0) == script
    await library.resolve(alice, "f", version=1)


async def test_a_pinned_version_is_not_taken_for_the_current_one(
    library: Library, alice: Actor
) -> None:
    await publish(library, alice, source=ONE)
    await publish(library, alice, source=TWO)
    await library.resolve(alice, "f", version=1)
    assert library.known("ALICE", "f", None, 0.0) is None


async def test_what_is_resolved_while_it_is_changed_is_not_remembered(
    store: Store, alice: Actor
) -> None:
    """Else a run just after a publication would still run the old version."""
    scripts = SlowScripts(store.scripts._database)
    library = Library(scripts, store.accounts, now=lambda: NOW, monotonic=lambda: 0.0)
    old, _ = await publish(library, alice, source=ONE)
    resolving = asyncio.create_task(library.resolve(alice, "f"))
    await scripts.was_read.wait()
    new, _ = await publish(library, alice, source=TWO)
    scripts.may_go_on.set()
    assert await resolving == old  # it was current when it was asked for
    assert library.known("ALICE", "f", None, 0.0) is None
    assert await library.resolve(alice, "f") == new
