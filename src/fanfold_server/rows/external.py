"""`RowSource` over databases of others, and the one that chooses between them and our own.

A query's rows are spooled by a process of its own (`readers.py`) as an Arrow file. Whole tables and
chunks are that file. Groups are sorted and cut by the data process, from that file to another: so
order, nulls and keys are the same whatever database they came from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from fanfold_server.model import errors
from fanfold_server.model.data_source import EMBEDDED, SourceAccess
from fanfold_server.model.rows import Query, Rowset
from fanfold_server.rows.duckdb import DataProcess
from fanfold_server.rows.port import Directory, RowSource
from fanfold_server.rows.readers import Readers, forget, request


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalOptions:
    """How databases of others are read; see `DataOptions`.

    Attributes:
        queries: at once, to all databases together.
    """

    scratch: Path
    memory_mib: int
    queries: int
    rowset_mib: int
    timeout_s: float


class ExternalRows:
    """`RowSource` over registered databases; every query names one."""

    def __init__(
        self,
        directory: Directory,
        readers: Readers,
        process: DataProcess,
        options: ExternalOptions,
    ) -> None:
        self._directory = directory
        self._readers = readers
        self._process = process
        self._options = options
        self._turns = asyncio.Semaphore(options.queries)
        self._connections: dict[tuple[str, int], asyncio.Semaphore] = {}

    async def whole(self, query: Query, *, reader: str) -> Rowset:
        return await self._spooled(query, reader, {})

    async def chunks(self, query: Query, *, reader: str, rows: int) -> Rowset:
        return await self._spooled(query, reader, {"rows": rows})

    async def groups(
        self,
        query: Query,
        *,
        reader: str,
        by: Sequence[str],
        order: Sequence[str] = (),
        order_within: bool = False,
    ) -> Rowset:
        spooled = await self._spooled(query, reader, {"by": list(by), "order": list(order)})
        path = self._new_path()
        cut = {"by": list(by), "order": list(order), "order_within": order_within}
        try:
            made = await self._process.ask(
                "cut", self._options.timeout_s, data=str(spooled.path), cut=cut, path=str(path)
            )
        except errors.QueryTimedOut as exc:
            forget(path)
            raise self._timed_out() from exc
        except BaseException:
            forget(path)
            raise
        finally:
            forget(spooled.path)
        return Rowset(
            path=path,
            rows=made["rows"],
            columns=tuple(made["columns"]),
            size_bytes=made["size_bytes"],
            offsets=_offsets(path),
            keys=tuple(made["keys"]),
            calls=made["calls"],
        )

    async def release(self, rowset: Rowset) -> None:
        forget(rowset.path)

    async def _spooled(self, query: Query, reader: str, cut: dict[str, Any]) -> Rowset:
        """Have the rows of a query written to a file of their own."""
        assert query.source is not None, "a query for a database names it"
        access = await self._directory.access(reader, query.source)
        path = self._new_path()
        try:
            async with self._turn(access):
                made = await self._readers.ask(
                    request(
                        access,
                        text=query.text,
                        timeout_s=self._options.timeout_s,
                        limit_mib=self._options.rowset_mib,
                        memory_mib=self._options.memory_mib,
                        path=str(path),
                        **cut,
                    )
                )
        except errors.QueryTimedOut as exc:
            raise self._timed_out() from exc
        return Rowset(
            path=path,
            rows=made["rows"],
            columns=tuple(made["columns"]),
            size_bytes=made["size_bytes"],
            offsets=_offsets(path) if "rows" in cut else None,
            keys=None,
            calls=made["calls"],
        )

    @asynccontextmanager
    async def _turn(self, access: SourceAccess) -> AsyncIterator[None]:
        """Wait until one more query may run, here and there."""
        source = access.source
        key = (source.name, source.max_connections)
        theirs = self._connections.setdefault(key, asyncio.Semaphore(source.max_connections))
        wait_s = self._options.timeout_s
        try:
            async with asyncio.timeout(wait_s):
                await theirs.acquire()
        except TimeoutError as exc:
            raise errors.Overloaded(
                f'No connection to the database "{source.name}" became free within {wait_s:g} s; '
                f"this server has at most {source.max_connections} of them."
            ) from exc
        try:
            async with self._turns:
                yield
        finally:
            theirs.release()

    def _new_path(self) -> Path:
        return self._options.scratch / f"{uuid4().hex}.arrow"

    def _timed_out(self) -> errors.QueryTimedOut:
        limit_s = self._options.timeout_s
        return errors.QueryTimedOut(f"The query took longer than {limit_s:g} s.", limit_s=limit_s)


class ChosenRows:
    """`RowSource` over our own tables and those of others, as each query says."""

    def __init__(self, embedded: RowSource, external: RowSource, directory: Directory) -> None:
        self._embedded = embedded
        self._external = external
        self._directory = directory

    async def whole(self, query: Query, *, reader: str) -> Rowset:
        rows, query = await self._choose(query, reader)
        return await rows.whole(query, reader=reader)

    async def chunks(self, query: Query, *, reader: str, rows: int) -> Rowset:
        chosen, query = await self._choose(query, reader)
        return await chosen.chunks(query, reader=reader, rows=rows)

    async def groups(
        self,
        query: Query,
        *,
        reader: str,
        by: Sequence[str],
        order: Sequence[str] = (),
        order_within: bool = False,
    ) -> Rowset:
        rows, query = await self._choose(query, reader)
        return await rows.groups(
            query, reader=reader, by=by, order=order, order_within=order_within
        )

    async def release(self, rowset: Rowset) -> None:
        forget(rowset.path)

    async def _choose(self, query: Query, reader: str) -> tuple[RowSource, Query]:
        name = query.source or await self._directory.default(reader)
        if name is None or name == EMBEDDED:
            return self._embedded, replace(query, source=None)
        return self._external, replace(query, source=name)


def _offsets(path: Path) -> Path:
    return Path(f"{path}.offsets")
