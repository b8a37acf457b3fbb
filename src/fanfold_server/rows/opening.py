"""Open and close everything of the embedded tables: directories, the data process, its ports."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fanfold_server.rows.duckdb import DataOptions, DataProcess, DuckFiles, DuckRows
from fanfold_server.rows.external import ChosenRows, ExternalOptions, ExternalRows
from fanfold_server.rows.port import Catalog, Directory
from fanfold_server.rows.readers import Prober, Readers

MIB = 1024 * 1024
MEMORY = Path("/dev/shm")  # noqa: S108 - ours there is a directory of mode 0700 with a random name
_PREFIX = "fanfold-rows-"
_LOCK = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsOptions:
    """What an operator sets.

    Attributes:
        folder: for the tables, below the data directory.
        memory_mib: of all queries together.
        queries: at once.
        threads: of one query.
        spill_mib, rowset_mib, timeout_s: see `DataOptions`.
    """

    folder: Path
    memory_mib: int
    queries: int
    threads: int
    spill_mib: int
    rowset_mib: int
    timeout_s: float


class Known(Catalog, Protocol):
    """A catalog that also knows which files are in use."""

    async def files(self) -> list[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Everything that gives rows, open.

    Attributes:
        source: answers queries, each by the database that it names.
        embedded: answers them by our own tables alone.
    """

    source: ChosenRows
    embedded: DuckRows
    probe: Prober
    files: DuckFiles
    process: DataProcess


@asynccontextmanager
async def open_rows(
    options: RowsOptions, catalog: Known, directory: Directory
) -> AsyncIterator[Rows]:
    """Open the tables below `options.folder`; processes start with the first query.

    Raises:
        OSError: the directories cannot be made.
    """
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(options.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        scratch = stack.enter_context(_scratch(options))
        chosen = DataOptions(
            tables=options.folder,
            scratch=scratch,
            memory_mib=max(64, options.memory_mib // options.queries),
            threads=options.threads,
            queries=options.queries,
            spill_mib=options.spill_mib,
            rowset_mib=options.rowset_mib,
            timeout_s=options.timeout_s,
        )
        process = DataProcess(chosen)
        stack.push_async_callback(process.close)
        files = DuckFiles(process, chosen)
        files.keep_only(await catalog.files())
        readers = Readers(scratch)
        stack.push_async_callback(readers.close)
        embedded = DuckRows(process, catalog, chosen)
        external = ExternalRows(
            directory,
            readers,
            process,
            ExternalOptions(
                scratch=scratch,
                memory_mib=chosen.memory_mib,
                queries=options.queries,
                rowset_mib=options.rowset_mib,
                timeout_s=options.timeout_s,
            ),
        )
        yield Rows(
            source=ChosenRows(embedded, external, directory),
            embedded=embedded,
            probe=Prober(readers),
            files=files,
            process=process,
        )


@contextmanager
def _scratch(options: RowsOptions) -> Iterator[Path]:
    """Make a directory for rowsets, in memory if there is room for the largest."""
    parent = options.folder
    with suppress(OSError):
        room = shutil.disk_usage(MEMORY).free
        if room >= options.rowset_mib * MIB and os.access(MEMORY, os.W_OK):
            parent = MEMORY
    for place in (options.folder, MEMORY):
        _clear(place)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    descriptor = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _clear(place: Path) -> None:
    """Delete the directories of servers that were killed: nobody holds their lock any more."""
    with suppress(OSError):
        for path in place.glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if path.stat().st_uid == os.geteuid() and _is_abandoned(path):
                    shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(path: Path) -> bool:
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
