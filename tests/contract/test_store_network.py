"""What every `NetworkStore` guarantees."""

from __future__ import annotations

import hashlib

import pytest

from fanfold_server.model.actor import Role
from fanfold_server.model.network import EVERYTHING, NOTHING, ScriptNetwork, listed
from fanfold_server.model.script import ScriptType
from fanfold_server.store.port import Draft, NetworkGrant
from fanfold_server.store.sql import Store
from tests.contract.jobs import START, claim, submit

SOME = listed(["api.example.org", "10.0.0.0/8:5432", "[fd00::1]:443"])


@pytest.fixture
async def scripts(store: Store) -> Store:
    """Scripts "f" and "g" of ADA's."""
    await store.accounts.add("ADA", "hash", Role.DEVELOPER, START)
    credentials = await store.accounts.credentials("ADA")
    assert credentials is not None
    for name in ("f", "g"):
        await publish(store, name, credentials.actor.user_id, None)
    return store


async def publish(store: Store, name: str, by: int, replaces: int | None, text: str = "1") -> None:
    source = f"def {name}(i): return {text}"
    draft = Draft(
        name=name,
        owner="ADA",
        source=source,
        digest=hashlib.sha256(source.encode()).hexdigest(),
        entry=name,
        description=None,
        created=START,
    )
    assert await store.scripts.publish(draft, by=by, replaces=replaces) is not None


async def decided(store: Store, name: str) -> ScriptNetwork | None:
    found = await store.scripts.find(name, reader="ADA")
    assert found is not None
    assert found.script is not None
    return found.script.network


async def test_what_is_decided_comes_with_the_script(scripts: Store) -> None:
    assert await decided(scripts, "f") is None
    assert await scripts.networks.grant("f", "ADA", SOME)
    assert await scripts.networks.limit("f", "ADA", NOTHING)
    wanted = ScriptNetwork(grant=SOME, limit=NOTHING)
    assert await decided(scripts, "f") == wanted
    assert await decided(scripts, "g") is None
    ((first, _), (second, _)) = await scripts.scripts.listing("ADA", ScriptType.USER)
    assert (first.network, second.network) == (wanted, None)


async def test_it_holds_for_versions_to_come_and_ends_with_the_script(scripts: Store) -> None:
    creator = await scripts.scripts.creator("f", "ADA")
    assert creator is not None
    assert await scripts.networks.grant("f", "ADA", EVERYTHING)
    await publish(scripts, "f", creator.user_id, creator.user_id, text="2")
    assert await decided(scripts, "f") == ScriptNetwork(grant=EVERYTHING)
    assert await scripts.scripts.drop("f", "ADA", creator=creator.user_id)
    await publish(scripts, "f", creator.user_id, None)
    assert await decided(scripts, "f") is None


async def test_grants_are_listed_and_taken_back(scripts: Store) -> None:
    assert await scripts.networks.grants() == []
    assert not await scripts.networks.grant("f", "ADA", None)
    assert not await scripts.networks.grant("nobody", "ADA", SOME)
    assert not await scripts.networks.limit("nobody", "ADA", SOME)
    assert await scripts.networks.grant("g", "ADA", EVERYTHING)
    assert await scripts.networks.grant("f", "ADA", SOME)
    assert await scripts.networks.grants() == [
        NetworkGrant(owner="ADA", name="f", network=SOME),
        NetworkGrant(owner="ADA", name="g", network=EVERYTHING),
    ]
    assert await scripts.networks.grant("g", "ADA", None)
    assert len(await scripts.networks.grants()) == 1
    assert await scripts.networks.limit("f", "ADA", None)


async def test_a_job_is_claimed_with_what_is_decided_now(scripts: Store) -> None:
    """Not with what was when it was submitted: what is taken back is gone."""
    jobs = scripts.jobs
    await submit(jobs, times=3, script_name="f")
    first, *_ = await claim(jobs, wanted=1)
    assert first.network is None
    assert await scripts.networks.grant("f", "ADA", SOME)
    second, *_ = await claim(jobs, wanted=1)
    assert second.network == ScriptNetwork(grant=SOME)
    assert await scripts.networks.grant("f", "ADA", None)
    third, *_ = await claim(jobs, wanted=1)
    assert third.network is None


async def test_a_job_outlives_its_script_without_what_that_was_granted(scripts: Store) -> None:
    creator = await scripts.scripts.creator("f", "ADA")
    assert creator is not None
    assert await scripts.networks.grant("f", "ADA", SOME)
    await submit(scripts.jobs, times=1, script_name="f")
    assert await scripts.scripts.drop("f", "ADA", creator=creator.user_id)
    (claimed,) = await claim(scripts.jobs, wanted=1)
    assert claimed.network is None
