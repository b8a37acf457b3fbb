"""What the server says of its own routes: the OpenAPI document, and the page that shows it.

Both are written when one of them is first asked for. Writing them takes a third of a start, and
most servers end without having been asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from fanfold_server.http.reference import write_reference


class Documents:
    """Writes both once, in a thread: requests beside it go on."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self._describe = describe
        self._writing = asyncio.Lock()
        self._written: tuple[bytes, str] | None = None

    async def openapi_json(self) -> bytes:
        """Give the OpenAPI document."""
        return (await self._both())[0]

    async def reference(self) -> str:
        """Give the page of HTML."""
        return (await self._both())[1]

    async def _both(self) -> tuple[bytes, str]:
        async with self._writing:
            if self._written is None:
                self._written = await asyncio.to_thread(self._write)
            return self._written

    def _write(self) -> tuple[bytes, str]:
        document = self._describe()
        return orjson.dumps(document), write_reference(document)
