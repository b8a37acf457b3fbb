from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fanfold_server.model.errors import SecretUnreadable
from fanfold_server.model.secret import SecretInfo
from fanfold_server.store.sealing import FileSealer
from fanfold_server.store.sql import Store

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


async def test_a_secret_is_given_to_granted_scripts_of_its_owner_alone(store: Store) -> None:
    secrets = store.secrets
    assert await secrets.put("ALICE", "KEY", b"one", NOW, limit=9)
    assert await secrets.sealed("ALICE", "KEY", "f") is None
    assert await secrets.grant("ALICE", "KEY", "f")
    assert await secrets.grant("ALICE", "KEY", "f")
    assert await secrets.sealed("ALICE", "KEY", "f") == b"one"
    assert await secrets.sealed("ALICE", "KEY", "g") is None
    assert await secrets.sealed("BOB", "KEY", "f") is None
    assert not await secrets.grant("BOB", "KEY", "f")
    assert await secrets.revoke("ALICE", "KEY", "f")
    assert not await secrets.revoke("ALICE", "KEY", "f")
    assert await secrets.sealed("ALICE", "KEY", "f") is None


async def test_another_value_keeps_the_grants_and_a_new_secret_has_none(store: Store) -> None:
    secrets = store.secrets
    await secrets.put("ALICE", "KEY", b"one", NOW, limit=9)
    for script in ("g", "f"):
        await secrets.grant("ALICE", "KEY", script)
    assert await secrets.put("ALICE", "KEY", b"two", LATER, limit=9) is False
    assert await secrets.sealed("ALICE", "KEY", "g") == b"two"
    told = SecretInfo(name="KEY", changed=LATER, scripts=("f", "g"))
    assert await secrets.secrets("ALICE") == [told]
    assert await secrets.drop("ALICE", "KEY")
    assert not await secrets.drop("ALICE", "KEY")
    await secrets.put("ALICE", "KEY", b"three", LATER, limit=9)
    assert await secrets.secrets("ALICE") == [SecretInfo(name="KEY", changed=LATER, scripts=())]


async def test_an_owner_has_so_many_and_may_still_change_them(store: Store) -> None:
    for name in ("A", "B"):
        assert await store.secrets.put("ALICE", name, b"x", NOW, limit=2)
    assert await store.secrets.put("ALICE", "C", b"x", NOW, limit=2) is None
    assert await store.secrets.put("ALICE", "A", b"y", NOW, limit=2) is False
    assert await store.secrets.put("BOB", "C", b"x", NOW, limit=2)


def test_what_is_sealed_opens_with_its_key_and_context_alone(tmp_path: Path) -> None:
    sealer = FileSealer(tmp_path / "a.key")
    sealed = sealer.seal("s\u00e9same", "secret/ALICE/KEY")
    assert FileSealer(tmp_path / "a.key").open(sealed, "secret/ALICE/KEY") == "s\u00e9same"
    assert sealer.seal("s\u00e9same", "secret/ALICE/KEY") != sealed
    damaged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    other = FileSealer(tmp_path / "b.key")
    other.seal("x", "y")
    for opener, text, context in (
        (sealer, sealed, "secret/BOB/KEY"),
        (sealer, damaged, "secret/ALICE/KEY"),
        (sealer, b"", "secret/ALICE/KEY"),
        (other, sealed, "secret/ALICE/KEY"),
        (FileSealer(tmp_path / "none.key"), sealed, "secret/ALICE/KEY"),
    ):
        with pytest.raises(SecretUnreadable):
            opener.open(text, context)
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600


async def test_of_many_that_make_the_key_at_once_all_have_the_same(tmp_path: Path) -> None:
    sealers = [FileSealer(tmp_path / "a.key") for _ in range(8)]
    sealed = await asyncio.gather(
        *(asyncio.to_thread(sealer.seal, "text", "here") for sealer in sealers)
    )
    assert {sealers[0].open(one, "here") for one in sealed} == {"text"}
    assert os.listdir(tmp_path) == ["a.key"]  # noqa: PTH208  # no task waits for it
