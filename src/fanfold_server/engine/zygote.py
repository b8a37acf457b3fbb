"""The server's end of a zygote: starting it, and the messages of `fanfold_runtime.protocol`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fanfold_server.engine.limits import Limits
from fanfold_server.engine.lines import Lines, NoMessage
from fanfold_server.engine.outlets import Outlets, inside
from fanfold_server.engine.sandbox import Sandbox
from fanfold_server.engine.scratch import remove_tree
from fanfold_server.engine.strays import kill_strays
from fanfold_server.engine.uses import Use
from fanfold_server.model.environment import Environment
from fanfold_server.model.network import NOTHING, Network, Reach

_STDERR_TAIL = 4_000
"""Bytes of a failed zygote's own output that its error shows."""

STOP_S = 2.0
"""How long a zygote may take to end when told."""


class Zygote:
    """One process that forks workers, in one environment, for one owner.

    Args:
        number: unique while the server runs.
        network: what its workers may reach.
        outlets: leads them there, if that is a list of hosts.
        on_message: called with each message but "ready".
        on_end: called once when the process has ended.
    """

    def __init__(
        self,
        *,
        number: int,
        environment: Environment,
        sandbox: Sandbox,
        bundle: Path,
        scratch: Path,
        cache: Path,
        preload: tuple[str, ...],
        limits: Limits,
        network: Network = NOTHING,
        outlets: Outlets | None = None,
    ) -> None:
        self.number = number
        self.environment = environment
        self.network = network
        self._outlets = outlets if network.reach is Reach.LISTED else None
        self._has_outlet = False
        self.limits = limits
        self.groups = sandbox.groups
        self.facts: dict[str, Any] = {}
        self.on_message: Callable[[dict[str, Any]], None] = lambda _: None
        self.on_end: Callable[[], None] = lambda: None
        self._home = scratch / f"z{number}"
        self._cache = cache
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._lines = Lines()
        self._ended = False
        self._reason = ""
        self._log = scratch / f"z{number}.log"
        self._uid = uid = sandbox.uid_for(environment, number, bundle)
        self._prepare_home(uid)
        self._control, theirs = socket.socketpair()
        with ExitStack() as unless_started, self._log.open("wb") as log, theirs:
            unless_started.callback(self._control.close)
            unless_started.callback(remove_tree, self._home)
            self._use = Use(environment)
            unless_started.callback(self._use.close)
            launch = sandbox.launch(
                environment,
                uid=uid,
                bundle=bundle,
                home=self._home,
                limits=limits,
                control=theirs.fileno(),
                network=network,
            )
            config = {
                "control": theirs.fileno(),
                "preload": preload,
                "memory_kib": limits.memory_mib << 10,
                "tmp_kib": 0 if sandbox.caps_tmp else limits.tmp_mib << 10,
                "tmp": launch.tmp,
                "home": str(launch.home),
                "wall": launch.wall,
            }
            entrance = {
                "command": [*launch.command, json.dumps(config)],
                "user": launch.user,
                "variables": dict(launch.variables),
                "limits": sandbox.rlimits(uid, limits),
                "home": str(launch.home),
                "tmp": launch.tmp,
                "wall": launch.wall,
                "control": theirs.fileno(),
                "outlet": None if self._outlets is None else inside(network),
            }
            self.process = subprocess.Popen(
                [*launch.entrance, json.dumps(entrance)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=sandbox.variables(environment, launch.home),
                cwd="/",
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            unless_started.pop_all()
        self._control.setblocking(False)
        self._loop.add_reader(self._control.fileno(), self._readable)

    def _prepare_home(self, uid: int | None) -> None:
        """Make the private directory, with matplotlib's font list if one was kept."""
        fonts = self._home / "mpl"
        fonts.mkdir(parents=True, mode=0o700)
        self._home.chmod(0o700)
        for kept in self._cache.glob("fontlist-*.json"):
            shutil.copyfile(kept, fonts / kept.name)
        if uid is not None:
            for path in (self._home, fonts, *fonts.iterdir()):
                os.chown(path, uid, uid)

    # ------------------------------------------------------------------ messages

    @property
    def is_alive(self) -> bool:
        return not self._ended

    def fork(
        self,
        worker: int,
        descriptors: tuple[int, int, int],
        doors: Sequence[int],
        *,
        once: bool,
    ) -> None:
        """Ask for a worker.

        Args:
            descriptors: its sockets, that of frames first, and the file that takes its output; like
                the doors, the caller closes them afterwards.
            doors: of its control group.
            once: it is meant for one run.
        """
        message = {"op": "fork", "id": worker, "doors": len(doors), "once": once}
        self._say(message, [*descriptors, *doors])

    def measure(self, worker: int) -> None:
        """Ask how much processor time a worker has taken; "measured" answers."""
        self._say({"op": "measure", "id": worker}, [])

    def kill(self, worker: int) -> None:
        """Kill a worker and all that it started. Harmless if it has ended."""
        self._say({"op": "kill", "id": worker}, [])

    def _say(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if self._ended:
            return
        data = json.dumps(message).encode() + b"\n"
        try:
            if descriptors:
                socket.send_fds(self._control, [data], descriptors)
            else:
                self._control.sendall(data)
        except OSError:  # it has ended or does not listen any more: the same to us
            self._end()

    def _readable(self) -> None:
        try:
            data = self._receive()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        try:
            for message in self._lines.feed(data):
                self._obey(message)
        except (NoMessage, KeyError, TypeError, ValueError, OverflowError):
            self.abort()  # a script has reached into its memory

    def _receive(self) -> bytes:
        """Read what there is; the first of it may bring a socket."""
        if self._outlets is None or self._has_outlet:
            return self._control.recv(65536)
        data, files, _, _ = socket.recv_fds(self._control, 65536, 1, socket.MSG_CMSG_CLOEXEC)
        if files:
            self._has_outlet = True
            self._outlets.open(self.number, socket.socket(fileno=files[0]), self.network)
        return data

    def _obey(self, message: dict[str, Any]) -> None:
        if message["op"] == "outlet":
            return
        if message["op"] != "ready":
            self.on_message(message)
        elif not self.ready.done():
            self.facts = message
            self._keep_fonts()
            self.ready.set_result(None)

    def _keep_fonts(self) -> None:
        """Keep matplotlib's font list for the next zygote; no function has run here yet."""
        for made in (self._home / "mpl").glob("fontlist-*.json"):
            target = self._cache / made.name
            if not target.exists():
                self._cache.mkdir(parents=True, exist_ok=True)
                copy_plain_file(made, target)

    # ------------------------------------------------------------------ the end

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._outlets is not None:
            self._outlets.close(self.number)
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        if not self.ready.done():
            self.ready.set_exception(RuntimeError(self.last_words()))
            self.ready.exception()  # whoever waits has seen it; nobody need
        self.on_end()

    def wake(self) -> None:
        """Let the process go on if something has stopped it."""
        if not self._ended:
            self._signal(signal.SIGCONT)

    def fail(self, reason: str) -> None:
        """Kill the process, since something else has failed; the reason is its last words."""
        self._reason = reason
        self.abort()

    def abort(self) -> None:
        """Kill the process: it does not do what it is told."""
        self._signal(signal.SIGKILL)
        self._end()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the process, and bubblewrap where that is its parent; workers are in others."""
        if self.process.poll() is None:  # else the number may be another's by now
            os.killpg(self.process.pid, number)

    def last_words(self) -> str:
        """Return the end of what the process itself wrote, usually a traceback."""
        if self._reason:
            return self._reason
        try:
            text = self._log.read_bytes()[-_STDERR_TAIL:].decode("utf-8", "replace").strip()
        except OSError:
            text = ""
        return text or "it ended without a word"

    async def close(self) -> None:
        """End the process and everything it started, and remove its directory."""
        if not self._ended:
            self.on_end = lambda: None
            self._end()  # it sees the end of the control channel, kills its workers and leaves
        waited = 0.0
        while self.process.poll() is None and waited < STOP_S:
            await asyncio.sleep(0.01)
            waited += 0.01
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
            await asyncio.to_thread(self.process.wait)
        await asyncio.to_thread(kill_strays, self._home, self._uid)
        await asyncio.to_thread(remove_tree, self._home)
        self._log.unlink(missing_ok=True)
        self._use.close()


def copy_plain_file(source: Path, target: Path) -> None:
    """Copy a file that is nothing else: a package may have left a link to one of ours."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a link, or gone
        return
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and os.fstat(descriptor).st_nlink == 1:
            target.write_bytes(file.read())
