"""What must be remembered of secrets; `port.py` says what every method guarantees."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from fanfold_server.model.secret import SecretInfo


class SecretStore(Protocol):
    """Sealed secrets of accounts, and which of the account's scripts may have them."""

    async def put(
        self, owner: str, name: str, sealed: bytes, at: datetime, *, limit: int
    ) -> bool | None:
        """Store a secret, in place of one of that name, whose grants stay.

        Returns:
            Whether the name is new; None, and nothing is stored: the owner has `limit` of them.
        """
        ...

    async def secrets(self, owner: str) -> list[SecretInfo]:
        """List an owner's secrets by name, each with the scripts that may have it."""
        ...

    async def drop(self, owner: str, name: str) -> bool:
        """Delete a secret with its grants; False: there is none."""
        ...

    async def grant(self, owner: str, name: str, script: str) -> bool:
        """Let a script of the owner's have it, also when it may already; False: unknown."""
        ...

    async def revoke(self, owner: str, name: str, script: str) -> bool:
        """Take exactly this grant back; False: there is none."""
        ...

    async def sealed(self, owner: str, name: str, script: str) -> bytes | None:
        """Give a sealed secret that a script of the owner's may have; None: there is none."""
        ...


class Sealer(Protocol):
    """Seals texts, so that a copy of the database is of no use."""

    def seal(self, text: str, context: str) -> bytes:
        """Seal a text; it is opened with the same context alone."""
        ...

    def open(self, sealed: bytes, context: str) -> str:
        """Give the text again.

        Raises:
            SecretUnreadable: it was sealed with another key or context, or is damaged.
        """
        ...
