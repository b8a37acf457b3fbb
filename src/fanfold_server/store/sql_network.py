"""`NetworkStore` over SQL, and how a policy is written into a column."""

from __future__ import annotations

import json

from sqlalchemy import ColumnElement, and_, select, update

from fanfold_server.model.network import Network, Reach, ScriptNetwork, listed
from fanfold_server.store.network_port import NetworkGrant
from fanfold_server.store.schema import script
from fanfold_server.store.sql_accounts import Transactions

NETWORK_COLUMNS = (script.c.network_grant, script.c.network_limit)


class SqlNetworks:
    """`NetworkStore` over SQL."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    async def limit(self, name: str, owner: str, network: Network | None) -> bool:
        return await self._set(_is(name, owner), network_limit=network)

    async def grant(self, name: str, owner: str, network: Network | None) -> bool:
        wanted = _is(name, owner)
        if network is None:
            wanted = and_(wanted, script.c.network_grant.is_not(None))
        return await self._set(wanted, network_grant=network)

    async def _set(self, which: ColumnElement[bool], **networks: Network | None) -> bool:
        values = {column: _written(network) for column, network in networks.items()}
        async with self._database.write() as connection:
            changed = await connection.execute(update(script).where(which).values(**values))
        return changed.rowcount > 0

    async def grants(self) -> list[NetworkGrant]:
        asked = (
            select(script.c.owner, script.c.name, script.c.network_grant)
            .where(script.c.network_grant.is_not(None))
            .order_by(script.c.owner, script.c.name)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(asked)).all()
        return [
            NetworkGrant(owner=row.owner, name=row.name, network=_read(row.network_grant))
            for row in rows
        ]


def script_network(grant: str | None, limit: str | None) -> ScriptNetwork | None:
    """Read `NETWORK_COLUMNS`; None if nothing has been decided."""
    if grant is None and limit is None:
        return None
    return ScriptNetwork(
        grant=None if grant is None else _read(grant),
        limit=None if limit is None else _read(limit),
    )


def _written(network: Network | None) -> str | None:
    if network is None:
        return None
    return json.dumps({"policy": network.reach.value, "hosts": list(map(str, network.hosts))})


def _read(text: str) -> Network:
    members = json.loads(text)
    reach = Reach(members["policy"])
    return listed(members["hosts"]) if reach is Reach.LISTED else Network(reach)


def _is(name: str, owner: str) -> ColumnElement[bool]:
    return and_(script.c.owner == owner, script.c.name == name)
