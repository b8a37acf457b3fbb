"""The server's end of a worker's second socket: open files go out, asks come in.

One message is one ask or one answer; see `fanfold_runtime.protocol`. After an ask nothing more is
read until it is answered, so that a worker has one under way at most and waits by itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from fanfold_runtime import protocol as p
from fanfold_server.engine.port import Ask, Reply
from fanfold_server.model.errors import CallerError, FanfoldError

_MAX_FILES = 4
"""Descriptors of a message that are looked at; the system closes the rest."""

_SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class BadAsk(Exception):
    """A worker sent what ours never sends."""


class Side:
    """One worker's second socket.

    Args:
        sock: connected, does not block.
        asked: called with each ask; `answer` or `refuse` has to follow.
        forged: called once when a message is none of ours; then there are no further ones.

    Attributes:
        task: what works for the ask in hand; ended with the worker.
    """

    __slots__ = ("_asked", "_forged", "_is_open", "_listens", "_number", "sock", "task")

    def __init__(
        self, sock: socket.socket, asked: Callable[[Ask], None], forged: Callable[[], None]
    ) -> None:
        self.sock = sock
        self.task: asyncio.Task[None] | None = None
        self._asked = asked
        self._forged = forged
        self._number = 0
        self._is_open = True
        self._listens = False

    def open(self) -> None:
        """Begin to take asks."""
        self._listen()

    def give(self, files: Sequence[int]) -> None:
        """Send the files of a run that is about to begin; they stay the caller's."""
        with suppress(OSError):  # the worker has ended: the end of its channel says so
            socket.send_fds(self.sock, [p.FILES], files)

    def close(self) -> None:
        """End what works for its ask, and close the socket."""
        self._is_open = False
        self._deafen()
        if self.task is not None:
            self.task.cancel()
        self.sock.close()

    # ------------------------------------------------------------------ answers

    def answer(self, reply: Reply) -> None:
        """Answer the ask in hand; closes the reply's file."""
        file = reply.file
        head: dict[str, object] = {"ask": self._number, "ok": msgspec.Raw(reply.json)}
        text = _encode(head)
        if len(text) > p.ASK_BYTES and file is None:
            file = _in_memory(reply.json)
            text = _encode({"ask": self._number, "ok": None, "in_file": True})
        try:
            self._send(text, file)
        finally:
            if file is not None:
                os.close(file)

    def refuse(self, error: FanfoldError) -> None:
        """Say why the ask in hand is not carried out."""
        said = {
            "code": error.code,
            "message": error.message.encode("utf-8", "replace").decode(),
            "is_caller": isinstance(error, CallerError),
        }
        self._send(_encode({"ask": self._number, "error": said}), None)

    def _send(self, text: bytes, file: int | None) -> None:
        if not self._is_open:
            return
        try:
            socket.send_fds(self.sock, [text], [] if file is None else [file])
        except BlockingIOError:  # it asks, and never reads what it is told
            self._forged()
        except OSError:
            return  # it has ended
        else:
            self._listen()

    # ------------------------------------------------------------------ asks

    def _listen(self) -> None:
        if not self._listens:
            self._listens = True
            asyncio.get_running_loop().add_reader(self.sock.fileno(), self._readable)

    def _deafen(self) -> None:
        if self._listens:
            self._listens = False
            asyncio.get_running_loop().remove_reader(self.sock.fileno())

    def _readable(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(
                self.sock, p.ASK_BYTES + 1, _MAX_FILES, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            self._deafen()
            return
        self._deafen()
        if not data and _is_closed(self.sock):
            _close(files)
            return
        try:
            ask = self._read(data, files)
        except (BadAsk, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _close(files)
            self._forged()
            return
        self._asked(ask)

    def _read(self, data: bytes, files: list[int]) -> Ask:
        if len(data) > p.ASK_BYTES or len(files) > 1:
            raise BadAsk
        members = _decode(data)
        number, run, verb = (members.pop(name, None) for name in ("ask", "run", "verb"))
        if not (type(number) is type(run) is int and isinstance(verb, str)):
            raise BadAsk
        self._number = number
        payload = files[0] if files else None
        size = 0
        if payload is not None:
            if not _is_sealed(payload):
                raise BadAsk
            size = os.fstat(payload).st_size
        return Ask(run=run, verb=verb, members=members, payload=payload, payload_bytes=size)


def _is_sealed(file: int) -> bool:
    """Say whether it is a file in memory that nobody can change: reading it never waits."""
    try:
        return fcntl.fcntl(file, fcntl.F_GET_SEALS) & _SEALED == _SEALED
    except OSError:
        return False


def _is_closed(sock: socket.socket) -> bool:
    """Say whether the other end is closed; else what was read was an empty message."""
    asked = select.poll()
    asked.register(sock, 0)
    return bool(asked.poll(0))


def _in_memory(content: bytes) -> int:
    file = os.memfd_create("fanfold-answer", os.MFD_CLOEXEC)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(file, left) :]
    except BaseException:
        os.close(file)
        raise
    return file


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)
