"""What a person at a terminal sees, and is asked: `fanfold` on a pseudo-terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fanfold import AsyncClient, Client
from fanfold.progress import Bar, duration
from fanfold.records import JobInfo
from tests.acceptance.conftest import FANFOLD, PASSWORD, Server
from tests.acceptance.processes import until

LIMIT_S = 120.0
SLOW = "def slow(i):\n    import time\n    time.sleep(0.05)\n    assert i != 3\n    return i\n"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, main: int, process: subprocess.Popen[bytes]) -> None:
        self._main = main
        self.process = process
        self._read = b""

    def shown(self, words: str) -> str:
        """Wait until the words stand on the screen; give all that does."""
        deadline = time.monotonic() + LIMIT_S
        while words not in self.text:
            ready, _, _ = select.select([self._main], [], [], deadline - time.monotonic())
            assert ready, self.text
            try:
                self._read += os.read(self._main, 4096)
            except OSError:  # its other end is closed
                assert words in self.text, self.text
        return self.text

    def end(self) -> int:
        """Read what is left, and give the exit status."""
        with contextlib.suppress(OSError):
            while piece := os.read(self._main, 4096):
                self._read += piece
        return self.process.wait(LIMIT_S)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._main, keys.encode())

    @property
    def text(self) -> str:
        return _CONTROL.sub("", self._read.decode("utf-8", "replace"))


@contextmanager
def terminal(server: Server, folder: Path, *command: str | Path) -> Iterator[Terminal]:
    """Start a program on a terminal, logged in as alice."""
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FANFOLD_")},
        "FANFOLD_URL": server.url,
        "FANFOLD_USERNAME": "alice",
        "FANFOLD_PASSWORD": PASSWORD,
        "TERM": "xterm",
        "COLUMNS": "120",
        "LINES": "40",
    }
    main, other = pty.openpty()
    with subprocess.Popen(
        command,
        stdin=other,
        stdout=other,
        stderr=other,
        cwd=folder,
        env=variables,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509  # the only way to a controlling terminal
    ) as process:
        os.close(other)
        try:
            yield Terminal(main, process)
        finally:
            if process.poll() is None:
                process.kill()
            os.close(main)


def _take_terminal() -> None:
    import fcntl  # noqa: PLC0415  # in the child alone
    import termios  # noqa: PLC0415

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # Whoever started the tests in the background has had them ignore it, and us with them.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, username="alice", password=PASSWORD) as found:
        yield found


def test_a_bar_shows_counts_rate_failures_and_what_is_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    command = (FANFOLD, "run", "slow.py", "--times", "60", "--follow", "--continue", "--json")
    with terminal(server, tmp_path, *command) as shell:
        text = shell.shown("failed")
        shell.shown("left")
        assert re.search(r"\d+/60", text)
        assert re.search(r"[\d.]+/s, 1 failed", shell.text)
        assert shell.end() == 1
    assert '"result": [1, 2, null, 4' in shell.text


def test_a_fan_out_in_a_terminal_shows_a_bar_and_leaves_no_job(
    server: Server, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW.replace("3", "-3"))
    before = {info.id for info in client.jobs.list()}
    with terminal(server, tmp_path, FANFOLD, "run", "slow.py", "--times", "40") as shell:
        shell.shown("/40")
        assert shell.end() == 0
    assert "\n40\r" in shell.text
    assert {info.id for info in client.jobs.list()} == before


@pytest.mark.parametrize(
    ("key", "status", "state"), [("c\n", 130, "cancelled"), ("d\n", 0, "running")]
)
def test_ctrl_c_asks_whether_to_leave_or_to_cancel(
    *, server: Server, client: Client, tmp_path: Path, key: str, status: int, state: str
) -> None:
    (tmp_path / "slow.py").write_text(SLOW.replace("0.05", "0.5").replace("3", "-3"))
    with terminal(
        server, tmp_path, FANFOLD, "run", "slow.py", "--times", "90", "--follow"
    ) as shell:
        found = re.search(r"job ([0-9a-f-]{36})", shell.shown("/90"))
        assert found is not None
        shell.type("\x03")
        shell.shown("[d]etach from it, or [c]ancel it?")
        shell.type(key)
        assert shell.end() == status
    job = client.job(found[1])
    assert job.info().state == state
    if state == "running":
        assert f"fanfold job watch {job.id}" in shell.text
        job.cancel()
        until(lambda: job.info().has_ended, LIMIT_S, "the job ends")


AWAITING = """
import asyncio
from fanfold import AsyncClient

async def main():
    async with AsyncClient() as client:
        job = await client.background.index_apply(90, open("slow.py").read())
        print("job", job.id, flush=True)
        await job.wait()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("key", "said", "state"),
    [("c\n", "JobCancelled", "cancelled"), ("d\n", "Detached", "running")],
)
def test_ctrl_c_asks_where_an_event_loop_waits(
    *, server: Server, client: Client, tmp_path: Path, key: str, said: str, state: str
) -> None:
    (tmp_path / "slow.py").write_text(SLOW.replace("0.05", "0.5").replace("3", "-3"))
    (tmp_path / "awaiting.py").write_text(AWAITING)
    with terminal(server, tmp_path, sys.executable, "awaiting.py") as shell:
        found = re.search(r"job ([0-9a-f-]{36})", shell.shown("/90"))
        assert found is not None
        shell.type("\x03")
        shell.shown("[d]etach from it, or [c]ancel it?")
        shell.type(key)
        assert shell.end() == 1
    assert said in shell.text
    job = client.job(found[1])
    assert job.info().state == state
    if state == "running":
        job.cancel()
        until(lambda: job.info().has_ended, LIMIT_S, "the job ends")


async def test_a_cancellation_that_is_no_ctrl_c_asks_nobody(server: Server) -> None:
    """Time-outs and task groups cancel, too; and Ctrl-C is handled afterwards as it was before."""
    before = signal.getsignal(signal.SIGINT)
    async with AsyncClient(
        server.url, username="alice", password=PASSWORD, progress=True
    ) as client:
        job = await client.background.index_apply(90, SLOW.replace("0.05", "0.5"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job.wait(), 0.3)
        assert signal.getsignal(signal.SIGINT) == before
        assert not (await job.info()).has_ended
        await job.cancel()


def test_nothing_is_shown_where_there_is_no_terminal(server: Server, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW.replace("3", "-3"))
    done = subprocess.run(
        [FANFOLD, "run", "slow.py", "--times", "30"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "FANFOLD_URL": server.url,
            "FANFOLD_USERNAME": "alice",
            "FANFOLD_PASSWORD": PASSWORD,
        },
        check=True,
    )
    assert done.stderr == ""


def test_what_is_quick_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    info = JobInfo(
        id="x", state="running", verb="index-apply", script={}, times=2, returned=1, failed=0
    )
    with Bar("quick", 2, on=True, notebook=False) as bar:
        bar.job(info)
        bar.advance(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "under 1 s"), (12.4, "12 s"), (125, "2 min 5 s"), (7320, "2 h 2 min")],
)
def test_durations_are_written_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
