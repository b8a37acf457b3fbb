"""Datastores: named objects that functions keep between runs. What they hold is never looked at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DatastoreType(StrEnum):
    """Which datastores a listing holds, as `oml.ds.dir` names it.

    `user` one's own; `private` and `grantable` those of them that may not and may be granted;
    `granted` those of others that one may read; `all` one's own and these; `grant` one's own that
    are granted, once for each grant.
    """

    USER = "user"
    PRIVATE = "private"
    GRANTABLE = "grantable"
    ALL = "all"
    GRANT = "grant"
    GRANTED = "granted"


class SaveMode(StrEnum):
    """What becomes of a datastore that is there: refuse, replace it whole, or add to it."""

    NEW = "new"
    OVERWRITE = "overwrite"
    APPEND = "append"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object of a datastore.

    Attributes:
        kind: name of its class, as the process says that saved it.
        length, rows, columns: likewise; 1 where it has no such thing.
        blob: id of what holds its bytes: 32 hexadecimal digits.
    """

    name: str
    kind: str
    size_bytes: int
    length: int
    rows: int
    columns: int
    blob: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Datastore:
    """A datastore as it stands.

    Attributes:
        owner: account name in upper case.
        name: matched exactly.
        grantable: whether others may be let read it.
        created: when it was made or overwritten, aware, UTC.
        objects: by name.
    """

    owner: str
    name: str
    description: str
    grantable: bool
    created: datetime
    objects: tuple[StoredObject, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What its objects take."""
        return sum(each.size_bytes for each in self.objects)
