"""The repository of scripts equals a simple model of it, whatever is done to it in which order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fanfold_server.model.actor import EVERYONE, GLOBAL_OWNER, Actor, Role
from fanfold_server.model.errors import (
    CallerError,
    Forbidden,
    InvalidField,
    ScriptExists,
    UnknownGrant,
    UnknownScript,
    UnknownVersion,
)
from fanfold_server.model.script import ScriptType
from fanfold_server.service.library import Library
from fanfold_server.store.sql import Store, open_store, sqlite_url

T = TypeVar("T")

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ROLES = {"ALICE": Role.DEVELOPER, "BOB": Role.DEVELOPER, "ROOT": Role.ADMIN}

who = st.sampled_from(sorted(ROLES))
names = st.sampled_from(["f", "g"])
flags = st.booleans()


def source(text: int) -> str:
    return f"def f():\n    return {text}\n"


@dataclass
class Kept:
    """A script as the model has it. `current` counts from 1, as versions do."""

    creator: str
    versions: list[str]
    current: int = 1
    grantees: set[str] = field(default_factory=set)


class LibraryModel(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.kept: dict[tuple[str, str], Kept] = {}
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.actors: dict[str, Actor] = {}
        self.store = self.run(self._open(Path(folder)))
        # Time stands still: what is remembered is never too old, so it must always be right.
        self.library = self._library()

    async def _open(self, folder: Path) -> Store:
        store = await self.stack.enter_async_context(open_store(sqlite_url(folder / "fanfold.db")))
        for name, role in ROLES.items():
            await store.accounts.add(name, "hash", role, NOW)
            credentials = await store.accounts.credentials(name)
            assert credentials is not None
            self.actors[name] = credentials.actor
        return store

    def _library(self) -> Library:
        return Library(
            self.store.scripts, self.store.accounts, now=lambda: NOW, monotonic=lambda: 0.0
        )

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(what)

    def expect(self, what: Coroutine[Any, Any, object], error: type[CallerError] | None) -> object:
        """Do it, and compare its error, or that it has none, with the model's."""
        raised: type[CallerError] | None = None
        result = None
        try:
            result = self.run(what)
        except CallerError as exc:
            raised = type(exc)
        assert raised is error
        return result

    # ---------------------------------------------------------------------------------- changes

    def change_error(self, actor: str, key: tuple[str, str]) -> type[CallerError] | None:
        kept = self.kept.get(key)
        if kept is None:
            return UnknownScript
        return None if actor in {kept.creator, "ROOT"} else Forbidden

    @rule(actor=who, name=names, text=st.integers(0, 3), is_global=flags, overwrite=flags)
    def publish(self, actor: str, name: str, text: int, is_global: bool, overwrite: bool) -> None:
        key = (GLOBAL_OWNER if is_global else actor, name)
        kept = self.kept.get(key)
        error: type[CallerError] | None = None
        if kept is not None:
            error = self.change_error(actor, key) if overwrite else ScriptExists
        result = self.expect(
            self.library.publish(
                self.actors[actor],
                name=name,
                source=source(text),
                description=None,
                is_global=is_global,
                overwrite=overwrite,
            ),
            error,
        )
        if error is not None:
            return
        if kept is None:
            self.kept[key] = kept = Kept(creator=actor, versions=[source(text)])
            is_new = True
        else:
            is_new = False
            if kept.versions[kept.current - 1] != source(text):
                kept.versions.append(source(text))
                kept.current = len(kept.versions)
        assert isinstance(result, tuple)
        assert (result[0].version, result[1]) == (kept.current, is_new)

    @rule(actor=who, name=names, is_global=flags)
    def drop(self, actor: str, name: str, is_global: bool) -> None:
        key = (GLOBAL_OWNER if is_global else actor, name)
        error = self.change_error(actor, key)
        self.expect(self.library.drop(self.actors[actor], name, is_global=is_global), error)
        if error is None:
            del self.kept[key]

    @rule(actor=who, name=names, version=st.integers(0, 4), is_global=flags)
    def roll_back(self, actor: str, name: str, version: int, is_global: bool) -> None:
        key = (GLOBAL_OWNER if is_global else actor, name)
        error = self.change_error(actor, key)
        if error is None and not 1 <= version <= len(self.kept[key].versions):
            error = UnknownVersion
        self.expect(
            self.library.roll_back(self.actors[actor], name, version, is_global=is_global), error
        )
        if error is None:
            self.kept[key].current = version

    @rule(actor=who, name=names, grantee=who | st.none())
    def grant(self, actor: str, name: str, grantee: str | None) -> None:
        kept = self.kept.get((actor, name))
        error: type[CallerError] | None = None
        if kept is None:
            error = UnknownScript
        elif grantee == actor:
            error = InvalidField
        else:
            kept.grantees.add(grantee or EVERYONE)
        self.expect(self.library.grant(self.actors[actor], name, grantee), error)

    @rule(actor=who, name=names, grantee=who | st.none())
    def revoke(self, actor: str, name: str, grantee: str | None) -> None:
        kept = self.kept.get((actor, name))
        error: type[CallerError] | None = None
        if kept is None:
            error = UnknownScript
        elif (grantee or EVERYONE) not in kept.grantees:
            error = UnknownGrant
        else:
            kept.grantees.remove(grantee or EVERYONE)
        self.expect(self.library.revoke(self.actors[actor], name, grantee), error)

    # ------------------------------------------------------------------------------------ looks

    def is_granted(self, reader: str, key: tuple[str, str]) -> bool:
        return bool(self.kept[key].grantees & {reader, EVERYONE})

    def meant(self, reader: str, name: str, owner: str | None) -> tuple[str, str] | None:
        """Tell which script a name means to a reader."""
        keys = [(reader if owner is None else owner, name)]
        shared = self.kept.get((GLOBAL_OWNER, name))
        if owner is None or (shared is not None and shared.creator == owner):
            keys.append((GLOBAL_OWNER, name))
        for key in keys:
            if key in self.kept and (
                key[0] in {reader, GLOBAL_OWNER} or self.is_granted(reader, key)
            ):
                return key
        return None

    @rule(
        reader=who,
        name=names,
        owner=st.none() | who | st.just(GLOBAL_OWNER),
        version=st.none() | st.integers(1, 3),
        is_fresh=flags,
    )
    def resolve(
        self, reader: str, name: str, owner: str | None, version: int | None, is_fresh: bool
    ) -> None:
        """Also through a second library on the same store, as another process has it."""
        key = self.meant(reader, name, owner)
        library = self._library() if is_fresh else self.library
        error: type[CallerError] | None = None
        if key is None:
            error = UnknownScript
        elif version is not None and version > len(self.kept[key].versions):
            error = UnknownVersion
        asked = None if owner is None else owner.lower()
        found = self.expect(library.resolve(self.actors[reader], name, asked, version), error)
        if error is None:
            assert key is not None
            kept = self.kept[key]
            number = kept.current if version is None else version
            assert found is not None
            assert (found.owner, found.name) == key  # type: ignore[attr-defined]
            assert found.version == number  # type: ignore[attr-defined]
            assert found.source == kept.versions[number - 1]  # type: ignore[attr-defined]

    @invariant()
    def what_is_known_is_true(self) -> None:
        if not hasattr(self, "library"):
            return
        for reader, name, owner in list(self.library._known._values):
            script = self.library.known(reader, name, owner, 0.0)
            key = self.meant(reader, name, None if owner is None else owner.upper())
            assert script is not None
            assert key == (script.owner, script.name)
            assert script.version == self.kept[key].current

    @rule(reader=who, which=st.sampled_from(ScriptType))
    def listing(self, reader: str, which: ScriptType) -> None:
        listed = self.run(self.library.listing(self.actors[reader], which))
        expected: list[tuple[str, str, str | None]] = []
        for (owner, name), kept in self.kept.items():
            granted = self.is_granted(reader, (owner, name))
            is_held = {
                ScriptType.USER: owner == reader,
                ScriptType.GLOBAL: owner == GLOBAL_OWNER,
                ScriptType.ALL: owner in {reader, GLOBAL_OWNER} or granted,
                ScriptType.GRANTED: owner != reader and granted,
                ScriptType.GRANT: owner == reader,
            }
            if is_held[which]:
                grantees = kept.grantees if which is ScriptType.GRANT else [None]
                expected += [(name, owner, grantee) for grantee in grantees]
        found = [(script.name, script.owner, grantee) for script, grantee in listed]
        assert found == sorted(expected, key=lambda row: (row[0], row[2] or "", row[1]))
        for script, _ in listed:
            assert script.version == self.kept[script.owner, script.name].current


TestLibraryModel = LibraryModel.TestCase
TestLibraryModel.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
