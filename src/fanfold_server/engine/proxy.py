"""The proxy through which functions reach listed hosts: a process of its own, and this is it.

A sandbox with the policy "allow-list" has a network namespace with nobody in it. Its zygote listens
there on the loopback, and hands the listening socket over; whoever connects to it in there is
accepted out here (`forwarding`). So there is no other way out, nothing to be found by those who
have no such socket, and nothing that runs inside.

Standard input is the control channel: lines of JSON, each "open" with one descriptor.
"""

from __future__ import annotations

import asyncio
import ctypes
import encodings.idna  # noqa: F401  # the resolver wants it later, when it may not be readable
import json
import os
import resource
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from fanfold_server.engine.forwarding import Outlet
from fanfold_server.model.network import listed

UID: Final = 69_999
"""Whose the process is where root starts it: nobody's; functions have those from 70000 on."""

_PIECE: Final = 64 * 1024
_NO_NEW_PRIVS: Final = 38
_LOOKUPS: Final = 32


class Proxy:
    """All outlets, as the server says over the control channel.

    Args:
        control: what says so; the process ends with it.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._outlets: dict[int, Outlet] = {}
        self._text = b""
        self._files: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Serve until the server has gone."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_LOOKUPS))
        loop.add_reader(self._control.fileno(), self._readable)
        await self._ended.wait()

    def _readable(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self._control, _PIECE, 16, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, files = b"", []
        if not data:
            self._ended.set()
            return
        self._files += files
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))

    def _obey(self, said: dict[str, Any]) -> None:
        if said["op"] == "close":
            outlet = self._outlets.pop(said["id"], None)
            if outlet is not None:
                outlet.close()
            return
        listener = socket.socket(fileno=self._files.pop(0))
        listener.setblocking(False)
        outlet = self._outlets[said["id"]] = Outlet(listener, listed(said["hosts"]))
        task = asyncio.get_running_loop().create_task(outlet.open())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _give_up_rights() -> None:
    """Keep nothing of root's, and be able to gain nothing."""
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)


def main() -> None:
    """Serve the control channel, which is standard input."""
    # Only the server decides when this ends: Ctrl-C in a terminal reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    control.setblocking(False)
    loop = asyncio.new_event_loop()
    _give_up_rights()
    loop.run_until_complete(Proxy(control).run())
    os._exit(0)  # whatever is still looked up or copied has nobody who waits for it


if __name__ == "__main__":
    main()
