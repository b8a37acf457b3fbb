"""What every `ScriptStore` guarantees."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fanfold_server.model.actor import EVERYONE, GLOBAL_OWNER, Role
from fanfold_server.model.script import Grant, Script, ScriptType
from fanfold_server.store.port import Creator, Draft, ScriptStore
from fanfold_server.store.sql import Store

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
NAMES = ("ALICE", "BOB", "CAROL")


@pytest.fixture
async def ids(store: Store) -> dict[str, int]:
    """The accounts' numbers, by name."""
    found = {}
    for name in NAMES:
        await store.accounts.add(name, "hash", Role.DEVELOPER, NOW)
        credentials = await store.accounts.credentials(name)
        assert credentials is not None
        found[name] = credentials.actor.user_id
    return found


@pytest.fixture
def scripts(store: Store) -> ScriptStore:
    return store.scripts


def draft(name: str = "f", owner: str = "ALICE", text: str = "1") -> Draft:
    source = f"def f():\n    return {text!r}\n"
    return Draft(
        name=name,
        owner=owner,
        source=source,
        digest=hashlib.sha256(source.encode()).hexdigest(),
        entry="f",
        description=None,
        created=NOW,
    )


async def publish(scripts: ScriptStore, what: Draft, by: int) -> Script:
    creator = await scripts.creator(what.name, what.owner)
    published = await scripts.publish(
        what, by=by, replaces=None if creator is None else creator.user_id
    )
    assert published is not None
    return published[0]


