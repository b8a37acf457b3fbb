"""Places and processes: where things lie, how a peer is started, stopped for a while, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ROOT / "bench" / "servers"
_WATCH_S = 0.01


def venvs() -> Path:
    """Return the directory of the peers' environments, as setup.sh has it."""
    named = os.environ.get("BENCH_VENVS")
    return Path(named) if named else Path(tempfile.gettempdir()) / "fanfold-bench-venvs"


def program(name: str, group: str) -> str:
    """Return the path of a program in the environment of a group of peers."""
    return str(venvs() / group / "bin" / name)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def prefer(pid: int) -> None:
    """Put a measured process before whatever else runs on the machine, if BENCH_AUTOGROUP asks.

    A session is a scheduler autogroup of its own: there `nice` says nothing to other sessions.
    Needs root; without it nothing changes.
    """
    nice = os.environ.get("BENCH_AUTOGROUP")
    if nice:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(nice)


class Process:
    """A peer's process and all that it starts.

    Args:
        name: also names its log file.
        scratch: the log's directory and, unless `cwd` says otherwise, the working directory.
        talks: whether the caller writes to its stdin and reads its stdout.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        scratch: Path,
        cwd: Path | None = None,
        variables: Mapping[str, str] | None = None,
        talks: bool = False,
    ) -> None:
        self.log = scratch / f"{name.replace(':', '-')}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(command),
                cwd=cwd or scratch,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(variables or {})},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                start_new_session=True,
            )
        prefer(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def wait(self, limit_s: float) -> None:
        """Wait until it ends by itself."""
        self._process.wait(limit_s)

    def pause(self) -> None:
        """Stop it and everything that it has started."""
        _signal(self._tree(), signal.SIGSTOP)

    def resume(self) -> None:
        tree = self._tree()
        for process in tree:  # those that have begun a session of their own, too
            prefer(process.pid)
        _signal(tree, signal.SIGCONT)

    def memory(self, role: Callable[[psutil.Process], str]) -> dict[str, float]:
        """Look at the memory of it and of everything that it has started, once; see `watched`."""
        now: dict[str, float] = {}
        for process in self._tree():
            with contextlib.suppress(psutil.Error):
                mib = process.memory_full_info().pss / 2**20
                for name in (role(process), "peak"):
                    now[name] = now.get(name, 0.0) + mib
        return now

    @contextlib.contextmanager
    def watched(self, role: Callable[[psutil.Process], str]) -> Iterator[dict[str, float]]:
        """Look at the memory of it and of everything that it has started, every 10 ms.

        Memory that processes share is divided among them (PSS), so that sums mean something.

        Args:
            role: names a process for the table.

        Yields:
            The most that each role had at a time, together, and all of them as "peak"; in MiB.
            Filled when the block ends.
        """
        peaks: dict[str, float] = {}
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_WATCH_S):
                for name, mib in self.memory(role).items():
                    peaks[name] = max(mib, peaks.get(name, 0.0))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield peaks
        finally:
            over.set()
            watching.join()

    def end(self) -> None:
        """End it and everything that it has started, each by its own pid."""
        tree = self._tree()
        _signal(tree, signal.SIGCONT)
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(8)
        _signal(tree, signal.SIGKILL)
        psutil.wait_procs(tree, timeout=5)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)

    def last_words(self) -> str:
        return self.log.read_bytes()[-1500:].decode("utf-8", "replace")


def _signal(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def exit_on_sigterm() -> None:
    """Let a SIGTERM unwind the stack, so that no peer is left behind; one is enough."""

    def unwind(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(143)

    signal.signal(signal.SIGTERM, unwind)
