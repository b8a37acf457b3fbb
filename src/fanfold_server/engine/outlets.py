"""The server's end of the proxy: it is started when it is first needed, and again if it dies."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from fanfold_server.model.network import Network

PROGRAM: Final = "fanfold_server.engine.proxy"

MOST_STARTS: Final = 5
WITHIN_S: Final = 60.0
"""A proxy that has to be started so often within that time is not started again until later."""

STOP_S: Final = 2.0
SEND_S: Final = 5.0
"""How long the proxy may take to hear what it is told; then it is ended, and started again."""


_SORRY: Final = (
    b"HTTP/1.1 503 The proxy for functions does not run; the log of the server says why\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class _Outlet:
    """A sandbox's listening socket, which we keep: whoever connects waits for the next proxy."""

    listener: socket.socket
    network: Network


def inside(network: Network) -> str:
    """Return the names of a sandbox's own loopback, but for listed ones, which lead out.

    They are what libraries do not use a proxy for, as the variable `no_proxy` has them.
    """
    listed = {place.name.removesuffix("/32").removesuffix("/128") for place in network.hosts}
    return ",".join(name for name in ("localhost", "127.0.0.1", "::1") if name not in listed)


class Outlets:
    """Ways out of sandboxes, each to the hosts of a list. All on the event loop's thread.

    Args:
        scratch: the engine's own directory; it names the process to whoever looks for ours.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._outlets: dict[int, _Outlet] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._starts: list[float] = []
        self._again: asyncio.Handle | None = None
        self._is_away = False
        self._loop = asyncio.get_running_loop()
        self._log = structlog.get_logger("fanfold_server.engine")

    @property
    def pid(self) -> int | None:
        """The process id of the proxy; None while there is none."""
        return None if self._process is None else self._process.pid

    def open(self, number: int, listener: socket.socket, network: Network) -> None:
        """Lead whoever connects to a listening socket, which is ours from now, to listed hosts."""
        listener.setblocking(False)
        outlet = self._outlets[number] = _Outlet(listener, network)
        if self._control is not None:
            self._tell(number, outlet)
        elif self._again is None:
            self._start()  # which tells of all of them
        elif self._is_away:
            self._loop.add_reader(listener.fileno(), self._apologize, listener)

    def close(self, number: int) -> None:
        """Close one. Harmless if there is none."""
        outlet = self._outlets.pop(number, None)
        if outlet is None:
            return
        self._loop.remove_reader(outlet.listener.fileno())
        outlet.listener.close()
        self._send({"op": "close", "id": number}, [])

    def _start(self) -> None:
        """Start the proxy, and tell it of every outlet."""
        self._again = None
        now = time.monotonic()
        self._starts = [at for at in self._starts if now - at < WITHIN_S]
        if len(self._starts) >= MOST_STARTS:
            self._give_up("it does not stay")
            return
        self._starts.append(now)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-s", "-m", PROGRAM],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    # Not the server's own variables: they may hold secrets.
                    env={
                        "PYTHONPATH": os.pathsep.join(sys.path),
                        "LANG": "C.UTF-8",
                        "FANFOLD_SCRATCH": str(self._scratch),
                    },
                    start_new_session=True,
                )
            except OSError as exc:
                ours.close()
                self._give_up(str(exc))
                return
        if self._is_away:
            self._is_away = False
            for outlet in self._outlets.values():
                self._loop.remove_reader(outlet.listener.fileno())
        ours.settimeout(SEND_S)
        self._control = ours
        self._loop.add_reader(ours.fileno(), self._ended)
        for number, outlet in list(self._outlets.items()):
            self._tell(number, outlet)

    def _give_up(self, why: str) -> None:
        """Have no proxy for a while; whoever connects is told so."""
        self._log.error("the proxy for functions does not run", error=why, pause_s=WITHIN_S)
        self._is_away = True
        for outlet in self._outlets.values():
            self._loop.add_reader(outlet.listener.fileno(), self._apologize, outlet.listener)
        self._again = self._loop.call_later(WITHIN_S, self._start)

    def _apologize(self, listener: socket.socket) -> None:
        with suppress(OSError):  # who has come has gone again
            client, _ = listener.accept()
            with client:
                client.setblocking(False)
                client.send(_SORRY)
                client.shutdown(socket.SHUT_WR)

    def _tell(self, number: int, outlet: _Outlet) -> None:
        hosts = list(map(str, outlet.network.hosts))
        self._send({"op": "open", "id": number, "hosts": hosts}, [outlet.listener.fileno()])

    def _send(self, message: dict[str, object], files: list[int]) -> None:
        if self._control is None:
            return
        data = json.dumps(message).encode() + b"\n"
        try:
            sent = socket.send_fds(self._control, [data], files) if files else 0
            self._control.sendall(data[sent:])
        except OSError:  # it has ended, or hangs
            self._ended()

    def _ended(self) -> None:
        """The proxy says nothing ever: it has ended. Start it again, if anybody needs it."""
        self._stop()
        if self._outlets and self._again is None:
            self._log.error("the proxy for functions has ended; it is started again")
            self._again = self._loop.call_soon(self._start)

    def _stop(self) -> None:
        control, process = self._control, self._process
        self._control = self._process = None
        if control is not None:
            self._loop.remove_reader(control.fileno())
            control.close()
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0)
            if process.poll() is None:
                process.kill()
            process.wait()

    def close_all(self) -> None:
        """End the proxy, and close what is left."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for number in list(self._outlets):
            self.close(number)
        self._stop()
