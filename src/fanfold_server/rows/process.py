"""The data process: the only one that runs DuckDB. `duckdb.py` starts it and talks to it.

    python -m fanfold_server.rows.process <descriptor of a socket>

The first frame has the limits; each further one is a request that a thread answers. A query that
does not end when it is interrupted ends the whole process: the server starts another one, and asks
again for what was under way.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import duckdb

from fanfold_server.model import errors
from fanfold_server.model.rows import DataFormat
from fanfold_server.rows import charsets, confining, cutting, frames, gate, loading, spooling
from fanfold_server.rows.instance import Blanks, Limits, TableFile, furnish, open_parser

PAUSE_S: Final = 0.05
STUBBORN_S: Final = 5.0
"""How long after its interruption a query may go on."""

STUBBORN_EXIT: Final = 70
_WRITING: Final = frozenset({"run", "cut", "build"})
_PARSERS: Final = 1
"""One: its thread alone uses the parser."""

_BLANKS: Final = 2

_HELD_PART: Final = 8
"""Rows that are grouped in memory take one such part of what a query may use: they are there twice
meanwhile, beside what DuckDB has of its own."""


class Task:
    """A request under way: what to interrupt, and when."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.is_cancelled = False
        self._connection: duckdb.DuckDBPyConnection | None = None

    def started(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        """Say which connection works for this request."""
        self._connection = connection

    def is_over(self) -> bool:
        """Whether it is to end now."""
        return self.is_cancelled or time.monotonic() > self.deadline

    def interrupt(self) -> None:
        """Stop what the connection does now; it may do so again, so this is said repeatedly."""
        if (connection := self._connection) is not None:
            with suppress(duckdb.Error):  # it is being closed
                connection.interrupt()


class DataProcess:
    """Answers requests from one socket."""

    def __init__(self, channel: socket.socket, limits: Limits, threads: int) -> None:
        self._channel = channel
        self._limits = limits
        self._tasks: dict[int, Task] = {}
        self._sending = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="query")
        # Reading a query takes a millisecond and must not wait for those that run.
        self._readers = ThreadPoolExecutor(_PARSERS, thread_name_prefix="gate")
        self._parser: duckdb.DuckDBPyConnection | None = None
        behind = ThreadPoolExecutor(1, thread_name_prefix="blanks")
        self._blanks = Blanks(limits, behind.submit, keep=_BLANKS)
        self._verbs: dict[str, Callable[[dict[str, Any], Task], dict[str, Any]]] = {
            "inspect": self._inspect,
            "run": self._run,
            "cut": self._cut,
            "build": self._build,
            "preview": self._preview,
        }

    def serve(self) -> None:
        """Answer until the server hangs up."""
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        while (request := frames.receive(self._channel)) is not None:
            if request["verb"] == "cancel":
                if (task := self._tasks.get(request["id"])) is not None:
                    task.is_cancelled = True
                continue
            task = Task(time.monotonic() + request["timeout_s"])
            self._tasks[request["id"]] = task
            pool = self._readers if request["verb"] == "inspect" else self._pool
            pool.submit(self._answer, request, task)

    def _answer(self, request: dict[str, Any], task: Task) -> None:
        answer: dict[str, Any]
        try:
            if task.is_over():
                raise errors.QueryTimedOut
            answer = {"ok": self._verbs[request["verb"]](request, task)}
        except errors.FanfoldError as exc:
            name, details = type(exc).__name__, exc.details
            answer = {"error": name, "message": exc.message, "details": details}
        except Exception as exc:  # noqa: BLE001 - whatever it is, the server has to know
            answer = {"error": "Unexpected", "message": f"{type(exc).__name__}: {exc}"}
        finally:
            task.started(None)
            self._tasks.pop(request["id"], None)
        if task.is_cancelled:
            # Nobody takes it over; and who asked may have looked before there was a file.
            for path in (request.get("path"), request.get("out")):
                if path is not None and request["verb"] in _WRITING:
                    spooling.forget(Path(path))
        frame = frames.pack({"id": request["id"], **answer})
        with self._sending:
            self._channel.sendall(frame)

    def _watch(self) -> None:
        while True:
            time.sleep(PAUSE_S)
            now = time.monotonic()
            for number, task in list(self._tasks.items()):
                if not task.is_over():
                    continue
                task.deadline = min(task.deadline, now)
                task.interrupt()
                if now > task.deadline + STUBBORN_S:
                    self._give_up(number)

    def _give_up(self, number: int) -> None:
        """End with the query that cannot be ended; it alone is not asked for again."""
        name = errors.QueryTimedOut.__name__
        frame = {"id": number, "error": name, "message": None, "details": {}}
        if self._sending.acquire(timeout=1):
            with suppress(OSError):
                self._channel.sendall(frames.pack(frame))
        os._exit(STUBBORN_EXIT)

    # --------------------------------------------------------------------------- the verbs

    def _inspect(self, request: dict[str, Any], task: Task) -> dict[str, Any]:
        if self._parser is None:
            self._parser = open_parser()
        task.started(self._parser)
        found = gate.inspect(self._parser, request["text"])
        references = [[reference.schema, reference.name] for reference in found.references]
        return {"text": found.text, "references": references}

    def _run(self, request: dict[str, Any], task: Task) -> dict[str, Any]:
        tables = [
            TableFile(owner=owner, name=name, path=Path(path))
            for owner, name, path in request["tables"]
        ]
        try:
            with self._blanks.take() as connection:
                task.started(connection)
                furnish(connection, request["reader"], tables)
                return cutting.run(
                    connection,
                    request["text"],
                    cutting.Cut(**request["cut"]),
                    Path(request["path"]),
                    limit_mib=self._limits.rowset_mib,
                    held_mib=self._limits.memory_mib // _HELD_PART,
                    is_stopped=task.is_over,
                )
        except duckdb.IOException as exc:
            # It was replaced between the server's look and ours.
            raise errors.DataUnavailable("A table of the query was replaced just now.") from exc

    def _cut(self, request: dict[str, Any], task: Task) -> dict[str, Any]:
        with self._blanks.take() as connection:
            task.started(connection)
            return cutting.cut_file(
                connection,
                Path(request["data"]),
                cutting.Cut(**request["cut"]),
                Path(request["path"]),
                limit_mib=self._limits.rowset_mib,
                is_stopped=task.is_over,
            )

    def _build(self, request: dict[str, Any], task: Task) -> dict[str, Any]:
        with self._blanks.take() as connection:
            task.started(connection)
            data, form = Path(request["data"]), DataFormat(request["form"])
            with charsets.readable(data, form, request["charset"], task.is_over) as text:
                return loading.build(connection, text, form, Path(request["out"]))

    def _preview(self, request: dict[str, Any], task: Task) -> dict[str, Any]:
        with self._blanks.take() as connection:
            task.started(connection)
            text = loading.preview(connection, Path(request["path"]), request["rows"])
        return {"text": text}


def main() -> None:
    """Serve the socket that was inherited."""
    confining.die_with_the_server()
    confining.leave_the_network()
    # Only the server decides when this ends: Ctrl-C in a terminal reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = socket.socket(fileno=int(sys.argv[1]))
    if os.getppid() == 1 or (first := frames.receive(channel)) is None:
        return
    limits = Limits(**{**first["limits"], "spill": Path(first["limits"]["spill"])})
    DataProcess(channel, limits, first["threads"]).serve()
    os._exit(0)  # whatever still runs has nobody who waits for it


if __name__ == "__main__":
    main()
