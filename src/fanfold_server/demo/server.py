"""A throw-away server: its own process, port, data directory and account, all gone at the end."""

from __future__ import annotations

import os
import secrets
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fanfold_server.demo.ending import Ending

START_LIMIT_S = 60
STOP_LIMIT_S = 15
USER = "DEMO"
_READY = b"fanfold is ready at "
_NEEDED = ("numpy", "pandas", "matplotlib", "seaborn")


class ServerFailed(Exception):
    """The server could not be started; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrowAway:
    """A server that runs. `log` is the file with what it writes to stderr."""

    url: str
    user: str
    password: str
    log: Path


@contextmanager
def throw_away(folder: Path, *, environment: Path, ending: Ending) -> Iterator[ThrowAway]:
    """Start a server with an account, and stop it again.

    Args:
        folder: an empty directory; everything of the server's lies below it.
        environment: prefix of the environment for runs; registered as `seaborn`, too.
        ending: may interrupt the start, but never between a process and what ends it.

    Raises:
        ServerFailed: the environment is none, lacks a package, or the server did not start.
    """
    data, log = folder / "data", folder / "server.log"
    password = secrets.token_urlsafe(18)
    here = ("--data", str(data))
    with ending.interruptible():
        _refuse_incomplete(environment)
        _run("user", "add", USER, "--password-stdin", *here, stdin=password)
        _run("env", "register", "seaborn", str(environment), *here)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*_fanfold(), "serve", *here, "--port", "0", "--default-environment", str(environment)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env=_variables(),
            start_new_session=True,  # Ctrl-C is ours to answer
        )
    try:
        with ending.interruptible():
            url = _wait_until_ready(process, log)
        yield ThrowAway(url=url, user=USER, password=password, log=log)
    finally:
        _stop(process)


def _fanfold() -> list[str]:
    """Give the command that starts the `fanfold` of this very installation."""
    program = Path(sys.executable).with_name("fanfold")
    if program.exists():
        return [str(program)]
    return [sys.executable, "-c", "from fanfold.cli import main; main(prog_name='fanfold')"]


def _variables() -> dict[str, str]:
    """Give this process's variables without settings that the person who runs us may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FANFOLD_")}


def _run(*arguments: str, stdin: str = "") -> None:
    done = subprocess.run(
        [*_fanfold(), *arguments],
        input=stdin + "\n",
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        env=_variables(),
        check=False,
    )
    if done.returncode:
        raise ServerFailed(f"`fanfold {' '.join(arguments[:2])}` failed:\n{done.stderr.strip()}")


def _refuse_incomplete(environment: Path) -> None:
    """See to it that the functions of the demo find what they import."""
    python = environment / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise ServerFailed(f"{environment} is no environment: there is no bin/python in it")
    code = (
        "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if not u.find_spec(n)])"
    )
    done = subprocess.run(
        [python, "-I", "-c", code, *_NEEDED],
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )
    missing = done.stdout.split() if done.returncode == 0 else [f"a Python that runs ({python})"]
    if missing:
        raise ServerFailed(
            f"the environment {environment} lacks {', '.join(missing)}; name one that has "
            f"{', '.join(_NEEDED)} by --environment (`make setup` makes one)"
        )


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Read the server's first line, which says its address."""
    assert process.stdout is not None
    deadline = time.monotonic() + START_LIMIT_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            line = process.stdout.readline()
            if line.startswith(_READY):
                return line.removeprefix(_READY).decode().strip()
            if not line:
                break
    raise ServerFailed(f"the server did not start:\n{log.read_text(errors='replace').strip()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server; killed only when it does not end by itself."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_LIMIT_S)
    finally:
        if process.stdout is not None:
            process.stdout.close()
