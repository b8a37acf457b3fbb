"""The worker's end of its channel to the server: frames over one blocking stream socket."""

from __future__ import annotations

import os
import socket

from fanfold_runtime import protocol as p

_JOIN_BELOW = 1 << 19
"""Bytes up to which the parts of a frame are copied together rather than sent one by one."""


class Closed(Exception):
    """The server closed the channel."""


class Channel:
    """Reads and writes frames. Args: sock: connected, blocking."""

    def __init__(self, sock: socket.socket) -> None:
        # bound here, so that a script that replaces the methods of sockets does not end its worker
        self._send = sock.sendall
        self._read = sock.makefile("rb", buffering=1 << 16).read
        self._sock = sock

    def abandon(self) -> None:
        """Close this process's end of it: for a child that a script has forked."""
        number = self._sock.detach()
        if number >= 0:  # else an ancestor has closed it
            os.close(number)

    def read(self) -> tuple[int, bytes]:
        """Return (kind, payload) of the next frame. Raises Closed."""
        head = self._read(p.LENGTH.size)
        if len(head) < p.LENGTH.size:
            raise Closed
        (n,) = p.LENGTH.unpack(head)
        body = self._read(n)
        if len(body) < n:
            raise Closed
        return body[0], body[1:]

    def write(self, kind: int, *parts: bytes) -> None:
        """Send one frame, whole. Raises OSError when the server has gone."""
        frame = p.frame(kind, *parts)
        if sum(map(len, frame)) < _JOIN_BELOW:
            self._send(b"".join(frame))
        else:
            for part in frame:
                self._send(part)
