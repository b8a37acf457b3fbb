"""What must be remembered of databases of others; `port.py` says what every method guarantees."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from fanfold_server.model.data_source import DataSource, SourceGrant


class SourceStore(Protocol):
    """Registered databases, who may use them, and which is whose default.

    Names are in upper case. A password that is stored is stored encrypted: whoever has the database
    alone has no password.
    """

    async def put(self, source: DataSource, password: str | None) -> bool:
        """Remember a source, in place of one of that name, whose grants and defaults stay.

        Args:
            password: the text to keep if `source.password` is "stored".

        Returns:
            Whether the name is new.
        """
        ...

    async def find(self, name: str, *, reader: str | None) -> DataSource | None:
        """Find a source that `reader` may use; None asks for any."""
        ...

    async def listing(self, *, reader: str | None) -> list[DataSource]:
        """List what `reader` may use, or all for None, by name."""
        ...

    async def password(self, source: DataSource) -> str | None:
        """Give the password of a source, wherever it is kept.

        Raises:
            SourceUnavailable: it is not where it should be, or cannot be decrypted.
        """
        ...

    async def drop(self, name: str) -> bool:
        """Forget a source with its grants, its password, and that it is anybody's default."""
        ...

    async def grant(self, name: str, grantee: str, at: datetime) -> bool:
        """Let `grantee` (or EVERYONE) use it, also when it may already; False: unknown source."""
        ...

    async def revoke(self, name: str, grantee: str) -> bool:
        """Take back exactly this grant; False if there is none."""
        ...

    async def grants(self, name: str) -> list[SourceGrant]:
        """List a source's grants by grantee, the one to everyone last."""
        ...

    async def default(self, account: str) -> str | None:
        """Name an account's default; None if it has none."""
        ...

    async def set_default(self, account: str, name: str | None) -> None:
        """Set an account's default to a source that there is, or to none."""
        ...
