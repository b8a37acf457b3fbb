"""A zygote: preloads libraries by import only, then forks workers on the server's word.

It begins behind its wall: see `entrance`.

One thread, no event loop, nothing of a user's is executed here. It is its workers' parent and
collects them; it is also where the orphans of a dead worker land (each worker collects its own
while it lives), so whatever is a child of ours and not a worker is a stray, and is killed.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # not described anywhere
import contextlib
import gc
import importlib
import json
import os
import platform
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any

from fanfold_runtime import compaction, kernel, loop, oml, temporary, watchdog
from fanfold_runtime import tables as _tables  # noqa: F401  # later there is no path to it
from fanfold_runtime.baseline import Baseline
from fanfold_runtime.removing import remove, remove_empty
from fanfold_runtime.wall import Wall, probe

SWEEP_LIMIT_S = 2.0
"""How long strays are hunted after a worker's end."""

_TMP = ".tmp"
_IONBF = 2
_M_ARENA_MAX = -8


def _settle_c() -> None:
    """Choose how the C library behaves.

    Its stdout keeps nothing back, so that what is written belongs to the call that wrote it. It has
    one arena of memory: at the limit it would try to make another at each request, and a call that
    runs out of memory would take a minute to do so.
    """
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        stream = ctypes.c_void_p.in_dll(libc, "stdout")
        libc.setvbuf(stream, None, _IONBF, ctypes.c_size_t(0))
    except (ImportError, OSError, AttributeError, ValueError):  # it names its streams otherwise
        return


def _leave_path() -> None:
    """Take our archive off the path: all of ours is imported, and scripts have no business there.

    But for the stand-in of `oml`, which public scripts import by that name.

    `importlib.metadata` would also keep it open once it has looked for a version in it.
    """
    sys.modules["oml"] = oml
    archive = getattr(__spec__.loader, "archive", None)
    sys.path[:] = [entry for entry in sys.path if entry != archive]


class _ServerGone(Exception):
    """Nobody is at the other end of the control channel."""


