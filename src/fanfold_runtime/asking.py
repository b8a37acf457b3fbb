"""What a call asks of its server: a message over the worker's second socket, and its answer.

The parts of `oml` ask through `current`. Whatever is asked, the server decides: as the caller of
the run, whose rights these are.
"""

from __future__ import annotations

import array
import itertools
import json
import os
import socket
import threading
from typing import Any

from fanfold_runtime import protocol as p
from fanfold_runtime.channel import Closed
from fanfold_runtime.rows import receive


class NotAvailable(NotImplementedError):
    """This part of `oml` is not there."""

    __module__ = "oml"


class Refused(ValueError):
    """The server has refused; `code` is its code of the error."""

    __module__ = "oml"

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> Any:
        return Refused, (self.args[0], self.code)


class Unavailable(RuntimeError):
    """The server cannot do it now; `code` is its code of the error."""

    __module__ = "oml"

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> Any:
        return Unavailable, (self.args[0], self.code)


class Asker:
    """Asks, and waits for the answer; from any thread of the worker, one at a time.

    Args:
        side: the worker's second socket.

    Attributes:
        run: the number of the run in hand; 0 between runs.
    """

    def __init__(self, side: socket.socket) -> None:
        # bound here: a script may replace the methods of sockets
        self._send, self._receive = side.sendmsg, side.recvmsg
        self._side: socket.socket | None = side
        self._turn = threading.Lock()
        self._asking = 0  # the thread whose turn it is
        self._numbers = itertools.count(1)
        self.run = 0

    def abandon(self) -> None:
        """Close this process's end of it."""
        side, self._side = self._side, None
        if side is not None:
            number = side.detach()
            if number >= 0:
                os.close(number)

    def ask(self, verb: str, payload: int | None = None, **members: Any) -> tuple[Any, int | None]:
        """Ask the server.

        Args:
            verb: what for.
            payload: descriptor of a sealed file in memory that is handed over.

        Returns:
            The answer, and the descriptor of the file that came with it, which the caller closes.

        Raises:
            Refused, Unavailable: what the server says.
            NotAvailable: there is nobody to ask.
        """
        if self._side is None:
            raise NotAvailable("a process that a function has started cannot use oml")
        number = next(self._numbers)
        text = json.dumps(dict(members, ask=number, run=self.run, verb=verb)).encode()
        if len(text) > p.ASK_BYTES:
            message = "what is asked for takes %d bytes; the limit is %d" % (len(text), p.ASK_BYTES)
            raise Refused(message, 2002)
        rights = [] if payload is None else [_rights(payload)]
        if self._asking == threading.get_ident():
            raise NotAvailable(
                "a signal handler cannot use oml while the function that it stops does"
            )
        with self._turn:
            self._asking = threading.get_ident()
            try:
                self._send([text], rights)
                answer, files = self._answer(number)
            except (Closed, OSError) as exc:
                raise NotAvailable("the server has gone") from exc
            finally:
                self._asking = 0
        error = answer.get("error")
        if error is not None:
            kind = Refused if error["is_caller"] else Unavailable
            raise kind(error["message"], error["code"])
        file = files[0] if files else None
        if answer.get("in_file") and file is not None:
            return json.loads(take(file)), None
        return answer.get("ok"), file

    def _answer(self, number: int) -> tuple[dict[str, Any], list[int]]:
        """Wait for an answer; drop those for which nobody waits any more."""
        while True:
            data, files = receive(self._receive)
            answer = json.loads(data) if data[:1] == b"{" else {}
            if answer.get("ask") == number:
                return answer, files
            for file in files:
                os.close(file)


def take(file: int) -> bytes:
    """Read a file from its beginning, and close its descriptor."""
    with os.fdopen(file, "rb") as opened:
        opened.seek(0)
        return opened.read()


def _rights(file: int) -> Any:
    return (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))


current: Asker | None = None
"""That of this worker; None in a process that is none."""


def ask(verb: str, payload: int | None = None, **members: Any) -> tuple[Any, int | None]:
    """Ask this worker's server: see `Asker.ask`."""
    if current is None:
        raise NotAvailable("there is no server to ask")
    return current.ask(verb, payload, **members)
