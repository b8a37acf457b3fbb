"""The client on the oldest Python that it promises, and on the newest that is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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

from fanfold.cli import main

main(["--help"], standalone_mode=False)
main(["script", "list", "--type", "global"], standalone_mode=False)
"""
METADATA = "Metadata-Version: 2.4\nName: fanfold\nVersion: 0\n"
ENTRY_POINTS = "[fanfold.commands]\nserver = fanfold_server.cli:commands\n"


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


@pytest.mark.timeout(150)
@pytest.mark.parametrize("version", PYTHONS)
def test_a_client_on_another_python_talks_to_the_server(
    server: Server, tmp_path: Path, version: str
) -> None:
    """With the libraries that are made for that version, and nothing of the server's."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} is not here")
    libraries = tmp_path / "libraries"
    installed = subprocess.run(
        [
            *(Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--no-config"),
            *("--system-certs", "--target", libraries, "--python", python),
            *("httpx2>=2.14,<3", "click>=8.5", "rich>=15"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode != 0:
        pytest.skip(f"its libraries cannot be had: {installed.stderr.splitlines()[-1]}")
    folder = libraries / "fanfold-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA)
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [python, "-W", "error::SyntaxWarning", program],
        capture_output=True,
        text=True,
        timeout=100,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{libraries}",
            "FANFOLD_URL": server.url,
            "FANFOLD_USERNAME": "alice",
            "FANFOLD_PASSWORD": PASSWORD,
        },
        check=False,
    )
    first, *helped = done.stdout.splitlines()
    assert first == f"{version} division by zero", done.stderr
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("  script ") for line in helped)