class Zygote:
    """The state of the zygote's loop.

    Args:
        control: stream socket to the server.
        config: {"preload": [module names], "home": directory, "wall": {...},
            "memory_kib": of a worker and all that it starts,
            "tmp_kib": of its files; 0 where something else limits them,
            "tmp": the descriptor below which /tmp and /dev/shm are, None where nobody has his own}.
    """

    def __init__(self, control: socket.socket, config: dict[str, Any]) -> None:
        self._control = control
        self._config = config
        self._home: str = config["home"]
        self._wall = Wall(config["wall"], self._home)
        self._workers: dict[int, int] = {}  # pid → id
        self._pids: dict[int, int] = {}  # id → pid
        self._stopped: dict[int, int] = {}  # pid → the signal that stopped it
        self._taken: dict[int, int] = {}  # pid → the memory for which it was killed, in KiB
        self._filled: dict[int, int] = {}  # pid → the files for which it was killed, in KiB
        self._memory_kib: int = config["memory_kib"]
        self._tmp_kib: int = config["tmp_kib"]
        self._tmp: int | None = config["tmp"]
        self._look_at_space = 0.0
        self._buffer = b""
        self._fds: list[int] = []
        self._hello: dict[str, Any] = {}
        self._wake_r, self._wake_w = socket.socketpair()

    def run(self) -> None:
        """Preload, serve. Returns in a forked child's `loop.main` never: it exits."""
        confined: dict[str, Any] = {
            "no_new_privs": kernel.tried(kernel.NO_NEW_PRIVS, 1),
            "dies_with_server": kernel.tried(kernel.PDEATHSIG, signal.SIGKILL),
            "reaps_orphans": kernel.tried(kernel.CHILD_SUBREAPER, 1),
        }
        _settle_c()
        os.umask(0o077)
        os.chdir(self._home)
        self._wall.prepare()
        confined.update(self._wall.facts)
        room = compaction.reserve() if self._config["preload"] else []
        failures = self._preload()
        room.clear()
        self._hello = {
            "python": platform.python_version(),
            "packages": {
                n: _version(n)
                for n in ("numpy", "pandas", "matplotlib", "orjson", "pyarrow")
                if _version(n)
            },
        }
        _leave_path()
        if self._tmp is not None:
            temporary.keep_in_programs(self._tmp)
        self._baseline = Baseline()
        gc.collect()
        gc.freeze()
        if self._config["preload"]:
            compaction.compact()
        self._wake_w.setblocking(False)
        self._wake_r.setblocking(False)
        signal.set_wakeup_fd(self._wake_w.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
        # From here on the end of the control channel says that the server has gone. Nobody else can
        # find the orphans of our workers, so no signal may end us first; this one wakes us if
        # somebody has stopped us.
        kernel.tried(kernel.PDEATHSIG, signal.SIGCONT)
        try:
            self._say(
                op="ready",
                confined=confined,
                preload_failures=failures,
                threads=threads,
                **self._hello,
            )
            self._serve()
        except _ServerGone:
            pass
        finally:
            self._leave()

    def _serve(self) -> None:
        """Carry out messages and collect workers until the server has gone."""
        look_at = 0.0
        while True:
            period = watchdog.PERIOD_S if self._workers else None
            readable, _, _ = select.select([self._control, self._wake_r], [], [], period)
            now = time.monotonic()
            if now >= look_at:
                self._watch_memory()
                if self._tmp_kib and now >= self._look_at_space:
                    self._watch_space()
                    self._look_at_space = now + watchdog.SPACE_PERIOD_S
                took = time.monotonic() - now  # long if there are many processes
                look_at = now + max(watchdog.PERIOD_S, 10 * took)
            if self._wake_r in readable:
                self._wake_r.recv(4096)
                self._reap()
            if self._control in readable and not self._listen():
                break

    def _watch_memory(self) -> None:
        """Kill workers that take more than they may, with all that they have started."""
        for pid in self._workers:
            if pid in self._taken:
                continue
            taken = watchdog.taken_kib(pid, self._memory_kib)
            if taken:
                self._taken[pid] = taken
                _kill_tree(pid)

    def _watch_space(self) -> None:
        """Kill workers whose files take more than they may."""
        for pid, number in self._workers.items():
            taken = watchdog.space_kib(self._place(number), self._tmp_kib)
            if taken and pid not in self._filled:
                self._filled[pid] = taken
                _kill_tree(pid)

    def _leave(self) -> None:
        """End every worker, and then what they started: their orphans come to us as they end."""
        for pid in self._workers:
            _kill_group(pid)
        for pid in self._workers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._workers.clear()
        self._sweep()
        remove(self._home)

    def _preload(self) -> dict[str, str]:
        failures: dict[str, str] = {}
        for name in (*self._config["preload"], "orjson"):
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                continue  # the environment need not have it
            except Exception:
                failures[name] = traceback.format_exc(limit=-3)
        return failures

    # ------------------------------------------------------------------ messages

    def _say(self, **message: Any) -> None:
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise _ServerGone from None

    def _listen(self) -> bool:
        """Read and carry out messages; return False when the server has gone."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, 65536, 64)
        except OSError:  # it was killed with something of ours unread
            return False
        if not data:
            return False
        self._fds.extend(fds)
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message["op"] == "fork":
                count = 3 + message["doors"]
                (channel, side, log_file, *doors), self._fds = self._fds[:count], self._fds[count:]
                self._fork(message["id"], channel, side, log_file, doors, message["once"])
            elif message["op"] == "measure" and message["id"] in self._pids:
                cpu_ms = watchdog.cpu_ms(self._pids[message["id"]])
                self._say(op="measured", id=message["id"], cpu_ms=cpu_ms)
            elif message["op"] == "kill" and message["id"] in self._pids:
                _kill_group(self._pids[message["id"]])
        return True

    # ------------------------------------------------------------------ workers

    def _fork(
        self, number: int, channel: int, side: int, log_file: int, doors: list[int], once: bool
    ) -> None:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for door in doors:  # of its control group: before anything counts for it
                    os.write(door, b"0")
                    os.close(door)
                self._become_worker(number, channel, side, log_file, once)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        for descriptor in (channel, side, log_file, *doors):
            os.close(descriptor)
        self._workers[pid] = number
        self._pids[number] = pid
        self._say(op="forked", id=number, pid=pid)

    def _become_worker(
        self, number: int, channel: int, side: int, log_file: int, once: bool
    ) -> None:
        zygote = os.getppid()
        signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # `signal`'s own makes enums of all
        os.setsid()
        kernel.tried(kernel.PDEATHSIG, signal.SIGKILL)
        kernel.tried(kernel.CHILD_SUBREAPER, 1)
        if os.getppid() != zygote:
            return  # the zygote died in between
        self._control.close()
        self._wake_r.close()
        self._wake_w.close()
        for fd in self._fds:
            os.close(fd)
        home = self._place(number)
        os.mkdir(home, 0o700)
        os.chdir(home)
        os.environ["HOME"] = os.environ["TMPDIR"] = home
        places = [home]
        if self._tmp is not None:
            places.append(home + _TMP)
            temporary.make(home + _TMP, self._tmp)
        self._wall.close_in(places)
        sock = socket.socket(fileno=channel)
        sock.setblocking(True)
        rows_sock = socket.socket(fileno=side)
        rows_sock.setblocking(True)
        loop.main(sock, rows_sock, log_file, self._hello, self._baseline, once=once)

    def _place(self, number: int) -> str:
        return os.path.join(self._home, "w%d" % number)

    def _remove_places(self, number: int) -> None:
        """Remove the directories of a worker that has ended."""
        home = self._place(number)
        if not remove_empty(home):
            remove(home)
        if self._tmp is not None and not remove_empty(*temporary.folders_of(home + _TMP)):
            remove(home + _TMP)

    def _reap(self) -> None:
        """Collect workers that ended, and kill what they left behind.

        A worker that was stopped would be so for ever: it is ended, and the signal that stopped it
        is told as what killed it.
        """
        ended = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                break
            if pid == 0:
                break
            number = self._workers.get(pid)
            if number is None:
                continue
            if os.WIFSTOPPED(status):
                self._stopped[pid] = os.WSTOPSIG(status)
                _kill_group(pid)
                continue
            del self._workers[pid], self._pids[number]
            _kill_group(pid, collected=True)  # the group lives on while any member does
            taken = self._taken.pop(pid, 0), self._filled.pop(pid, 0)
            ended.append((number, self._stopped.pop(pid, status), taken))
        if ended:
            strays = self._sweep()
            for number, status, (memory_kib, tmp_kib) in ended:
                self._remove_places(number)
                said = {"id": number, "status": status, "strays": strays}
                self._say(op="exited", memory_kib=memory_kib, tmp_kib=tmp_kib, **said)

    def _sweep(self) -> int:
        """Kill every child that is no worker, and theirs, until none is left; return how many."""
        killed = 0
        deadline = time.monotonic() + SWEEP_LIMIT_S
        while time.monotonic() < deadline:
            strays = [pid for pid in _children() if pid not in self._workers]
            if not strays:
                break
            for pid in strays:
                try:
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
            for pid in strays:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        return killed


def _children() -> list[int]:
    """Return the process ids of our children."""
    me = os.getpid()
    try:
        with open("/proc/%d/task/%d/children" % (me, me)) as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        pass
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, errors="replace") as f:
                    if int(f.read().rpartition(")")[2].split()[1]) == me:
                        found.append(int(name))
            except OSError:
                continue
    return found


def _kill_tree(pid: int) -> None:
    """Kill a worker and all that it has started and that has not been orphaned."""
    for member in watchdog.tree_of(pid):
        with contextlib.suppress(OSError):
            os.kill(member, signal.SIGKILL)


def _kill_group(pid: int, collected: bool = False) -> None:
    """Kill a worker's process group, and the worker itself unless it has been collected."""
    for kill in (os.killpg,) if collected else (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _version(name: str) -> str | None:
    return getattr(sys.modules.get(name), "__version__", None)


def main() -> None:
    """Start a zygote: argv[1] is {"control": descriptor, "preload": …, "home": …, …}.

    Without "control", try the wall that it describes.
    """
    config = json.loads(sys.argv[1])
    sys.argv = [""]
    if "control" not in config:
        probe(config)
        return
    control = socket.socket(fileno=config["control"])
    Zygote(control, config).run()
