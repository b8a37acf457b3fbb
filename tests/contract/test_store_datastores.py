"""What every `DatastoreStore` guarantees."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold_server.model.actor import Role
from fanfold_server.model.datastore import Datastore, DatastoreType, SaveMode, StoredObject
from fanfold_server.model.errors import DatastoreExists, NotGrantable, QuotaExceeded, Unexpected
from fanfold_server.store.sql import Store
from fanfold_server.store.sql_datastores import SqlDatastores

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
QUOTA = 1 << 50


@pytest.fixture
async def datastores(store: Store) -> SqlDatastores:
    for name in ("ANN", "BOB"):
        await store.accounts.add(name, "x", Role.DEVELOPER, NOW)
    return store.datastores


def thing(name: str, size_bytes: int = 10) -> StoredObject:
    return StoredObject(
        name=name,
        kind="größe",
        size_bytes=size_bytes,
        length=1 << 40,
        rows=2,
        columns=3,
        blob=uuid4().hex,
    )


async def save(
    datastores: SqlDatastores, name: str, *objects: StoredObject, **members: Any
) -> list[str]:
    await datastores.expect([each.blob for each in objects], members.get("at", NOW))
    asked: dict[str, Any] = {
        "mode": SaveMode.APPEND,
        "description": "what it is",
        "grantable": None,
        "at": NOW,
        "quota_bytes": QUOTA,
    } | members
    return await datastores.save(asked.pop("owner", "ANN"), name, objects, **asked)


async def names(datastores: SqlDatastores, name: str) -> list[str]:
    found = await datastores.find(name, reader="ANN")
    return [] if found is None else [each.name for each in found.objects]


async def test_a_datastore_comes_back_as_it_was_saved(datastores: SqlDatastores) -> None:
    b, a = thing("b", 1 << 40), thing("a")
    assert await save(datastores, "d", b, a, mode=SaveMode.NEW, grantable=True) == []
    assert await datastores.find("d", reader="ANN") == Datastore(
        owner="ANN",
        name="d",
        description="what it is",
        grantable=True,
        created=NOW,
        objects=(a, b),
    )
    assert await datastores.find("D", reader="ANN") is None
    assert await datastores.loose(LATER) == []


async def test_a_new_one_does_not_touch_one_that_is_there(datastores: SqlDatastores) -> None:
    await save(datastores, "d", thing("a"))
    refused = thing("b")
    with pytest.raises(DatastoreExists):
        await save(datastores, "d", refused, mode=SaveMode.NEW)
    assert await names(datastores, "d") == ["a"]
    assert await datastores.loose(LATER) == [refused.blob]


async def test_overwriting_replaces_all_and_keeps_the_grants(datastores: SqlDatastores) -> None:
    old, new = thing("a"), thing("b")
    await save(datastores, "d", old, grantable=True)
    await datastores.grant("d", "ANN", "BOB", NOW)
    gone = await save(datastores, "d", new, mode=SaveMode.OVERWRITE, description="new", at=LATER)
    assert gone == [old.blob]
    found = await datastores.find("d", reader="BOB", owner="ANN")
    assert found is not None
    assert (found.objects, found.description, found.created) == ((new,), "new", LATER)
    assert await datastores.loose(LATER + timedelta(seconds=1)) == [old.blob]
    await datastores.forget([old.blob])
    assert await datastores.loose(LATER + timedelta(seconds=1)) == []


async def test_appending_replaces_what_has_the_name_and_keeps_the_rest(
    datastores: SqlDatastores,
) -> None:
    old, kept, new = thing("a"), thing("b"), thing("a")
    await save(datastores, "d", old, kept)
    assert await save(datastores, "d", new, description="not looked at") == [old.blob]
    found = await datastores.find("d", reader="ANN")
    assert found is not None
    assert (found.objects, found.description) == ((new, kept), "what it is")


async def test_of_many_that_append_at_once_nothing_is_lost(datastores: SqlDatastores) -> None:
    """As the calls of one group-apply do, the first of which makes the datastore."""
    await asyncio.gather(*(save(datastores, "d", thing(f"m{n}")) for n in range(12)))
    assert await names(datastores, "d") == sorted(f"m{n}" for n in range(12))


async def test_of_many_new_ones_at_once_one_is_there(datastores: SqlDatastores) -> None:
    tried = await asyncio.gather(
        *(save(datastores, "d", thing(f"m{n}"), mode=SaveMode.NEW) for n in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, DatastoreExists) for each in tried) == 5
    assert len(await names(datastores, "d")) == 1


async def test_the_quota_counts_what_stays(datastores: SqlDatastores) -> None:
    await save(datastores, "d", thing("a", 60), thing("b", 40), quota_bytes=100)
    with pytest.raises(QuotaExceeded, match="would take 101 bytes; an account's may take 100"):
        await save(datastores, "e", thing("c", 1), quota_bytes=100)
    assert await names(datastores, "e") == []
    await save(datastores, "d", thing("a", 50), quota_bytes=100)
    await save(datastores, "d", thing("x", 100), mode=SaveMode.OVERWRITE, quota_bytes=100)
    await save(datastores, "d", thing("x", 100), owner="BOB", quota_bytes=100)


async def test_of_many_that_reach_the_quota_at_once_none_is_over_it(
    datastores: SqlDatastores,
) -> None:
    tried = await asyncio.gather(
        *(save(datastores, f"d{n}", thing("a", 30), quota_bytes=100) for n in range(8)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, QuotaExceeded) for each in tried) == 5


async def test_what_was_taken_for_left_behind_is_not_saved(datastores: SqlDatastores) -> None:
    """Its bytes are gone, or will be."""
    late = thing("a")
    await datastores.expect([late.blob], NOW)
    await datastores.forget([late.blob])
    with pytest.raises(Unexpected):
        await datastores.save(
            "ANN", "d", [late], mode=SaveMode.NEW, description="", grantable=None, at=NOW,
            quota_bytes=QUOTA,
        )  # fmt: skip
    assert await datastores.find("d", reader="ANN") is None


async def test_objects_are_deleted_all_or_none(datastores: SqlDatastores) -> None:
    a, b, c = thing("a"), thing("b"), thing("c")
    await save(datastores, "d", a, b, c)
    assert await datastores.delete("d", "ANN", ["a", "x"], NOW) is None
    assert await datastores.delete("x", "ANN", None, NOW) is None
    assert await datastores.delete("d", "BOB", None, NOW) is None
    assert await datastores.delete("d", "ANN", ["a", "a"], NOW) == [a.blob]
    assert await names(datastores, "d") == ["b", "c"]
    gone = await datastores.delete("d", "ANN", None, NOW)
    assert gone is not None
    assert sorted(gone) == sorted([b.blob, c.blob])
    assert await datastores.find("d", reader="ANN") is None
    assert sorted(await datastores.loose(LATER)) == sorted([a.blob, b.blob, c.blob])


async def test_a_reader_sees_its_own_and_the_granted(datastores: SqlDatastores) -> None:
    await save(datastores, "mine", thing("a"))
    await save(datastores, "shared", thing("a"), owner="BOB", grantable=True)
    await save(datastores, "hidden", thing("a"), owner="BOB", grantable=True)
    assert await datastores.grant("shared", "BOB", "PUBLIC", NOW)
    assert await datastores.grant("shared", "BOB", "PUBLIC", NOW)
    seen = await datastores.listing("ANN", DatastoreType.ALL)
    assert [(each.owner, each.name) for each, _ in seen] == [("ANN", "mine"), ("BOB", "shared")]
    assert await datastores.find("hidden", reader="ANN", owner="BOB") is None
    assert await datastores.find("shared", reader="ANN") is None
    assert await datastores.find("shared", reader="ANN", owner="BOB") is not None


async def test_listings_are_told_apart(datastores: SqlDatastores) -> None:
    await save(datastores, "private", thing("a"))
    await save(datastores, "open", thing("a"), thing("b"), grantable=True)
    await save(datastores, "theirs", thing("a"), owner="BOB", grantable=True)
    for grantee in ("PUBLIC", "BOB"):
        await datastores.grant("open", "ANN", grantee, NOW)
    await datastores.grant("theirs", "BOB", "ANN", NOW)
    listed = {
        which: [(each.name, grantee) for each, grantee in await datastores.listing("ANN", which)]
        for which in DatastoreType
    }
    assert listed == {
        DatastoreType.USER: [("open", None), ("private", None)],
        DatastoreType.PRIVATE: [("private", None)],
        DatastoreType.GRANTABLE: [("open", None)],
        DatastoreType.ALL: [("open", None), ("private", None), ("theirs", None)],
        DatastoreType.GRANT: [("open", "BOB"), ("open", "PUBLIC")],
        DatastoreType.GRANTED: [("theirs", None)],
    }
    ((found, _), _) = await datastores.listing("ANN", DatastoreType.GRANT)
    assert [each.name for each in found.objects] == ["a", "b"]


async def test_only_what_may_be_granted_is(datastores: SqlDatastores) -> None:
    await save(datastores, "d", thing("a"))
    with pytest.raises(NotGrantable):
        await datastores.grant("d", "ANN", "BOB", NOW)
    assert not await datastores.grant("x", "ANN", "BOB", NOW)
    await save(datastores, "d", grantable=True)
    assert await datastores.grant("d", "ANN", "BOB", NOW)
    assert await datastores.grants("d", "ANN") == ["BOB"]
    await save(datastores, "d", thing("b"))  # as it was
    assert await datastores.grants("d", "ANN") == ["BOB"]
    assert await datastores.revoke("d", "ANN", "BOB")
    assert not await datastores.revoke("d", "ANN", "BOB")
    await datastores.grant("d", "ANN", "BOB", NOW)
    await save(datastores, "d", grantable=False)
    assert await datastores.grants("d", "ANN") == []


_STEPS = st.lists(
    st.tuples(
        st.sampled_from([*SaveMode, "delete", "drop"]),
        st.sampled_from(["d", "e"]),
        st.sets(st.sampled_from("abc"), max_size=3),
    ),
    max_size=12,
)


@given(steps=_STEPS)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_it_behaves_as_a_dict_of_dicts(datastores: SqlDatastores, steps: Any) -> None:
    """And every blob that was expected is held by one object, or loose, never both."""
    for name in ("d", "e"):
        await datastores.delete(name, "ANN", None, NOW)
    await datastores.forget(await datastores.loose(LATER))
    model: dict[str, dict[str, str]] = {}
    expected: set[str] = set()
    for step, name, keys in steps:
        if isinstance(step, SaveMode):
            things = [thing(key) for key in sorted(keys)]
            expected |= {each.blob for each in things}
            if step is SaveMode.NEW and name in model:
                with pytest.raises(DatastoreExists):
                    await save(datastores, name, *things, mode=step)
                continue
            await save(datastores, name, *things, mode=step)
            old = {} if step is SaveMode.OVERWRITE else model.get(name, {})
            model[name] = old | {each.name: each.blob for each in things}
        elif step == "drop":
            gone = await datastores.delete(name, "ANN", None, NOW)
            assert (gone is None) == (name not in model)
            model.pop(name, None)
        elif keys:
            gone = await datastores.delete(name, "ANN", keys, NOW)
            fits = name in model and keys <= set(model[name])
            assert (gone is not None) == fits
            if fits:
                for key in keys:
                    del model[name][key]
    listing = await datastores.listing("ANN", DatastoreType.USER)
    found = {each.name: {one.name: one.blob for one in each.objects} for each, _ in listing}
    assert found == model
    held = {blob for objects in model.values() for blob in objects.values()}
    assert set(await datastores.loose(LATER)) == expected - held