async def test_a_script_comes_back_as_it_was_published(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    what = replace(draft(), source="def f():\n\treturn '𝄞 \\0'\n", description="Größe\nzwei")
    published = await scripts.publish(what, by=ids["ALICE"], replaces=None)
    assert published is not None
    script, is_new = published
    assert is_new
    assert script.version == 1
    for member in ("name", "owner", "source", "digest", "entry", "description", "created"):
        assert getattr(script, member) == getattr(what, member)
    found = await scripts.find("f", reader="ALICE")
    assert found is not None
    assert (found.owner, found.newest, found.script) == ("ALICE", 1, script)
    assert await scripts.creator("f", "ALICE") == Creator(user_id=ids["ALICE"], name="ALICE")
    assert await scripts.creator("F", "ALICE") is None


async def test_versions_count_up_and_never_change(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    published = [await publish(scripts, draft(text=str(n)), ids["ALICE"]) for n in range(3)]
    assert [script.version for script in published] == [1, 2, 3]
    assert await scripts.versions("f", "ALICE") == published[::-1]
    assert await scripts.versions("g", "ALICE") == []
    for script in published:
        found = await scripts.find("f", reader="ALICE", version=script.version)
        assert found is not None
        assert found.script == script
    beyond = await scripts.find("f", reader="ALICE", version=4)
    assert beyond is not None
    assert (beyond.newest, beyond.script) == (3, None)


async def test_the_same_again_stores_nothing(scripts: ScriptStore, ids: dict[str, int]) -> None:
    described = replace(draft(), description="one")
    first = await scripts.publish(described, by=ids["ALICE"], replaces=None)
    assert first is not None
    again = await scripts.publish(described, by=ids["ALICE"], replaces=ids["ALICE"])
    assert again == (first[0], False)
    silent = await scripts.publish(draft(), by=ids["ALICE"], replaces=ids["ALICE"])
    assert silent == (first[0], False)
    other = replace(draft(), description="two")
    changed = await scripts.publish(other, by=ids["ALICE"], replaces=ids["ALICE"])
    assert changed is not None
    assert (changed[0].version, changed[0].digest) == (2, first[0].digest)


async def test_a_publisher_who_is_wrong_about_what_is_there_stores_nothing(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    assert await scripts.publish(draft(), by=ids["ALICE"], replaces=ids["ALICE"]) is None
    assert await scripts.versions("f", "ALICE") == []
    await publish(scripts, draft(), ids["ALICE"])
    assert await scripts.publish(draft(text="2"), by=ids["ALICE"], replaces=None) is None
    assert await scripts.publish(draft(text="2"), by=ids["BOB"], replaces=ids["BOB"]) is None
    assert len(await scripts.versions("f", "ALICE")) == 1


async def test_of_many_that_publish_a_new_script_at_once_one_succeeds(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    results = await asyncio.gather(
        *(
            scripts.publish(draft(owner=GLOBAL_OWNER, text=name), by=number, replaces=None)
            for name, number in ids.items()
        )
    )
    assert len([result for result in results if result is not None]) == 1


async def test_an_old_version_can_be_current_and_the_next_is_still_the_newest(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    first = await publish(scripts, draft(text="1"), ids["ALICE"])
    await publish(scripts, draft(text="2"), ids["ALICE"])
    assert await scripts.make_current("f", "ALICE", 1, creator=ids["ALICE"]) == first
    found = await scripts.find("f", reader="ALICE")
    assert found is not None
    assert (found.newest, found.script) == (2, first)
    third = await publish(scripts, draft(text="3"), ids["ALICE"])
    assert third.version == 3
    assert await scripts.make_current("f", "ALICE", 4, creator=ids["ALICE"]) is None
    assert await scripts.make_current("f", "ALICE", 1, creator=ids["BOB"]) is None
    assert await scripts.make_current("g", "ALICE", 1, creator=ids["ALICE"]) is None
    assert await scripts.find("f", reader="ALICE") == replace(found, newest=3, script=third)


async def test_what_is_dropped_leaves_nothing_behind(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    """Who had a grant for a script must not have one for the next of that name."""
    await publish(scripts, draft(text="1"), ids["ALICE"])
    await publish(scripts, draft(text="2"), ids["ALICE"])
    await scripts.grant("f", "ALICE", "BOB", NOW)
    assert not await scripts.drop("f", "ALICE", creator=ids["BOB"])
    assert await scripts.drop("f", "ALICE", creator=ids["ALICE"])
    assert not await scripts.drop("f", "ALICE", creator=ids["ALICE"])
    assert await scripts.find("f", reader="ALICE") is None
    assert (await publish(scripts, draft(text="3"), ids["ALICE"])).version == 1
    assert await scripts.find("f", reader="BOB", owner="ALICE") is None
    assert await scripts.grants("f", "ALICE") == []


async def test_without_an_owner_ones_own_comes_before_the_global_one(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    await publish(scripts, draft(owner=GLOBAL_OWNER, text="g1"), ids["BOB"])
    await publish(scripts, draft(owner=GLOBAL_OWNER, text="g2"), ids["BOB"])
    own = await publish(scripts, draft(), ids["ALICE"])
    found = await scripts.find("f", reader="ALICE")
    assert found is not None
    assert found.script == own
    others = await scripts.find("f", reader="CAROL")
    assert others is not None
    assert others.owner == GLOBAL_OWNER


async def test_a_version_of_the_global_script_never_stands_for_one_of_ones_own(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    await publish(scripts, draft(owner=GLOBAL_OWNER, text="g1"), ids["BOB"])
    await publish(scripts, draft(owner=GLOBAL_OWNER, text="g2"), ids["BOB"])
    await publish(scripts, draft(), ids["ALICE"])
    found = await scripts.find("f", reader="ALICE", version=2)
    assert found is not None
    assert (found.owner, found.newest, found.script) == ("ALICE", 1, None)


async def test_a_global_script_is_found_under_who_published_it_too(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    """The manual stores its example for everyone, and runs it with the owner's name."""
    shared = await publish(scripts, draft(owner=GLOBAL_OWNER, text="g"), ids["ALICE"])
    own = await publish(scripts, draft(), ids["ALICE"])
    assert await scripts.find("f", reader="BOB", owner="BOB") is None
    found = {reader: await scripts.find("f", reader=reader, owner="ALICE") for reader in NAMES}
    assert {name: None if one is None else one.script for name, one in found.items()} == {
        "ALICE": own,
        "BOB": shared,
        "CAROL": shared,
    }
    assert await scripts.grant("f", "ALICE", "CAROL", NOW)
    granted = await scripts.find("f", reader="CAROL", owner="ALICE")
    assert granted is not None
    assert granted.script == own


@pytest.mark.parametrize(("grantee", "readers"), [("BOB", {"BOB"}), (EVERYONE, {"BOB", "CAROL"})])
async def test_a_grant_lets_the_grantee_find_the_script_under_its_owner(
    scripts: ScriptStore, ids: dict[str, int], grantee: str, readers: set[str]
) -> None:
    await publish(scripts, draft(), ids["ALICE"])
    assert await scripts.grant("f", "ALICE", grantee, NOW)
    assert await scripts.grant("f", "ALICE", grantee, NOW)  # again is no error
    for reader in ("BOB", "CAROL"):
        found = await scripts.find("f", reader=reader, owner="ALICE")
        assert (found is not None) == (reader in readers)
        assert await scripts.find("f", reader=reader) is None  # a grant is no script of one's own
    assert await scripts.revoke("f", "ALICE", grantee)
    assert not await scripts.revoke("f", "ALICE", grantee)
    assert await scripts.find("f", reader="BOB", owner="ALICE") is None
    assert not await scripts.grant("g", "ALICE", grantee, NOW)


async def test_grants_are_listed_with_the_one_to_everyone_last(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    await publish(scripts, draft(), ids["ALICE"])
    for grantee in (EVERYONE, "ZOE", "BOB"):
        await scripts.grant("f", "ALICE", grantee, NOW)
    assert await scripts.grants("f", "ALICE") == [
        Grant(name="f", owner="ALICE", grantee=grantee) for grantee in ("BOB", "ZOE", None)
    ]


async def test_listings_hold_what_their_type_says(
    scripts: ScriptStore, ids: dict[str, int]
) -> None:
    for name, owner in (("a", "ALICE"), ("b", "ALICE"), ("a", "BOB"), ("c", GLOBAL_OWNER)):
        await publish(scripts, draft(name=name, owner=owner), ids.get(owner, ids["CAROL"]))
    await publish(scripts, draft(name="a", owner="ALICE", text="2"), ids["ALICE"])
    await scripts.grant("a", "ALICE", "BOB", NOW)
    await scripts.grant("a", "ALICE", EVERYONE, NOW)

    async def listed(reader: str, which: ScriptType) -> list[tuple[str, str, str | None]]:
        rows = await scripts.listing(reader, which)
        return [(script.name, script.owner, grantee) for script, grantee in rows]

    assert await listed("ALICE", ScriptType.USER) == [("a", "ALICE", None), ("b", "ALICE", None)]
    assert await listed("ALICE", ScriptType.GLOBAL) == [("c", GLOBAL_OWNER, None)]
    assert await listed("ALICE", ScriptType.GRANT) == [
        ("a", "ALICE", "BOB"),
        ("a", "ALICE", EVERYONE),
    ]
    assert await listed("ALICE", ScriptType.GRANTED) == []
    assert await listed("BOB", ScriptType.GRANTED) == [("a", "ALICE", None)]
    assert await listed("BOB", ScriptType.ALL) == [
        ("a", "ALICE", None),
        ("a", "BOB", None),
        ("c", GLOBAL_OWNER, None),
    ]
    current = (await scripts.listing("ALICE", ScriptType.USER))[0][0]
    assert current.version == 2
