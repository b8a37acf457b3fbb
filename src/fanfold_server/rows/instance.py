"""A DuckDB of its own for every query: what it holds is all there is.

In-memory, with the files of the tables that the statement names and its reader may read attached
read-only, a view for each in a schema named like its owner; then external access is closed and the
settings are locked. Another's table is not hidden or forbidden there: it does not exist. So there
is no list of spellings to keep, and an error in `gate.py` costs nothing but its own effect.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import duckdb

from fanfold_server.model.actor import GLOBAL_OWNER
from fanfold_server.rows.gate import quoted

MIB = 1024 * 1024
TABLE = "fanfold_rows"
"""The one table in each of our files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one query may use.

    Attributes:
        memory_mib: of DuckDB's own memory.
        threads: at once, ≥ 1.
        spill_mib: of disk, when memory does not do.
        rowset_mib: largest result.
        spill: directory for `spill_mib`; each query has one of its own in it.
    """

    memory_mib: int
    threads: int
    spill_mib: int
    rowset_mib: int
    spill: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """A table that a query may read: whose it is, its name, and the file that holds it."""

    owner: str
    name: str
    path: Path


def open_parser() -> duckdb.DuckDBPyConnection:
    """Open a connection that holds nothing, for parsing."""
    connection = duckdb.connect(":memory:", config={"threads": 1})
    lock(connection)
    return connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Blank:
    """An instance that holds nothing and is not locked yet; whoever takes it closes it."""

    connection: duckdb.DuckDBPyConnection
    spill: Path

    def close(self) -> None:
        """Close it, and delete what it spilled."""
        self.connection.close()
        shutil.rmtree(self.spill, ignore_errors=True)


class Blanks:
    """Makes instances ahead of time: one takes some 15 ms, most of a small query's time.

    What is used up is closed and made anew when the query has its rows, not while it runs.

    Args:
        behind: runs a function in the background.
        keep: how many are kept ready, ≥ 0.
    """

    def __init__(
        self, limits: Limits, behind: Callable[[Callable[[], None]], object], *, keep: int
    ) -> None:
        self._limits = limits
        self._behind = behind
        self._ready: SimpleQueue[Blank] = SimpleQueue()
        for _ in range(keep):
            behind(self._make)

    @contextmanager
    def take(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend an instance that nobody has had before, and nobody has afterwards."""
        try:
            blank, is_kept = self._ready.get_nowait(), True
        except Empty:
            blank, is_kept = make_blank(self._limits), False
        try:
            yield blank.connection
        finally:
            self._behind(blank.close)
            if is_kept:
                self._behind(self._make)

    def _make(self) -> None:
        self._ready.put(make_blank(self._limits))


def make_blank(limits: Limits) -> Blank:
    """Make an instance within limits."""
    spill = Path(tempfile.mkdtemp(prefix="query-", dir=limits.spill))
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": limits.threads,
            "memory_limit": f"{limits.memory_mib}MiB",
            "temp_directory": str(spill),
            "max_temp_directory_size": f"{limits.spill_mib}MiB",
        },
    )
    return Blank(connection=connection, spill=spill)


def furnish(
    connection: duckdb.DuckDBPyConnection, reader: str, tables: Sequence[TableFile]
) -> None:
    """Put into a blank instance what a query of `reader` may read, and lock it.

    Raises:
        duckdb.IOException: a file is not there any more.
    """
    schemas = dict.fromkeys([reader, GLOBAL_OWNER, *(table.owner for table in tables)])
    for schema in schemas:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS memory.{quoted(schema)}")
    for number, table in enumerate(tables):
        catalog = f"fanfold_{number}"
        connection.execute(f"ATTACH {literal(str(table.path))} AS {catalog} (READ_ONLY)")
        connection.execute(
            f"CREATE VIEW memory.{quoted(table.owner)}.{quoted(table.name)} AS "
            f"SELECT * FROM {catalog}.main.{TABLE}"
        )
    path = ",".join(f"memory.{quoted(schema)}" for schema in (reader, GLOBAL_OWNER))
    connection.execute(f"SET search_path = {literal(path)}")
    connection.execute("SET TimeZone = 'UTC'")
    lock(connection)


def lock(connection: duckdb.DuckDBPyConnection) -> None:
    """Close every way out of the instance, for good."""
    for setting in (
        # Otherwise variables of the calling Python frames can be read as tables.
        "python_enable_replacements = false",
        "allow_community_extensions = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "allow_persistent_secrets = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def literal(text: str) -> str:
    """Write a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"
