"""Databases of each kind with the same tables in them, for the tests of sources of rows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine
from sqlalchemy.pool import NullPool

from fanfold_server.model.data_source import DataSource, SourceAccess, SourceKind
from fanfold_server.model.errors import UnknownSource
from fanfold_server.rows.external import ChosenRows, ExternalOptions, ExternalRows
from fanfold_server.rows.readers import Prober, Readers
from tests.contract.postgres import Postgres
from tests.contract.rows import Data, data_process

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PASSWORD = "S3cret/with+odd:chars"


@dataclass
class Directory:
    """Registered databases, which everyone may use."""

    sources: dict[str, SourceAccess] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)

    def register(
        self, name: str, kind: SourceKind, url: str, password: str | None = None, **more: Any
    ) -> None:
        source = DataSource(
            name=name,
            kind=kind,
            url=url,
            password=None if password is None else "stored",
            max_connections=more.get("max_connections", 4),
            created=NOW,
        )
        self.sources[name] = SourceAccess(source=source, password=password)

    async def default(self, reader: str) -> str | None:
        return self.defaults.get(reader)

    async def access(self, reader: str, name: str) -> SourceAccess:
        if name not in self.sources:
            raise UnknownSource(f'There is no database "{name}" that you may use ({reader}).')
        return self.sources[name]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Everything that answers queries here."""

    data: Data
    directory: Directory
    prober: Prober
    rows: ChosenRows
    scratch: Path

    async def leftovers(self) -> set[str]:
        """List the files of rowsets, as soon as those that are being deleted are gone."""
        left: set[str] = set()
        for _ in range(200):
            left = {path.name for path in list(self.scratch.glob("*.arrow*"))}
            if not left:
                break
            await asyncio.sleep(0.05)
        return left


@asynccontextmanager
async def opened(folder: Path, **options: float) -> AsyncIterator[Sources]:
    """Start what reads databases, with no database yet."""
    async with data_process(folder, **options) as data:
        directory = Directory()
        readers = Readers(data.options.scratch)
        external = ExternalRows(
            directory,
            readers,
            data.process,
            ExternalOptions(
                scratch=data.options.scratch,
                memory_mib=256,
                queries=4,
                rowset_mib=data.options.rowset_mib,
                timeout_s=data.options.timeout_s,
            ),
        )
        try:
            yield Sources(
                data=data,
                directory=directory,
                prober=Prober(readers),
                rows=ChosenRows(data.rows, external, directory),
                scratch=data.options.scratch,
            )
        finally:
            await readers.close()


# -------------------------------------------------------------------------------- filling them

COLUMNS = {
    "id": "INTEGER",
    "species": "TEXT",
    "sepal": "DOUBLE PRECISION",
    "note": "TEXT",
}
IRIS: list[tuple[int, str | None, float | None, str | None]] = [
    (1, "setosa", 5.1, "plain"),
    (2, "versicolor", 7.0, None),
    (3, "setosa", 4.9, "é漢🌱"),
    (4, None, 6.3, ""),
    (5, "virginica", None, 'it\'s "quoted"'),
    (6, "setosa", 7.0, "null"),
]


NAUGHTY = (
    "CREATE FUNCTION naughty() RETURNS int LANGUAGE sql VOLATILE AS "
    "'INSERT INTO iris (id) VALUES (99) RETURNING id'"
)


def fill_sqlite(path: Path) -> None:
    """Make a file with the tables."""
    connection = sqlite3.connect(path)
    with connection:
        for statement, rows in _statements():
            connection.executemany(statement, rows) if rows else connection.execute(statement)
    connection.close()


def fill_postgres(server: Postgres) -> URL:
    """Make a database with the tables, and an account that may read them; give its address."""
    url = server.make_database()
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement, rows in _statements():
            text = statement.replace("?", "%s")
            connection.exec_driver_sql(text, [*rows]) if rows else connection.exec_driver_sql(text)
        for statement in (
            f"CREATE ROLE reader_{url.database} LOGIN PASSWORD '{PASSWORD}'",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO reader_{url.database}",
            NAUGHTY,
        ):
            connection.exec_driver_sql(statement)
    engine.dispose()
    return url.set(username=f"reader_{url.database}")


def libpq(url: URL) -> str:
    """Write an address as libpq reads it."""
    return f"postgresql://{url.username}@/{url.database}?host={url.query['host']}"


def _statements() -> list[tuple[str, Sequence[tuple[Any, ...]]]]:
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    return [
        (f"CREATE TABLE iris ({columns})", []),
        ("INSERT INTO iris VALUES (?, ?, ?, ?)", IRIS),
    ]


async def register_all(sources: Sources, folder: Path, server: Postgres) -> None:
    """Put the tables into a database of every kind, and register each under its kind's name."""
    text = "id,species,sepal,note\n" + "".join(
        ",".join("" if v is None else f'"{str(v).replace(chr(34), chr(34) * 2)}"' for v in row)
        + "\n"
        for row in IRIS
    )
    await sources.data.load("ANN", "iris", text)
    await asyncio.to_thread(fill_sqlite, folder / "iris.db")
    sources.directory.register("SQLITE", SourceKind.SQLITE, f"sqlite:///{folder / 'iris.db'}")
    url = await asyncio.to_thread(fill_postgres, server)
    sources.directory.register("POSTGRESQL", SourceKind.POSTGRESQL, libpq(url), PASSWORD)
    alchemy = url.render_as_string(hide_password=False)
    sources.directory.register("SQLALCHEMY", SourceKind.SQLALCHEMY, alchemy, PASSWORD)
