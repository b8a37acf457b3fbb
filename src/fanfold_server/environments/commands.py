"""Running what solves and installs: programs of others, which write much and take long.

Each is started in a session of its own with variables of our making, gives up privileges that it
has not yet, and is killed when we are: nothing goes on building for a server that is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fanfold_server.model.errors import BuildFailed

LIMIT_S = 3600.0
"""How long one program may take."""

_TAIL_BYTES = 4_000
"""What of its last words an error shows."""

# Set before the program is there, and kept by it: PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS.
_LAUNCH = (
    "import ctypes, os, resource, sys\n"
    "prctl = ctypes.CDLL(None).prctl\n"
    "prctl(1, 9, 0, 0, 0); prctl(38, 1, 0, 0, 0)\n"
    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    "if os.getppid() != int(sys.argv[1]): os._exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)
_PASSED = (
    "HOME",
    "PATH",
    "LANG",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "NETRC",
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
"""Variables that say how the world is reached; every other of ours stays with us."""

_PASSED_PREFIXES = ("UV_", "PIP_", "CONDA_", "MAMBA_", "RATTLER_")
_KEPT_BACK = frozenset({"CONDA_PREFIX", "CONDA_DEFAULT_ENV", "CONDA_SHLVL", "UV_PROJECT"})


def variables(more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a program: how the world is reached, and `more`."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if (name in _PASSED or name.startswith(_PASSED_PREFIXES)) and name not in _KEPT_BACK
    }
    return {**passed, "PYTHONNOUSERSITE": "1", **more}


async def run(
    argv: Sequence[str],
    *,
    log: Path,
    guard: int,
    more: Mapping[str, str] | None = None,
    limit_s: float = LIMIT_S,
    tolerated: frozenset[int] = frozenset(),
    is_said: bool = True,
) -> None:
    """Run a program to its end; what it writes goes to the log.

    Args:
        argv: the first is an absolute path.
        guard: a descriptor that it inherits.
        more: variables on top of those that it needs.
        tolerated: exit statuses besides 0 that are no failure.
        is_said: whether the log begins with the command itself.

    Raises:
        BuildFailed: it ended badly, or took too long; with its last words.
    """
    launch = (sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()))
    with log.open("ab") as output:
        if is_said:
            output.write(f"$ {' '.join(argv)}\n".encode())
            output.flush()
        began = output.tell()
        process = await asyncio.create_subprocess_exec(
            *launch,
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=variables(more or {}),
            cwd="/",
            pass_fds=(guard,),
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(limit_s):
            status = await process.wait()
    except TimeoutError as exc:
        raise BuildFailed(f"{Path(argv[0]).name} took longer than {limit_s:g} s.") from exc
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if status and status not in tolerated:
        words = await asyncio.to_thread(_last_words, log, began)
        raise BuildFailed(f"{Path(argv[0]).name} ended with {status}: {words}")


def _last_words(log: Path, began: int) -> str:
    return log.read_bytes()[began:][-_TAIL_BYTES:].decode("utf-8", "replace").strip()
