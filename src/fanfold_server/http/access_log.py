"""The access log: one structured record for each request, written a batch at a time.

Neither tokens, query strings nor bodies come here. A record costs about a microsecond when the
request ends; the text is made when the batch is written, at most `EVERY_S` later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

EVERY_S: Final = 0.2
_US_PER_S: Final = 1_000_000


class Served(NamedTuple):
    """A request that is over.

    `status` is 0 when no answer was begun; `path` is the one that the client sent, without query.
    """

    request_id: str
    method: str
    path: str
    status: int
    elapsed_s: float
    user: str | None


class AccessLog:
    """Collects records and writes them as lines of text.

    Args:
        write: takes a batch of lines, each with its line end, as one text.
        as_json: one JSON object a line; else a line for people.
    """

    def __init__(self, write: Callable[[str], object], *, as_json: bool) -> None:
        self._write = write
        self._line = _json_line if as_json else _console_line
        self._records: list[tuple[float, Served]] = []
        self._timer: asyncio.TimerHandle | None = None

    def record(self, served: Served) -> None:
        """Note a request; called on the event loop."""
        self._records.append((time.time(), served))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self.flush)

    def flush(self) -> None:
        """Write what there is; also called once more when the server closes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        records, self._records = self._records, []
        if records:
            self._write("".join([self._line(at, served) for at, served in records]))


def _json_line(at: float, served: Served) -> str:
    record = {
        "event": "request",
        "level": "info",
        "timestamp": _iso(at),
        "request_id": served.request_id,
        "method": served.method,
        "path": served.path,
        "status": served.status,
        "ms": round(served.elapsed_s * 1000, 3),
        "user": served.user,
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode()


def _console_line(at: float, served: Served) -> str:
    path = served.path if served.path.isprintable() else ascii(served.path)
    return (
        f"{_iso(at)} {served.status:3d} {served.elapsed_s * 1000:9.2f} ms  {served.method} {path}"
        f"  user={served.user or '-'} id={served.request_id}\n"
    )


def _iso(at: float) -> str:
    second = int(at)
    return f"{_iso_second(second)}.{int((at - second) * _US_PER_S):06d}Z"


@lru_cache(maxsize=2)
def _iso_second(at: int) -> str:
    """Write a whole second; a batch holds many requests of the same one."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
