"""What must be remembered of datastores; `port.py` says what every method guarantees.

The bytes of objects are blobs. A blob is *loose* from before it is written until a datastore holds
it, and again once none does: so whatever a process leaves that is killed is known and removed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from fanfold_server.model.datastore import Datastore, DatastoreType, SaveMode, StoredObject

OBJECT_PIECE_BYTES = 16 << 20
"""The bytes of an object are kept in pieces of this length; the last may be shorter."""


def object_prefix(blob: str) -> str:
    """Return what the keys of an object's pieces begin with; their numbers follow, from 0."""
    return f"datastores/{blob[:2]}/{blob}/"


class DatastoreStore(Protocol):
    """Datastores and who may read them.

    A reader sees a datastore when it owns it, or when it was granted to the reader or to everyone.
    """

    async def expect(self, blobs: Collection[str], at: datetime) -> None:
        """Note that these blobs are about to be written, and held by nothing yet."""
        ...

    async def save(
        self,
        owner: str,
        name: str,
        objects: Sequence[StoredObject],
        *,
        mode: SaveMode,
        description: str,
        grantable: bool | None,
        at: datetime,
        quota_bytes: int,
    ) -> list[str]:
        """Store objects whose blobs were expected and are written.

        Args:
            owner: an account.
            name: of the datastore.
            objects: by different names.
            mode: what becomes of one of that name.
            description: of a new one, or one that is overwritten.
            grantable: None: as it was, or not. False takes all grants back.
            at: when.
            quota_bytes: what the owner's datastores may take with this.

        Returns:
            Blobs that nothing holds any more.

        Raises:
            DatastoreExists: there is one, and `mode` is NEW.
            QuotaExceeded: with `limit`, `used` and `quota`.
            Unexpected: the blobs are not expected any more.
        """
        ...

    async def find(self, name: str, *, reader: str, owner: str | None = None) -> Datastore | None:
        """Find a datastore that `reader` sees; without an owner the reader's own."""
        ...

    async def listing(
        self, reader: str, which: DatastoreType
    ) -> list[tuple[Datastore, str | None]]:
        """List datastores by owner and name.

        Returns:
            Each with None, but for `DatastoreType.GRANT`: there with the grantee (or EVERYONE).
        """
        ...

    async def delete(
        self, name: str, owner: str, objects: Collection[str] | None, at: datetime
    ) -> list[str] | None:
        """Forget a datastore with its grants, or only these objects of it: all, or none.

        Returns:
            Blobs that nothing holds any more; None: there is no such datastore, or object.
        """
        ...

    async def grant(self, name: str, owner: str, grantee: str, at: datetime) -> bool:
        """Let `grantee` (or EVERYONE) read it, also when it does already; False: unknown.

        Raises:
            NotGrantable: its owner has not said that it may be granted.
        """
        ...

    async def revoke(self, name: str, owner: str, grantee: str) -> bool:
        """Take back exactly this grant; False if there is none."""
        ...

    async def grants(self, name: str, owner: str) -> list[str]:
        """List the grantees of a datastore, EVERYONE last."""
        ...

    async def loose(self, before: datetime) -> list[str]:
        """List the blobs that have been held by nothing since before then."""
        ...

    async def forget(self, blobs: Collection[str]) -> None:
        """Note that nothing is left of these loose blobs."""
        ...
