"""What must be remembered of users' tables; `port.py` says what every method guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from fanfold_server.model.rows import TableGrant, TableInfo


class TableStore(Protocol):
    """Tables and who may read them.

    A reader sees a table when it owns it, when the owner is PYQSYS, or when it was granted to the
    reader or to everyone. Names of tables are matched without regard to case.
    """

    async def put(self, table: TableInfo) -> str | None:
        """Remember a table, in place of one of that owner and name, whose grants stay.

        Returns:
            The file of the one that it replaces.
        """
        ...

    async def find(self, name: str, *, reader: str, owner: str | None = None) -> TableInfo | None:
        """Find a table that `reader` sees; without an owner the reader's own, else a global one."""
        ...

    async def listing(self, reader: str) -> list[TableInfo]:
        """List what `reader` sees: its own, then the others' by owner; each by name."""
        ...

    async def drop(self, name: str, owner: str) -> str | None:
        """Forget a table and its grants; gives its file, or None if there is no such table."""
        ...

    async def grant(self, name: str, owner: str, grantee: str, at: datetime) -> bool:
        """Let `grantee` (or EVERYONE) read it, also when it does already; False: unknown."""
        ...

    async def revoke(self, name: str, owner: str, grantee: str) -> bool:
        """Take back exactly this grant; False if there is none."""
        ...

    async def grants(self, name: str, owner: str) -> list[TableGrant]:
        """List a table's grants by grantee, the one to everyone last."""
        ...

    async def files(self) -> Sequence[str]:
        """List the files of all tables."""
        ...
