"""What functions ask about datastores: `oml.ds` and `oml.grant`, with their caller's rights.

A script of another account reads its caller's datastores and changes none of them: a pickle that
it left there would run as its caller the next time somebody loads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import orjson

from fanfold_server.engine.port import Ask, Reply, Work
from fanfold_server.model.actor import GLOBAL_OWNER
from fanfold_server.model.datastore import Datastore, DatastoreType, SaveMode, StoredObject
from fanfold_server.model.errors import AskRefused, InvalidField
from fanfold_server.service.asking import Verb, read_members
from fanfold_server.service.datastores import Datastores, ObjectDraft

_MAX_CLASS = 128
_MAX_COUNT = (1 << 63) - 1


class _Object(msgspec.Struct, rename={"kind": "class"}, forbid_unknown_fields=True):
    name: str
    kind: str
    size: int
    length: int
    rows: int
    columns: int


class _Save(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    objects: list[_Object]
    description: str
    grantable: bool | None
    overwrite: bool
    append: bool


class _Load(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    owner: str | None
    objects: list[str] | None


class _Describe(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    owner: str | None


class _Dir(msgspec.Struct, forbid_unknown_fields=True):
    dstype: str


class _Delete(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    objects: list[str] | None


class _Grant(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    user: str | None


class DatastoreAsks:
    """Answers asks about datastores."""

    def __init__(self, datastores: Datastores) -> None:
        self._datastores = datastores

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """What it answers, by verb."""
        return {
            "ds.save": self._save,
            "ds.load": self._load,
            "ds.dir": self._dir,
            "ds.describe": self._describe,
            "ds.delete": self._delete,
            "ds.grant": self._grant,
            "ds.revoke": self._revoke,
        }

    async def _save(self, work: Work, ask: Ask) -> Reply:
        owner = _who_changes(work)
        asked = read_members(ask, _Save)
        mode = SaveMode.NEW
        if asked.overwrite or asked.append:
            mode = SaveMode.OVERWRITE if asked.overwrite else SaveMode.APPEND
        await self._datastores.save(
            owner,
            asked.name,
            [_draft(each) for each in asked.objects],
            ask.payload,
            mode=mode,
            description=_text(asked.description),
            grantable=asked.grantable,
        )
        return Reply()

    async def _load(self, work: Work, ask: Ask) -> Reply:
        asked = read_members(ask, _Load)
        objects, file = await self._datastores.load(
            work.caller, asked.name, asked.owner, asked.objects
        )
        return Reply(json=_objects(objects), file=file)

    async def _describe(self, work: Work, ask: Ask) -> Reply:
        asked = read_members(ask, _Describe)
        found = await self._datastores.find(work.caller, asked.name, asked.owner)
        return Reply(json=_objects(found.objects))

    async def _dir(self, work: Work, ask: Ask) -> Reply:
        asked = read_members(ask, _Dir)
        try:
            which = DatastoreType(asked.dstype)
        except ValueError as exc:
            words = ", ".join(DatastoreType)
            raise InvalidField(
                f'"dstype" is {asked.dstype[:40]!a}; it should be one of {words}.', field="dstype"
            ) from exc
        listing = await self._datastores.listing(work.caller, which)
        entries = [_entry(each, grantee) for each, grantee in listing]
        return Reply(json=orjson.dumps({"datastores": entries}))

    async def _delete(self, work: Work, ask: Ask) -> Reply:
        owner = _who_changes(work)
        asked = read_members(ask, _Delete)
        await self._datastores.delete(owner, asked.name, asked.objects)
        return Reply()

    async def _grant(self, work: Work, ask: Ask) -> Reply:
        owner = _who_changes(work)
        asked = read_members(ask, _Grant)
        await self._datastores.grant(owner, asked.name, asked.user)
        return Reply()

    async def _revoke(self, work: Work, ask: Ask) -> Reply:
        owner = _who_changes(work)
        asked = read_members(ask, _Grant)
        await self._datastores.revoke(owner, asked.name, asked.user)
        return Reply()


def _who_changes(work: Work) -> str:
    """Say whose datastores this run may change. Raises AskRefused."""
    author = work.script.owner
    if author not in {work.caller, GLOBAL_OWNER}:
        raise AskRefused(
            f"A script of {author}'s may read your datastores and change none of them: publish "
            "a copy of it as your own."
        )
    return work.caller


def _draft(asked: _Object) -> ObjectDraft:
    numbers = (asked.size, asked.length, asked.rows, asked.columns)
    if not all(0 <= number <= _MAX_COUNT for number in numbers):
        raise InvalidField("A size of an object is out of range.", field="objs")
    return ObjectDraft(
        name=asked.name,
        kind=_text(asked.kind)[:_MAX_CLASS],
        size_bytes=asked.size,
        length=asked.length,
        rows=asked.rows,
        columns=asked.columns,
    )


def _text(text: str) -> str:
    """Return what every database can keep."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _objects(objects: Sequence[StoredObject]) -> bytes:
    return orjson.dumps(
        {
            "objects": [
                {
                    "name": each.name,
                    "class": each.kind,
                    "size": each.size_bytes,
                    "length": each.length,
                    "rows": each.rows,
                    "columns": each.columns,
                }
                for each in objects
            ]
        }
    )


def _entry(each: Datastore, grantee: str | None) -> dict[str, object]:
    return {
        "owner": each.owner,
        "name": each.name,
        "objects": len(each.objects),
        "size": each.size_bytes,
        "date": f"{each.created:%Y-%m-%d %H:%M:%S}",
        "description": each.description,
        "grantee": grantee,
    }
