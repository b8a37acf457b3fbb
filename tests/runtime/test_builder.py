"""What compiles an environment runs code of that environment: it writes there and nowhere else."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fanfold_server.engine.ladder import Rung
from fanfold_server.engine.limits import Limits
from fanfold_server.engine.sandbox import Sandbox
from fanfold_server.model.environment import Environment
from tests.runtime.bench import ladder

LIMITS = Limits(memory_mib=1024, files=256, processes=64, file_mib=64)

TRIES = """\
import os, socket, sys
prefix, secret, port = sys.argv[1:4]

def can(do):
    try:
        do()
    except OSError:
        return False
    return True

def connect():
    socket.create_connection(("127.0.0.1", int(port)), 1).close()

print(
    can(lambda: open(os.path.join(prefix, "lib", "made"), "w").close()),
    can(lambda: open(secret).close()),
    can(lambda: open(os.path.join(os.path.dirname(secret), "new"), "w").close()),
    can(lambda: open("/usr/written", "w").close()),
    can(connect),
    can(lambda: os.chroot("/")),
    can(lambda: os.kill(os.getppid(), 9)) and os.getppid() > 1 and "killed",
)
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A virtual environment, as far as the sandbox looks at it."""
    made = tmp_path / "environment"
    (made / "bin").mkdir(parents=True)
    (made / "lib").mkdir()
    python = made / "bin" / "python"
    python.symlink_to(sys.executable)
    home = Path(sys.base_prefix) / "bin"
    (made / "pyvenv.cfg").write_text(f"home = {home}\n")
    return made


def test_a_builder_reaches_its_prefix_alone(prefix: Path, tmp_path: Path) -> None:
    if ladder().rung is not Rung.BWRAP:
        pytest.skip("bubblewrap does not work here")
    environment = Environment(name="made", prefix=prefix, kind="venv")
    data = tmp_path / "data"
    data.mkdir()
    (data / "key").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        command = [str(prefix / "bin" / "python"), "-I", "-S", "-c", TRIES,
                   str(prefix), str(data / "key"), port]  # fmt: skip
        confined = Sandbox(LIMITS, ladder()).around_builder(environment, command)
        done = subprocess.run(confined, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:6] == ["True", "False", "False", "False", "False", "False"]
    assert done.stdout.split()[6] != "killed"
    assert (prefix / "lib" / "made").exists()
    assert (prefix / "lib" / "made").stat().st_uid == prefix.stat().st_uid


def test_without_bubblewrap_the_command_is_as_it_was(prefix: Path) -> None:
    environment = Environment(name="made", prefix=prefix, kind="venv")
    command = [str(prefix / "bin" / "python"), "-c", "pass"]
    assert Sandbox(LIMITS, ladder("confined")).around_builder(environment, command) == command
