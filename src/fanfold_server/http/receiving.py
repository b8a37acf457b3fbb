"""Bodies that go to a file as they come: nothing of them is kept in memory."""

import asyncio
from pathlib import Path
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from fanfold_server.model.errors import InvalidBody

_WRITE_BYTES: Final = 1 << 20


async def receive_file(request: Request, path: Path) -> None:
    """Write a body to a file that is not there yet.

    Raises:
        InvalidBody: the client has gone before the end.
    """
    with await asyncio.to_thread(path.open, "xb") as file:
        waiting = bytearray()
        try:
            async for part in request.stream():
                waiting += part
                if len(waiting) >= _WRITE_BYTES:
                    await asyncio.to_thread(file.write, waiting)
                    waiting = bytearray()
        except ClientDisconnect as exc:
            raise InvalidBody("The request ended before its body did.") from exc
        await asyncio.to_thread(file.write, waiting)
