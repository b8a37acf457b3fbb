"""Ports of this machine that nobody is given by chance."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port at which nobody listens but who is told of it, for as long as the block runs.

    It is bound and not listened at: connections are refused, the kernel gives it to nobody who asks
    for any port, and who asks for this one may have it with SO_REUSEADDR, which servers set.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
