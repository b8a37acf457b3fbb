"""Bringing locked environments from one server to another that has no network.

What leaves is the lock of a version and every package that it names; what comes is built from these
alone. Packages of one's own may bring anything along, also the interpreter: administrators only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from fanfold_server.environments.port import Carrier, Shelf
from fanfold_server.model.actor import Actor
from fanfold_server.model.environment import Order
from fanfold_server.model.errors import UnknownVersion
from fanfold_server.service.provisioning import Provisioning


class Carrying:
    """Packs environments, and orders those that were packed.

    Args:
        provisioning: decides who may, and builds.
        shelf: where environments are.
        carrier: packs and unpacks.
    """

    def __init__(self, provisioning: Provisioning, shelf: Shelf, carrier: Carrier) -> None:
        self._provisioning = provisioning
        self._shelf = shelf
        self._carrier = carrier

    @asynccontextmanager
    async def export(
        self, actor: Actor, name: str, version: int | None = None
    ) -> AsyncIterator[Path]:
        """Pack a version; the file is there for as long as the context lasts.

        Args:
            version: None: the current one.

        Raises:
            EnvironmentNotFound, UnknownVersion.
            Forbidden: it belongs to somebody else.
            PackageGone: a package cannot be had any more.
        """
        current, versions = self._provisioning.versions(name)
        self._provisioning.refuse_others(actor, versions[0])
        made = current if version is None else None
        made = made or next((v for v in versions if version in {None, v.version}), None)
        if made is None:
            assert version is not None
            raise UnknownVersion(
                f'The environment "{name}" has no version {version}.', version=version
            )
        async with self._carrier.room() as room:
            yield await self._carrier.pack(made, self._shelf.lock_of(made), room)

    def check(self, actor: Actor) -> None:
        """Refuse who may not import, before anything is received.

        Raises:
            Forbidden.
        """
        self._provisioning.refuse_but_administrators(actor)

    def room(self) -> AbstractAsyncContextManager[Path]:
        """Give a directory for what is received; it has to be there until the order is met."""
        return self._carrier.room()

    async def order(
        self, actor: Actor, source: Path, room: Path, *, name: str | None, replaces: bool
    ) -> Order:
        """Unpack a file into a room, and order what it holds.

        Args:
            name: what it is to be called here; None: as it was.
            replaces: see `Provisioning.order`.

        Raises:
            InvalidEnvironment: the file is not whole, or not what it says it is.
            Forbidden, EnvironmentExists: see `Provisioning.order`.
        """
        self.check(actor)
        parcel = await self._carrier.unpack(source, room)
        return self._provisioning.order(
            actor,
            name or parcel.name,
            parcel.recipe,
            description=parcel.description,
            tags=parcel.tags,
            replaces=replaces,
            parcel=parcel,
        )
