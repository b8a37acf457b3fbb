"""`RowSource` and `TableFiles` over the data process (`process.py`), which this starts and keeps.

DuckDB is not imported here: the server itself never runs a line of a user's SQL.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import structlog

from fanfold_server.model import errors
from fanfold_server.model.rows import ColumnType, DataFormat, Query, Rowset
from fanfold_server.rows import frames
from fanfold_server.rows.port import Built, Catalog

GRACE_S = 15.0
"""How much longer than its limit a request may take before the data process is given up."""

INSPECT_S = 10.0
_RESTART_PAUSE_S = 0.2
_SUFFIX = ".duckdb"
_SENT = ".sent"
_OLD_S = 2 * 3600.0
_INSPECTED: Final = 512
"""So many texts of queries are remembered with what they name: clients repeat themselves."""

_INSPECTED_LENGTH: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """How the data process works.

    Attributes:
        tables: directory of the tables' files; kept.
        scratch: directory for rowsets and spilled rows, private, empty at the start.
        memory_mib, threads: of one query.
        queries: at once.
        spill_mib: disk that one query may use when memory does not do.
        rowset_mib: largest result of a query.
        timeout_s: how long a query may take; `load_timeout_s`: the loading of a table.
    """

    tables: Path
    scratch: Path
    memory_mib: int
    threads: int
    queries: int
    spill_mib: int
    rowset_mib: int
    timeout_s: float
    load_timeout_s: float = 3600.0


class DataProcess:
    """The process, started at the first request and again whenever it has died."""

    def __init__(self, options: DataOptions) -> None:
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._new_id = count(1).__next__
        self._starting = asyncio.Lock()
        self._is_closed = False
        self._log = structlog.get_logger("fanfold_server.rows")

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._writer is None or self._process is None else self._process.pid

    async def ask(self, verb: str, timeout_s: float, **members: object) -> dict[str, Any]:
        """Ask for something and wait for the answer; a cancelled wait ends the work, too.

        Raises:
            FanfoldError: what the data process answers; DataUnavailable: it died.
        """
        writer = await self._open()
        number = self._new_id()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            request = {"id": number, "verb": verb, "timeout_s": timeout_s, **members}
            writer.write(frames.pack(request))
            async with asyncio.timeout(timeout_s * 2 + GRACE_S):
                return await answer
        except TimeoutError as exc:
            self._log.error("data process does not answer", verb=verb)
            self._kill()
            raise errors.DataUnavailable from exc
        except asyncio.CancelledError:
            if not writer.is_closing():
                writer.write(frames.pack({"id": number, "verb": "cancel"}))
            raise
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """End the process."""
        self._is_closed = True
        self._kill()
        if self._reading is not None:
            await asyncio.shield(self._reading)

    async def _open(self) -> asyncio.StreamWriter:
        async with self._starting:
            if self._is_closed:
                raise errors.ShuttingDown
            if self._writer is None:
                if self._reading is not None:
                    await asyncio.shield(self._reading)  # others wait for it, too
                    await asyncio.sleep(_RESTART_PAUSE_S)
                await self._start()
            assert self._writer is not None
            return self._writer

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-s", "-m", "fanfold_server.rows.process", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Not the server's own variables: they may hold secrets.
                env={"PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/nonexistent"},
                cwd=self._options.scratch,
            )
        except OSError as exc:
            ours.close()
            raise errors.DataUnavailable from exc
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=frames.MAX_BYTES)
        self._process, self._writer = process, writer
        limits = {
            "memory_mib": self._options.memory_mib,
            "threads": self._options.threads,
            "spill_mib": self._options.spill_mib,
            "rowset_mib": self._options.rowset_mib,
            "spill": str(self._options.scratch),
        }
        writer.write(frames.pack({"limits": limits, "threads": self._options.queries}))
        self._reading = asyncio.create_task(self._read(process, reader, writer))

    async def _read(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Hand answers to those who wait, until the process ends."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                prefix = await reader.readexactly(frames.PREFIX.size)
                text = await reader.readexactly(frames.PREFIX.unpack(prefix)[0])
                self._deliver(frames.unpack(text))
        self._writer = None
        writer.close()
        with suppress(ProcessLookupError):
            process.kill()
        status = await process.wait()
        if not self._is_closed:
            self._log.error("data process ended", status=status, waiting=len(self._waiting))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(errors.DataUnavailable())

    def _deliver(self, frame: dict[str, Any]) -> None:
        future = self._waiting.get(frame["id"])
        if future is None or future.done():
            if (path := frame.get("ok", {}).get("path")) is not None:
                _forget(Path(path))  # it was ready just when its caller left
            return
        if (name := frame.get("error")) is None:
            future.set_result(frame["ok"])
            return
        if name == errors.Unexpected.__name__:
            self._log.error("unexpected in the data process", error=frame["message"])
            future.set_exception(errors.Unexpected())
            return
        raised = getattr(errors, name)(frame["message"], **frame["details"])
        future.set_exception(raised)

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()


class DuckRows:
    """`RowSource` over the embedded tables."""

    def __init__(self, process: DataProcess, catalog: Catalog, options: DataOptions) -> None:
        self._process = process
        self._catalog = catalog
        self._options = options
        self._inspected: dict[str, dict[str, Any]] = {}

    async def whole(self, query: Query, *, reader: str) -> Rowset:
        return await self._rowset(query, reader, {})

    async def chunks(self, query: Query, *, reader: str, rows: int) -> Rowset:
        return await self._rowset(query, reader, {"rows": rows})

    async def groups(
        self,
        query: Query,
        *,
        reader: str,
        by: Sequence[str],
        order: Sequence[str] = (),
        order_within: bool = False,
    ) -> Rowset:
        cut = {"by": list(by), "order": list(order), "order_within": order_within}
        return await self._rowset(query, reader, cut)

    async def release(self, rowset: Rowset) -> None:
        _forget(rowset.path)

    async def _rowset(self, query: Query, reader: str, cut: dict[str, object]) -> Rowset:
        """Ask, and once more when the process died or a table was replaced meanwhile."""
        if query.source is not None:
            raise errors.UnknownSource(f'There is no database "{query.source}".')
        try:
            return await self._try(query, reader, cut)
        except errors.DataUnavailable:
            return await self._try(query, reader, cut)

    async def _inspect(self, text: str) -> dict[str, Any]:
        """Ask what a query names; that follows from its text alone."""
        found = self._inspected.get(text)
        if found is None:
            found = await self._process.ask("inspect", INSPECT_S, text=text)
            if len(text) <= _INSPECTED_LENGTH:
                if len(self._inspected) >= _INSPECTED:
                    self._inspected.clear()
                self._inspected[text] = found
        return found

    async def _try(self, query: Query, reader: str, cut: dict[str, object]) -> Rowset:
        found = await self._inspect(query.text)
        names = [(schema, name) for schema, name in found["references"]]
        placed = await self._catalog.readable(reader, names) if names else []
        for table in placed:
            if not (self._options.tables / table.file).exists():
                raise errors.DataUnavailable(
                    f'The rows of the table "{table.owner}.{table.name}" are not on this machine: '
                    "they can be read where the data directory is that it was loaded into."
                )
        path = self._options.scratch / f"{uuid4().hex}.arrow"
        try:
            made = await self._process.ask(
                "run",
                self._options.timeout_s,
                text=found["text"],
                reader=reader,
                tables=[
                    [table.owner, table.name, str(self._options.tables / table.file)]
                    for table in placed
                ],
                cut=cut,
                path=str(path),
            )
        except errors.QueryTimedOut as exc:
            _forget(path)
            limit_s = self._options.timeout_s
            raise errors.QueryTimedOut(
                f"The query took longer than {limit_s:g} s.", limit_s=limit_s
            ) from exc
        except BaseException:
            _forget(path)
            raise
        return Rowset(
            path=path,
            rows=made["rows"],
            columns=tuple(made["columns"]),
            size_bytes=made["size_bytes"],
            offsets=_offsets(path) if made["offsets"] else None,
            keys=None if made["keys"] is None else tuple(made["keys"]),
            calls=made["calls"],
        )


class DuckFiles:
    """`TableFiles` over the data process."""

    def __init__(self, process: DataProcess, options: DataOptions) -> None:
        self._process = process
        self._options = options

    def incoming(self) -> Path:
        return self._options.tables / f"{uuid4().hex}{_SENT}"

    async def build(self, data: Path, form: DataFormat, *, charset: str | None = None) -> Built:
        file = f"{uuid4().hex}{_SUFFIX}"
        out = self._options.tables / file
        try:
            made = await self._process.ask(
                "build",
                self._options.load_timeout_s,
                data=str(data),
                form=form.value,
                charset=charset,
                out=str(out),
            )
        except BaseException:
            await self.discard(file)
            raise
        columns = tuple(ColumnType(name=name, type=kind) for name, kind in made["columns"])
        return Built(file=file, rows=made["rows"], columns=columns, size_bytes=made["size_bytes"])

    async def preview(self, file: str, *, rows: int) -> bytes:
        path = self._options.tables / file
        answer = await self._process.ask(
            "preview", self._options.timeout_s, path=str(path), rows=rows
        )
        text: str = answer["text"]
        return text.encode()

    async def discard(self, file: str) -> None:
        for path in (self._options.tables / file, self._options.tables / f"{file}.wal"):
            path.unlink(missing_ok=True)

    def keep_only(self, files: Sequence[str]) -> None:
        """Delete what a server that was killed has left: files that no table has.

        Young ones are kept: another server over the same directory may be about to name them.
        """
        known = set(files)
        for path in self._options.tables.iterdir():
            if path.name in known or not path.is_file():
                continue
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _OLD_S:
                    path.unlink(missing_ok=True)


def _offsets(path: Path) -> Path:
    return Path(f"{path}.offsets")


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)
    _offsets(path).unlink(missing_ok=True)
