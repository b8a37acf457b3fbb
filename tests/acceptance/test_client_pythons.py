"""The client on the oldest Python that it promises, and on the newest that is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fanfold import Client
from tests.acceptance.conftest import PASSWORD, Server
from tests.architecture.repository import ROOT

PYTHONS = ("3.10", "3.12", "3.13", "3.14")
PROGRAM = """
import asyncio, sys
from fanfold import AsyncClient, Client, Executor

def half(x):
    return x / 2

async def awaited():
    async with AsyncClient() as client:
        return await client.index_apply(3, half, parallel=True)

with Client() as client:
    assert client.index_apply(3, half) == asyncio.run(awaited()) == [0.5, 1, 1.5]
    with Executor(client, max_workers=2) as executor:
        assert list(executor.map(half, range(5))) == [0, 0.5, 1, 1.5, 2]
        assert executor.submit(lambda a, b: a + b, 1, b=2).result(30) == 3
        try:
            list(executor.map(lambda x: 1 / x, [0], timeout=30))
        except ZeroDivisionError as exc:
            print("%d.%d" % sys.version_info[:2], exc)

Executor(comments="left by %d.%d" % sys.version_info[:2]).submit(half, 8)  # and gone

from fanfold.cli import main

main(["--help"], standalone_mode=False)
main(["script", "list", "--type", "global"], standalone_mode=False)
"""
SHELL = """
set -e
fanfold new simulate.py
fanfold run --local simulate.py --times 2 2>&1 | tail -n 1
echo 'def half(i, by=2): return i / by' > half.py
fanfold run --local half.py --times 3 --json 2> /dev/null
fanfold run half.py --times 3
fanfold script push half.py
fanfold script list --type user | cut -f 1,2
fanfold token > token.txt
fanfold serve --port 0 2>&1 || echo "status $?"
"""
SERVER = {"fastapi", "sqlalchemy", "pydantic", "duckdb", "pyarrow", "uvicorn", "orjson"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The very file that a user installs."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (made,) = folder.glob("*.whl")
    return made


def interpreter(version: str) -> str | None:
    """Find an interpreter of a version that starts; a shim that leads nowhere does not."""
    found = shutil.which(f"python{version}")
    candidates = [found] if found else []
    candidates += map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")))
    for python in candidates:
        done = subprocess.run([python, "-c", ""], capture_output=True, check=False)
        if done.returncode == 0:
            return python
    return None


@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_alone_is_a_client_on_another_python(
    server: Server, wheel: Path, tmp_path: Path, version: str
) -> None:
    """`pip install` of it in a fresh environment: the client and its commands, and no server."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} is not here")
    uv = Path(sys.executable).with_name("uv")
    place = tmp_path / "environment"
    subprocess.run([uv, "venv", "--quiet", "--no-config", "--python", python, place], check=True)
    installed = subprocess.run(
        [uv, "pip", "install", "--no-config", "--system-certs", "--python", place, wheel],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        pytest.skip(f"its libraries cannot be had: {installed.stderr.splitlines()[-1]}")
    brought = {line.split()[1].partition("==")[0] for line in installed.stderr.splitlines()
               if line.startswith(" + ")}  # fmt: skip
    assert {"fanfold", "httpx2", "click", "rich"} <= brought
    assert brought & SERVER == set()
    (tmp_path / "program.py").write_text(PROGRAM)
    variables = {
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "FANFOLD_URL": server.url,
        "FANFOLD_USERNAME": "alice",
        "FANFOLD_PASSWORD": PASSWORD,
    }

    def ran(*command: str | Path) -> list[str]:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=100,
            cwd=tmp_path,
            env=variables,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    first, *helped = ran(place / "bin" / "python", "-W", "error::SyntaxWarning", "program.py")
    assert first == f"{version} division by zero"
    assert any(line.startswith("  script ") for line in helped)
    assert not any(line.startswith("  serve ") for line in helped)
    assert "The server is not installed:" in helped
    with Client(server.url, username="alice", password=PASSWORD) as client:
        (left,) = client.jobs.list(comments=f"left by {version}")
        assert client.job(left.id).result(60) == [4]
    lacks, local, *there = ran("bash", "-c", SHELL)
    assert "the parameter rng needs numpy" in lacks
    assert local == '{"result": [0.5, 1, 1.5]}'
    assert there[:3] == ["0.5", "1", "1.5"]
    assert "half\tALICE" in there
    assert "pip install 'fanfold[server]'" in there[-2]
    assert there[-1] == "status 2"
