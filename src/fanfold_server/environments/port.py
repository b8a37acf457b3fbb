"""The port between the use cases and the environments on this machine."""

from __future__ import annotations

from typing import Protocol

from fanfold_server.model.actor import Actor
from fanfold_server.model.environment import Environment


class Environments(Protocol):
    """Knows environments by name."""

    def find(self, name: str | None) -> Environment:
        """Return the environment of this name; None means the default one. Quick: no waiting.

        Raises:
            UnknownEnvironment: names what was asked for and what there is.
        """
        ...

    async def listing(self, actor: Actor) -> list[dict[str, object]]:
        """Return the environments that `actor` may run in, as the compatible wire has them."""
        ...
