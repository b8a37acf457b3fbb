"""Bodies that go to a file as they come: nothing of them is kept in memory."""

import asyncio
import errno
from pathlib import Path
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from fanfold_server.model.errors import DiskFull, InvalidBody

_WRITE_BYTES: Final = 1 << 20
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


async def receive_file(request: Request, path: Path) -> None:
    """Write a body to a file that is not there yet.

    Raises:
        InvalidBody: the client has gone before the end.
        DiskFull: there is no room for it.
    """
    try:
        with await asyncio.to_thread(path.open, "xb") as file:
            waiting = bytearray()
            async for part in request.stream():
                waiting += part
                if len(waiting) >= _WRITE_BYTES:
                    await asyncio.to_thread(file.write, waiting)
                    waiting = bytearray()
            await asyncio.to_thread(file.write, waiting)
    except ClientDisconnect as exc:
        raise InvalidBody("The request ended before its body did.") from exc
    except OSError as exc:
        if exc.errno not in _FULL:
            raise
        raise DiskFull("The server's disk has no room for the body.") from exc
