"""Datastores: objects that functions keep between runs, as bytes that nothing here looks into.

Saving is whole or not at all. The bytes are written as blobs under new names first, and one
transaction names them: whoever is killed in between leaves the old objects, and blobs that are
known to be loose. A reader who meets a blob that is gone looks again.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from fanfold_server.model.actor import EVERYONE, account_name
from fanfold_server.model.datastore import Datastore, DatastoreType, SaveMode, StoredObject
from fanfold_server.model.errors import (
    DatastoreExists,
    FanfoldError,
    InvalidField,
    QuotaExceeded,
    Unexpected,
    UnknownDatastore,
    UnknownGrant,
    UnknownUser,
)
from fanfold_server.service.access import utc_now
from fanfold_server.store.port import (
    OBJECT_PIECE_BYTES,
    AccountStore,
    BlobMissing,
    Blobs,
    DatastoreStore,
    object_prefix,
)

MAX_OBJECTS = 1_000
"""Objects that are saved at once."""

MAX_DESCRIPTION = 2_000
STALE_S = 3600.0
"""So long a process may write an object; then its blobs are taken for those of a dead one."""

MIB = 1 << 20
_IN_MEMORY_BYTES = 16 << 20
_ATTEMPTS = 5
_NAME = re.compile(r"[^\x00-\x1f\x7f/\ud800-\udfff]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDraft:
    """An object that is about to be saved; members as in `StoredObject`."""

    name: str
    kind: str
    size_bytes: int
    length: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreLimits:
    """What may be stored: bytes of one object, bytes of an account."""

    object_bytes: int
    account_bytes: int


class Datastores:
    """Keeps datastores.

    Args:
        store: what there is, and who may read it.
        blobs: keep the bytes.
        accounts: who there is to grant to.
        scratch: directory for large answers, which have no names in it; None: the system's own.
        now: gives the time of day.
    """

    def __init__(
        self,
        store: DatastoreStore,
        blobs: Blobs,
        accounts: AccountStore,
        limits: DatastoreLimits,
        *,
        scratch: Path | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._accounts = accounts
        self._limits = limits
        self._scratch = scratch
        self._now = now

    # ------------------------------------------------------------------ objects

    async def save(
        self,
        owner: str,
        name: str,
        drafts: Sequence[ObjectDraft],
        content: int | None,
        *,
        mode: SaveMode,
        description: str = " ",
        grantable: bool | None = None,
    ) -> None:
        """Save objects, all or none.

        Args:
            owner: the account that saves.
            name: of the datastore.
            drafts: what they are, by different names.
            content: descriptor of a file with their bytes, one after another; it does not change.
            mode: what becomes of a datastore that is there.
            description: of a new one, or one that is overwritten.
            grantable: None: as it was, or not.

        Raises:
            InvalidField: a name or a size cannot be.
            DatastoreExists, QuotaExceeded, DiskFull: as they say.
        """
        self._check(name, drafts, content, description)
        if mode is SaveMode.NEW and await self._store.find(name, reader=owner) is not None:
            raise DatastoreExists(
                f'You have a datastore "{name}": save with overwrite=True or append=True.',
                datastore=name,
            )
        objects = [
            StoredObject(
                name=draft.name,
                kind=draft.kind,
                size_bytes=draft.size_bytes,
                length=draft.length,
                rows=draft.rows,
                columns=draft.columns,
                blob=uuid4().hex,
            )
            for draft in drafts
        ]
        blobs = [each.blob for each in objects]
        await self._store.expect(blobs, self._now())
        try:
            start = 0
            for each in objects:
                await self._write(each, content, start)
                start += each.size_bytes
            loose = await self._store.save(
                owner,
                name,
                objects,
                mode=mode,
                description=description,
                grantable=grantable,
                at=self._now(),
                quota_bytes=self._limits.account_bytes,
            )
        except FanfoldError:
            await self._discard(blobs)  # else it may be that they are named: `tidy` will know
            raise
        await self._discard(loose)

    def _check(
        self, name: str, drafts: Sequence[ObjectDraft], content: int | None, description: str
    ) -> None:
        _check_name(name, "name")
        if len(description) > MAX_DESCRIPTION or "\0" in description:
            raise InvalidField(
                f"The description may have {MAX_DESCRIPTION} characters, and no NUL.",
                field="description",
            )
        if len(drafts) > MAX_OBJECTS:
            raise InvalidField(f"At most {MAX_OBJECTS} objects are saved at once.", field="objs")
        if len({draft.name for draft in drafts}) != len(drafts):
            raise InvalidField("Two objects have the same name.", field="objs")
        limit = self._limits.object_bytes
        for draft in drafts:
            _check_name(draft.name, "objs")
            if draft.size_bytes > limit:
                raise QuotaExceeded(
                    f'The object "{draft.name}" takes {draft.size_bytes} bytes; one may take '
                    f"{limit} ({limit // MIB} MiB, max_object_mib).",
                    limit="max_object_mib",
                    used=draft.size_bytes,
                    quota=limit,
                )
        size = 0 if content is None else os.fstat(content).st_size
        if sum(draft.size_bytes for draft in drafts) != size:
            raise InvalidField("The objects' sizes are not those of what was sent.", field="objs")

    async def _write(self, each: StoredObject, content: int | None, start: int) -> None:
        prefix = object_prefix(each.blob)
        for number in range(_pieces(each.size_bytes)):
            at = number * OBJECT_PIECE_BYTES
            count = min(OBJECT_PIECE_BYTES, each.size_bytes - at)
            assert content is not None, "what has a size has bytes"
            piece = await asyncio.to_thread(os.pread, content, count, start + at)
            await self._blobs.write({f"{prefix}{number}": piece})

    async def load(
        self, reader: str, name: str, owner: str | None, wanted: Collection[str] | None
    ) -> tuple[list[StoredObject], int]:
        """Give objects that a reader may have: what they are, and their bytes.

        Args:
            reader: the account that asks.
            name: of the datastore.
            owner: whose it is; None: the reader's own.
            wanted: their names; None: all.

        Returns:
            The objects, and a descriptor of a file with their bytes, one after another, open for
            reading only; the caller closes it.

        Raises:
            UnknownDatastore: there is no such datastore, or object.
        """
        for _ in range(_ATTEMPTS):
            objects = self._choose(await self.find(reader, name, owner), wanted)
            try:
                return objects, await self._gather(objects)
            except BlobMissing:
                continue  # it was overwritten meanwhile
        raise Unexpected(f'The datastore "{name}" is changed faster than it can be read.')

    def _choose(self, found: Datastore, wanted: Collection[str] | None) -> list[StoredObject]:
        if wanted is None:
            return list(found.objects)
        there = {each.name: each for each in found.objects}
        for name in wanted:
            if name not in there:
                raise _no_object(found.name, name)
        return [there[name] for name in dict.fromkeys(wanted)]

    async def _gather(self, objects: Sequence[StoredObject]) -> int:
        """Write objects into a file without a name."""
        size = sum(each.size_bytes for each in objects)
        file = _nameless(size, self._scratch)
        try:
            for each in objects:
                for number in range(_pieces(each.size_bytes)):
                    piece = await self._blobs.read(f"{object_prefix(each.blob)}{number}")
                    await asyncio.to_thread(_write_all, file, piece)
            return os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(file)

    async def delete(self, owner: str, name: str, objects: Collection[str] | None = None) -> None:
        """Delete one's own datastore, or objects of it.

        Raises:
            UnknownDatastore: there is no such datastore, or object.
        """
        loose = await self._store.delete(name, owner, objects, self._now())
        if loose is None:
            found = await self._store.find(name, reader=owner)
            if found is None:
                raise _unknown(name)
            self._choose(found, objects)
            return  # deleted by another meanwhile, or there now: as it was asked for
        await self._discard(loose)

    # ------------------------------------------------------------------ looking

    async def find(self, reader: str, name: str, owner: str | None = None) -> Datastore:
        """Find a datastore that a reader may have. Raises UnknownDatastore."""
        if _NAME.fullmatch(name) is None:
            raise _unknown(name)
        wanted = None if owner is None else account_name(owner)
        found = await self._store.find(name, reader=reader, owner=wanted)
        if found is None:
            raise _unknown(name)
        return found

    async def listing(
        self, reader: str, which: DatastoreType
    ) -> list[tuple[Datastore, str | None]]:
        """List datastores; with `DatastoreType.GRANT` one's own with each grantee."""
        return await self._store.listing(reader, which)

    # ------------------------------------------------------------------ rights

    async def grant(self, owner: str, name: str, grantee: str | None) -> None:
        """Let an account, or everyone (None), read one's own datastore.

        Raises:
            UnknownDatastore, UnknownUser, NotGrantable: as they say.
        """
        stored = EVERYONE if grantee is None else account_name(grantee)
        if grantee is not None and await self._accounts.credentials(stored) is None:
            raise UnknownUser(f'There is no user "{stored}".', user=stored)
        if not await self._store.grant(name, owner, stored, self._now()):
            raise _unknown(name)

    async def revoke(self, owner: str, name: str, grantee: str | None) -> None:
        """Take a grant back. Raises UnknownDatastore, UnknownGrant."""
        stored = EVERYONE if grantee is None else account_name(grantee)
        if await self._store.revoke(name, owner, stored):
            return
        await self._own(owner, name)
        raise UnknownGrant(f'The datastore "{name}" is not granted to {stored}.')

    async def grants(self, owner: str, name: str) -> list[str]:
        """List who else may read one's own datastore. Raises UnknownDatastore."""
        await self._own(owner, name)
        return await self._store.grants(name, owner)

    async def _own(self, owner: str, name: str) -> None:
        if await self._store.find(name, reader=owner, owner=owner) is None:
            raise _unknown(name)

    # ------------------------------------------------------------------ blobs

    async def tidy(self, now: datetime) -> None:
        """Remove what processes have left that were killed."""
        await self._discard(await self._store.loose(now - timedelta(seconds=STALE_S)))

    async def _discard(self, blobs: Collection[str]) -> None:
        for blob in blobs:
            await self._blobs.remove(object_prefix(blob))
        await self._store.forget(blobs)


def _check_name(name: str, field: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise InvalidField(
            f"The name {name[:150]!a} cannot be: 1 to 128 characters, no control characters "
            'and no "/".',
            field=field,
        )


def _pieces(size_bytes: int) -> int:
    return -(-size_bytes // OBJECT_PIECE_BYTES)


def _nameless(size_bytes: int, folder: Path | None) -> int:
    if size_bytes <= _IN_MEMORY_BYTES:
        return os.memfd_create("fanfold-objects", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.dup(file.fileno())


def _write_all(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]


def _unknown(name: str) -> UnknownDatastore:
    return UnknownDatastore(
        f'There is no datastore "{name[:150]}" that you may use.', datastore=name[:150]
    )


def _no_object(datastore: str, name: str) -> UnknownDatastore:
    return UnknownDatastore(
        f'The datastore "{datastore}" has no object "{name[:150]}".', datastore=datastore
    )
