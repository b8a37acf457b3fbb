"""What is preloaded ends by itself, and only so much of it is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fanfold_server.model.actor import Actor, Role
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import PreloadRefused
from fanfold_server.service.preloading import Preloading

FRIDA = Actor(user_id=2, name="FRIDA", role=Role.DEVELOPER)
GUSTAV = Actor(user_id=3, name="GUSTAV", role=Role.DEVELOPER)
LIMIT_S = 100.0


class Places:
    """Any environment, as the port has them."""

    def find(self, name: str | None, version: int | None = None) -> Environment:
        return Environment(name=name or "", prefix=Path("/nowhere"), kind="venv", version=version)

    async def listing(self, actor: Actor) -> list[dict[str, object]]:
        names = ("a", "b", "c")
        return [
            {"name": name, "of": actor.name, "tags": {"application": "oml4py"}} for name in names
        ]


class Warmed:
    """Remembers what is kept."""

    def __init__(self) -> None:
        self.kept: set[tuple[str, str]] = set()
        self.released = asyncio.Event()

    def keep(self, owner: str, environment: Environment) -> None:
        self.kept.add((owner, environment.name))

    def release(self, owner: str, environment: Environment) -> None:
        self.kept.remove((owner, environment.name))
        self.released.set()


async def test_what_is_preloaded_is_let_go_when_its_time_is_over() -> None:
    warmed = Warmed()
    preloading = Preloading(Places(), warmed, per_user=2, lifetime_s=1)
    kept = await preloading.preload(FRIDA, "a", overwrite=False)
    assert warmed.kept == {("FRIDA", "a")}
    assert (kept.expires - kept.created).total_seconds() == 1
    async with asyncio.timeout(LIMIT_S):
        await warmed.released.wait()
    assert preloading.listing(FRIDA) == []
    assert warmed.kept == set()


async def test_each_account_has_a_quota_of_its_own() -> None:
    warmed = Warmed()
    preloading = Preloading(Places(), warmed, per_user=2, lifetime_s=100)
    for name in ("a", "b"):
        await preloading.preload(FRIDA, name, overwrite=False)
    with pytest.raises(PreloadRefused, match="may have 2"):
        await preloading.preload(FRIDA, "c", overwrite=False)
    await preloading.preload(FRIDA, "a", overwrite=True)
    await preloading.preload(GUSTAV, "c", overwrite=False)
    assert [one.environment.name for one in preloading.listing(FRIDA)] == ["b", "a"]
    preloading.close()
    assert warmed.kept == set()


async def test_a_server_without_interpreters_preloads_nothing() -> None:
    preloading = Preloading(Places(), None, per_user=2, lifetime_s=100)
    with pytest.raises(PreloadRefused, match="agents"):
        await preloading.preload(FRIDA, "a", overwrite=False)
