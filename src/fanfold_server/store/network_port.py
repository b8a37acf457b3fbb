"""What must be remembered of scripts' networks; `port.py` says what every method guarantees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fanfold_server.model.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkGrant:
    """What an administrator lets a script reach."""

    owner: str
    name: str
    network: Network


class NetworkStore(Protocol):
    """What has been decided of scripts; it goes with the script, and comes with it (`Script`)."""

    async def limit(self, name: str, owner: str, network: Network | None) -> bool:
        """Keep what the owner limits a script to, None for no limit; False: unknown."""
        ...

    async def grant(self, name: str, owner: str, network: Network | None) -> bool:
        """Keep what a script is granted, None for nothing.

        Returns:
            False: it is unknown; or nothing was granted, and nothing is to be.
        """
        ...

    async def grants(self) -> list[NetworkGrant]:
        """List everything that is granted, by owner and name."""
        ...
