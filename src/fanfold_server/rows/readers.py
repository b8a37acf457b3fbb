"""The processes that read databases of others (`reading.py`): started here, one a query.

One is started ahead, with the driver of the last query, so that the next one does not wait for an
interpreter: it knows nothing else yet. A process is never used twice, so that a driver that hangs,
leaks or crashes takes nothing with it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from fanfold_server.model import errors
from fanfold_server.model.data_source import SourceAccess
from fanfold_server.rows import frames

GRACE_S: Final = 8.0
"""How much longer than its limit a query may take before its process is killed."""

PROBE_S: Final = 15.0
"""How long a database may take to let us in, when that is all that is asked."""

LEAVE_S: Final = 5.0
"""How long a process may take to end, and to tell the database."""


def request(
    access: SourceAccess, *, text: str | None, timeout_s: float, **members: Any
) -> dict[str, Any]:
    """Say what is to be read; without a text, only whether the database lets us in."""
    return {
        "name": access.source.name,
        "kind": access.source.kind.value,
        "url": access.source.url,
        "password": access.password,
        "text": text,
        "timeout_s": timeout_s,
        "limit_mib": 0,
        "memory_mib": 0,
        "path": None,
        "rows": 0,
        "by": [],
        "order": [],
        **members,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_spare: bool


class Readers:
    """Starts processes, asks each once, and sees to its end.

    Args:
        scratch: their working directory, and where drivers may put what they sort.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._spare: asyncio.Task[_Process] | None = None
        self._kind = ""
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._log = structlog.get_logger("fanfold_server.rows")

    async def ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Have a request carried out; a cancelled wait ends it, in the database, too.

        Raises:
            FanfoldError: what the process answers; SourceUnavailable: it died.
        """
        self._kind = asked["kind"]
        while True:
            started = await self._take()
            path = None if asked["path"] is None else Path(asked["path"])
            has_begun = False
            try:
                started.writer.write(frames.pack(asked))
                async with asyncio.timeout(asked["timeout_s"] + GRACE_S):
                    await _read(started.reader)
                    has_begun = True
                    answer = await _read(started.reader)
                made = self._unpacked(answer)
                path = None  # it belongs to the caller now
                return made
            except TimeoutError as exc:
                raise errors.QueryTimedOut from exc
            except (asyncio.IncompleteReadError, ConnectionError) as exc:
                if not has_begun and started.is_spare:
                    continue  # it died while it waited for this; nobody has seen the request
                self._log.error("reading process ended", source=asked["name"])
                raise errors.SourceUnavailable(
                    f'The process that read the database "{asked["name"]}" ended; the request '
                    "may be sent again."
                ) from exc
            finally:
                self._end(started, path)

    async def close(self) -> None:
        """End all processes."""
        self._is_closed = True
        if self._spare is not None:
            with suppress(OSError):
                self._end(await self._spare, None)
        while self._ending:
            await asyncio.wait(self._ending)

    async def _take(self) -> _Process:
        if self._is_closed:
            raise errors.ShuttingDown
        spare, self._spare = self._spare, None
        try:
            return await (spare or self._start(is_spare=False))
        except OSError as exc:
            raise errors.SourceUnavailable("No process could be started that reads it.") from exc
        finally:
            self._prepare()

    def _prepare(self) -> None:
        """Start the next one; not before the last is there: starting takes a processor."""
        if self._spare is None and not self._is_closed:
            self._spare = asyncio.create_task(self._start(is_spare=True))

    async def _start(self, *, is_spare: bool) -> _Process:
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(
                    "-P",
                    "-s",
                    "-m",
                    "fanfold_server.rows.reading",
                    str(theirs.fileno()),
                    self._kind,
                ),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Neither the server's secrets, nor what drivers would read (PGPASSWORD, …).
                env={
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "HOME": "/nonexistent",
                    "TMPDIR": str(self._scratch),
                    "SQLITE_TMPDIR": str(self._scratch),
                },
                cwd=self._scratch,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=frames.MAX_BYTES)
        return _Process(process=process, reader=reader, writer=writer, is_spare=is_spare)

    def _unpacked(self, answer: dict[str, Any]) -> dict[str, Any]:
        if (name := answer.get("error")) is None:
            made: dict[str, Any] = answer["ok"]
            return made
        if name == errors.Unexpected.__name__:
            self._log.error("unexpected in a reading process", error=answer["message"])
            raise errors.Unexpected
        raised: errors.FanfoldError = getattr(errors, name)(answer["message"], **answer["details"])
        raise raised

    def _end(self, started: _Process, path: Path | None) -> None:
        """Hang up, which is heard as "stop", and delete what nobody takes over."""
        task = asyncio.create_task(_ended(started, path))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class Prober:
    """`Probe` by a process that reads."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def probe(self, access: SourceAccess) -> None:
        try:
            await self._readers.ask(request(access, text=None, timeout_s=PROBE_S))
        except errors.QueryTimedOut as exc:
            raise errors.SourceUnavailable(
                f'The database "{access.source.name}" did not answer within {PROBE_S:g} s.'
            ) from exc


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    prefix = await reader.readexactly(frames.PREFIX.size)
    return frames.unpack(await reader.readexactly(frames.PREFIX.unpack(prefix)[0]))


async def _ended(started: _Process, path: Path | None) -> None:
    """Wait until a process has ended; kill it if it takes its time."""
    started.writer.close()
    try:
        async with asyncio.timeout(LEAVE_S):
            await started.process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            started.process.kill()
        await started.process.wait()
    if path is not None:
        forget(path)


def forget(path: Path) -> None:
    """Delete a rowset's files, and the parts of one that was not finished."""
    for found in path.parent.glob(f"{path.name}*"):
        found.unlink(missing_ok=True)
