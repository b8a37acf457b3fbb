"""The script repository: scripts, versions, grants, and who sees what."""

from __future__ import annotations

from fanfold_server.model.actor import Actor
from fanfold_server.model.script import Grant, Script, ScriptType


class Library:
    """Keeps scripts. `now` is always `time.monotonic()`."""

    def known(self, caller: str, name: str, owner: str | None, now: float) -> Script | None:
        raise NotImplementedError

    async def resolve(
        self, actor: Actor, name: str, owner: str | None = None, version: int | None = None
    ) -> Script:
        raise NotImplementedError

    async def publish(
        self,
        actor: Actor,
        *,
        name: str,
        source: str,
        description: str | None,
        is_global: bool,
        overwrite: bool,
    ) -> tuple[Script, bool]:
        raise NotImplementedError

    async def load(
        self, actor: Actor, name: str, owner: str | None = None, version: int | None = None
    ) -> Script:
        raise NotImplementedError

    async def drop(self, actor: Actor, name: str, *, is_global: bool) -> None:
        raise NotImplementedError

    async def versions(self, actor: Actor, name: str, owner: str | None = None) -> list[Script]:
        raise NotImplementedError

    async def roll_back(
        self, actor: Actor, name: str, version: int, *, is_global: bool
    ) -> Script:
        raise NotImplementedError

    async def grant(self, actor: Actor, name: str, grantee: str | None) -> None:
        raise NotImplementedError

    async def revoke(self, actor: Actor, name: str, grantee: str | None) -> None:
        raise NotImplementedError

    async def grants(self, actor: Actor, name: str) -> list[Grant]:
        raise NotImplementedError

    async def listing(
        self, actor: Actor, script_type: ScriptType
    ) -> list[tuple[Script, str | None]]:
        raise NotImplementedError
