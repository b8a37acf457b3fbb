"""The process that reads databases of others: one query, and it ends. `readers.py` starts it.

    python -m fanfold_server.rows.reading <descriptor of a socket> <kind of database to expect>

The first frame is the request, with a password in it. An empty frame says that it is under way; the
answer behind it is as that of the data process. A frame after the request, or a server that hangs
up, ends the query. Nothing of it is in the arguments or in the environment, and no other process
may look into its memory.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

# Imported ahead of the request: a process waits for the next one with all of it in memory.
import pyarrow as pa

from fanfold_server.model import errors
from fanfold_server.model.data_source import SourceKind
from fanfold_server.rows import confining, frames, spooling
from fanfold_server.rows.columns import check_columns, resolve
from fanfold_server.rows.session import Broken, Refused, Session, Target
from fanfold_server.rows.statements import inspect

PAUSE_S: Final = 0.1
STUBBORN_S: Final = 3.0
"""How long after its interruption a query may go on."""

STUBBORN_EXIT: Final = 70
MEMORY_MIB: Final = 1024
"""What it may have besides a query's share."""

MAX_MESSAGE: Final = 600
_ADAPTERS: Final = {
    SourceKind.POSTGRESQL: ("fanfold_server.rows.postgres", "PostgresSession", "postgres"),
    SourceKind.SQLITE: ("fanfold_server.rows.sqlite", "SqliteSession", "server"),
    SourceKind.ORACLE: ("fanfold_server.rows.oracle", "OracleSession", "oracle"),
    SourceKind.SQLALCHEMY: ("fanfold_server.rows.alchemy", "AlchemySession", "server"),
}


class Reading:
    """One request, from the first frame to the last."""

    def __init__(self, channel: socket.socket, request: dict[str, Any]) -> None:
        self._channel = channel
        self._request = request
        self._deadline = time.monotonic() + request["timeout_s"]
        self._is_cancelled = False
        self._session: Session | None = None

    def serve(self) -> None:
        """Answer, and no more than once."""
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        answer: dict[str, Any]
        try:
            answer = {"ok": self._read()}
        except errors.FanfoldError as exc:
            answer = {"error": type(exc).__name__, "message": exc.message, "details": exc.details}
        except MemoryError:
            answer = _answer(errors.QueryTooLarge("The query needs more memory than it may have."))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the server has to know
            answer = {"error": "Unexpected", "message": f"{type(exc).__name__}: {exc}"}
        if "error" in answer and self._is_over():
            answer = _answer(errors.QueryTimedOut())
        if "message" in answer:
            answer["message"] = self._clean(answer["message"])
        with suppress(OSError):  # nobody waits for it
            self._channel.sendall(frames.pack(answer))

    def _read(self) -> dict[str, Any]:
        request = self._request
        kind = SourceKind(request["kind"])
        text = None if request["text"] is None else inspect(kind, request["text"])
        session = _session(kind, request, self._deadline - time.monotonic())
        self._session = session
        try:
            session.open()
            return {} if text is None else self._spool(session, text)
        except Refused as exc:
            raise errors.InvalidQuery(f"The query cannot be run: {_short(exc)}") from exc
        except Broken as exc:
            raise errors.SourceUnavailable(
                f'The database "{request["name"]}" cannot be read: {_short(exc)}',
                source=request["name"],
            ) from exc
        except spooling.Stopped as exc:
            raise errors.QueryTimedOut from exc
        finally:
            session.close()

    def _spool(self, session: Session, text: str) -> dict[str, Any]:
        path = Path(self._request["path"])
        rows, schema = spooling.spool(
            path,
            self._checked(session.run(text)),
            limit_mib=self._request["limit_mib"],
            is_stopped=self._is_over,
        )
        calls, size = 1, self._request["rows"]
        if size:
            calls = spooling.write_offsets(Path(f"{path}.offsets"), range(0, rows, size), rows)
        path.chmod(0o400)
        return {
            "rows": rows,
            "columns": schema.names,
            "size_bytes": path.stat().st_size,
            "calls": calls,
        }

    def _checked(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Refuse names before the first row is fetched."""
        is_first = True
        for batch in batches:
            if is_first:
                is_first = False
                columns = batch.schema.names
                if not columns:
                    raise errors.InvalidQuery("The query gives no columns.")
                check_columns(columns)
                resolve(columns, self._request["by"], "groupBy")
                resolve(columns, self._request["order"], "orderBy")
            yield batch

    def _is_over(self) -> bool:
        return self._is_cancelled or time.monotonic() > self._deadline

    def _watch(self) -> None:
        """End the query when its time is up or the server says so; end all if it does not end."""
        while not self._is_over():
            wait_s = max(0.0, self._deadline - time.monotonic())
            heard, _, _ = select.select([self._channel], [], [], wait_s)
            self._is_cancelled = bool(heard)
        give_up = time.monotonic() + STUBBORN_S
        while time.monotonic() < give_up:
            if self._session is not None:
                self._session.interrupt()
            time.sleep(PAUSE_S)
        with suppress(OSError):
            self._channel.sendall(frames.pack(_answer(errors.QueryTimedOut())))
        os._exit(STUBBORN_EXIT)

    def _clean(self, message: str | None) -> str | None:
        """Take the password out of a message, in every form in which it was written."""
        secret = self._request["password"]
        if not secret or not message:
            return message
        for form in (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]):
            message = message.replace(form, "***")
        return message


def _prepare(kind: str) -> None:
    """Import the driver of the kind that is expected; another one is imported when it is needed."""
    module, *_ = _ADAPTERS[SourceKind(kind)]
    with suppress(ModuleNotFoundError):  # told to whoever asks for it
        importlib.import_module(module)


def _session(kind: SourceKind, request: dict[str, Any], seconds: float) -> Session:
    module, name, extra = _ADAPTERS[kind]
    try:
        adapter = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as exc:
        raise errors.SourceUnavailable(
            f'The database "{request["name"]}" cannot be read: {exc.name} is not installed; it is '
            f'in "fanfold[{extra}]".'
        ) from exc
    if kind is SourceKind.SQLITE:
        confining.leave_the_network()
    target = Target(url=request["url"], password=request["password"], seconds=max(seconds, 0.001))
    session: Session = adapter(target)
    return session


def _answer(error: errors.FanfoldError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": error.message, "details": error.details}


def _short(exc: Exception) -> str:
    text = str(exc).strip()[:MAX_MESSAGE]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def main() -> None:
    """Serve the socket that was inherited."""
    confining.die_with_the_server()
    confining.keep_memory_private()
    # Only the server decides when this ends: Ctrl-C in a terminal reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=int(sys.argv[1]))
    _prepare(sys.argv[2])
    if os.getppid() == 1 or (request := frames.receive(channel)) is None:
        return
    channel.sendall(frames.pack({}))
    _prepare(request["kind"])
    confining.limit_memory(request["memory_mib"] + MEMORY_MIB)
    Reading(channel, request).serve()
    # Whatever a driver's threads still do has nobody who waits for it.
    os._exit(0)


if __name__ == "__main__":
    main()
