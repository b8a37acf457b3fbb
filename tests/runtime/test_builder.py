"""What compiles an environment runs code of that environment: it writes there and nowhere else."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fanfold_server.engine.ladder import IsolationMissing
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
    can(lambda: os.kill(os.getppid(), 0)) and os.getppid() > 1 and "reached",
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


@pytest.mark.parametrize("rung", ["confined", "bwrap"])
def test_a_builder_reaches_its_prefix_alone(rung: str, prefix: Path, tmp_path: Path) -> None:
    environment = Environment(name="made", prefix=prefix, kind="venv")
    data = tmp_path / "data"
    data.mkdir()
    (data / "key").write_text("secret")
    python = prefix / "bin" / "python"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        tries = [str(python), "-I", "-S", "-c", TRIES, str(prefix), str(data / "key"), port]
        done = confined(rung, environment, tries)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:6] == ["True", "False", "False", "False", "False", "False"]
    assert done.stdout.split()[6] != "reached"
    assert (prefix / "lib" / "made").exists()
    assert (prefix / "lib" / "made").stat().st_uid == prefix.stat().st_uid


@pytest.mark.parametrize("rung", ["basic", "confined", "bwrap"])
def test_a_builder_compiles(rung: str, prefix: Path) -> None:
    environment = Environment(name="made", prefix=prefix, kind="venv")
    (prefix / "lib" / "module.py").write_text("x = 1\n")
    compiling = [str(prefix / "bin" / "python"), "-I", "-S", "-m", "compileall", "-q"]
    done = confined(rung, environment, [*compiling, str(prefix / "lib")])
    assert done.returncode == 0, done.stderr
    assert list(prefix.glob("lib/__pycache__/module.*.pyc"))


def test_an_interpreter_that_a_package_brings_along_is_behind_the_wall(
    prefix: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "key"
    secret.write_text("secret")
    python = prefix / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\ncat $1\necho ran\n")
    python.chmod(0o755)
    environment = Environment(name="made", prefix=prefix, kind="venv")
    done = confined("confined", environment, [str(python), str(secret)])
    assert done.stdout.split() == ["ran"]


def confined(
    rung: str, environment: Environment, command: list[str]
) -> subprocess.CompletedProcess[str]:
    try:
        sandbox = Sandbox(LIMITS, ladder(rung))
    except IsolationMissing as exc:
        pytest.skip(str(exc))
    return subprocess.run(
        sandbox.around_builder(environment, command),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
