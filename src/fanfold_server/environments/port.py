"""The ports between the use cases and the environments on this machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from fanfold_server.model.actor import Actor
from fanfold_server.model.environment import (
    Build,
    Environment,
    Hello,
    Made,
    Order,
    Parcel,
    Recipe,
)


class Environments(Protocol):
    """Knows environments by name."""

    def find(self, name: str | None, version: int | None = None) -> Environment:
        """Return the environment of this name; None means the default one. Quick: no waiting.

        Args:
            version: of an environment that was built here; None: the current one.

        Raises:
            UnknownEnvironment: names what was asked for and what there is.
        """
        ...

    async def listing(self, actor: Actor) -> list[dict[str, object]]:
        """Return the environments that `actor` may run in, as the compatible wire has them."""
        ...


class Installer(Protocol):
    """Solves and installs environments of a kind.

    Both methods write what they do into the build's log, and end with all that they started when
    they are cancelled.
    """

    async def lock(self, recipe: Recipe, log: Path, guard: int) -> str:
        """Decide which packages exactly: text that names each by address and hash.

        Args:
            log: file that what is said is added to.
            guard: descriptor that the processes inherit: of a lock that lasts until the last ends.

        Raises:
            BuildFailed: it cannot be solved; the message says why.
        """
        ...

    async def install(self, recipe: Recipe, lock: str, prefix: Path, log: Path, guard: int) -> str:
        """Install exactly what the lock names; `prefix` is not there yet.

        Returns:
            The lock; of a program that solves as it installs, what it has come to.

        Raises:
            BuildFailed: the message says why.
        """
        ...


Probe = Callable[[Environment, tuple[str, ...]], Awaitable[tuple[Hello, list[bytes]]]]
"""Starts an interpreter as runs do, and has it call functions: the values as JSON, in order.

Each source defines one function without parameters. Raises BuildFailed, naming what did not work.
"""


Confine = Callable[[Environment, Sequence[str]], Awaitable[list[str]]]
"""Returns how to start a command that runs an environment's own code and writes to its prefix."""


class Shelf(Protocol):
    """Environments that are built here, in versions.

    Guarantees: of one name one build goes on at a time, on all processes of this machine; what is
    listed is whole; what fails or is killed leaves nothing that is listed.
    """

    def names(self) -> list[str]:
        """List the names in order."""
        ...

    def versions(self, name: str) -> list[Made]:
        """List the versions of an environment, newest first; empty if there is none."""
        ...

    def current(self, name: str) -> Made | None:
        """Return the version that runs take place in; None if there is no such environment."""
        ...

    def lock_of(self, made: Made) -> str:
        """Return the lock of a version."""
        ...

    async def build(self, order: Order, build: Build) -> Made:
        """Carry out an order, or find that it has been; the build's record says how far it is.

        Raises:
            BuildFailed, EnvironmentExists.
        """
        ...

    def builds(self) -> list[Build]:
        """List the builds that are remembered, newest first."""
        ...

    def log(self, build_id: str) -> str | None:
        """Return what a build has said so far; None if there is no such build."""
        ...

    def last_used(self, made: Made) -> datetime | None:
        """Tell when something last ran in a version; None: never."""
        ...

    def make_current(self, name: str, version: int) -> bool:
        """Let runs take place in this version from now on; False: there is none."""
        ...

    async def drop(self, made: Made, *, wait_s: float) -> bool:
        """Take a version away once no process runs there.

        Returns:
            False, and the version stays, if that took longer than `wait_s`.
        """
        ...


class Carrier(Protocol):
    """Packs locked environments with all of their packages into one file, and unpacks them."""

    def room(self) -> AbstractAsyncContextManager[Path]:
        """Give a directory of one's own, on the environments' disk, until the context ends.

        What killed processes have left in theirs goes before that.
        """
        ...

    async def pack(self, made: Made, lock: str, room: Path) -> Path:
        """Write a version into a file in a room, without passwords and tokens; gives its path.

        Raises:
            PackageGone: a package cannot be had any more, or is another one now.
            DiskFull: there is no room for it; likewise for `unpack`.
            InvalidEnvironment: the lock does not say what the packages hash to.
        """
        ...

    async def unpack(self, source: Path, room: Path) -> Parcel:
        """Read a file that may be anybody's into a room; its packages lie there as long as that.

        Raises:
            InvalidEnvironment: it is not whole, holds what its lock does not name or what does not
                hash to what its lock says, or is for another machine.
        """
        ...
