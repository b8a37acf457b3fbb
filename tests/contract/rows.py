"""A data process with a catalog in memory, for the tests of rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fanfold_server.model.actor import GLOBAL_OWNER
from fanfold_server.model.rows import DataFormat, TableInfo
from fanfold_server.rows.duckdb import DataOptions, DataProcess, DuckFiles, DuckRows

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class Catalog:
    """Tables by (owner, name in lower case), and grants as (table, grantee)."""

    tables: dict[tuple[str, str], TableInfo] = field(default_factory=dict)
    grants: set[tuple[tuple[str, str], str]] = field(default_factory=set)

    async def readable(
        self, reader: str, names: Sequence[tuple[str | None, str]]
    ) -> list[TableInfo]:
        found: dict[tuple[str, str], TableInfo] = {}
        for owner, name in names:
            for each in (reader, GLOBAL_OWNER) if owner is None else (owner.upper(),):
                key = (each, name.lower())
                may = each in {reader, GLOBAL_OWNER} or (key, reader) in self.grants
                if key in self.tables and may:
                    found[key] = self.tables[key]
        return list(found.values())


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data process, what asks it, and what it knows."""

    process: DataProcess
    rows: DuckRows
    files: DuckFiles
    catalog: Catalog
    options: DataOptions

    async def load(self, owner: str, name: str, text: str, form: str = "csv") -> TableInfo:
        path: Path = self.options.scratch / "sent"
        await asyncio.to_thread(path.write_text, text, encoding="utf-8")
        return await self.load_file(owner, name, path, form)

    async def load_file(self, owner: str, name: str, path: Path, form: str) -> TableInfo:
        built = await self.files.build(path, DataFormat(form))
        await asyncio.to_thread(path.unlink)
        table = TableInfo(
            owner=owner,
            name=name,
            file=built.file,
            rows=built.rows,
            size_bytes=built.size_bytes,
            columns=built.columns,
            created=NOW,
        )
        self.catalog.tables[owner, name.lower()] = table
        return table

    def leftovers(self) -> set[str]:
        """List what lies in the scratch directory, but for instances that are kept ready."""
        return {
            path.name
            for path in list(self.options.scratch.glob("*"))
            if not path.name.startswith("query-")
        }


@asynccontextmanager
async def data_process(folder: Path, **options: float) -> AsyncIterator[Data]:
    """Start a data process below `folder`."""
    tables, scratch = folder / "tables", folder / "scratch"
    tables.mkdir()
    scratch.mkdir()
    chosen: dict[str, float] = {
        "memory_mib": 256,
        "threads": 2,
        "queries": 4,
        "spill_mib": 256,
        "rowset_mib": 256,
        "timeout_s": 30,
        **options,
    }
    made = DataOptions(tables=tables, scratch=scratch, **chosen)  # type: ignore[arg-type]
    process = DataProcess(made)
    catalog = Catalog()
    try:
        yield Data(
            process=process,
            rows=DuckRows(process, catalog, made),
            files=DuckFiles(process, made),
            catalog=catalog,
            options=made,
        )
    finally:
        await process.close()
