"""What stands between a user's code and the host: the *basic* rung.

A zygote is started in a session of its own, with an environment of our making, a private working
directory, resource limits, no new privileges and, where the server is root and the interpreter can
be reached by others, under a user id of its own. `describe` says what is in force and what is not.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold_server.model.environment import Environment

FIRST_UID = 70_000
"""User ids from here on, one a zygote, are taken when the server is root; none needs an entry."""

UIDS = 65_536
"""How many are used in turn. Each server begins somewhere else: two may share a machine."""

_THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one worker process may take.

    Attributes:
        memory_mib: private memory (RLIMIT_DATA), in MiB.
        files: open descriptors.
        processes: processes of the worker's user id; in force only with an own user id.
        file_mib: largest file, in MiB.
    """

    memory_mib: int
    files: int
    processes: int
    file_mib: int


class Sandbox:
    """Prepares how zygotes are started.

    Args:
        limits: of each worker process.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._is_root = os.geteuid() == 0
        self._first_uid = secrets.randbelow(UIDS)
        self._reachable: dict[Path, bool] = {}

    def uid_for(self, environment: Environment, number: int, bundle: Path) -> int | None:
        """Return the user id for zygote `number`, or None if it must share the server's."""
        if not self._is_root:
            return None
        uid = FIRST_UID + (self._first_uid + number) % UIDS
        if environment.prefix not in self._reachable:
            self._reachable[environment.prefix] = _is_open(environment, bundle)
        return uid if self._reachable[environment.prefix] else None

    def rlimits(self, uid: int | None) -> dict[str, int]:
        """Return the resource limits of a zygote, by the names of Python's `resource` module."""
        limits = {
            "CORE": 0,
            "DATA": self._limits.memory_mib << 20,
            "NOFILE": self._limits.files,
            "FSIZE": self._limits.file_mib << 20,
        }
        if uid is not None:
            limits["NPROC"] = self._limits.processes
        return limits

    def variables(self, environment: Environment, home: Path) -> dict[str, str]:
        """Return the whole environment of a zygote; nothing of the server's own leaks in."""
        prefix = environment.prefix
        variables = {
            "PATH": f"{prefix / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "MPLBACKEND": "Agg",
            "MPLCONFIGDIR": str(home / "mpl"),
            # the order of a set of strings must not depend on the process
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            **dict.fromkeys(_THREAD_LIMITS, "1"),
        }
        if environment.kind == "conda":
            variables |= {"CONDA_PREFIX": str(prefix), "CONDA_DEFAULT_ENV": environment.name}
        else:
            variables["VIRTUAL_ENV"] = str(prefix)
        return variables | environment.variables

    def describe(self) -> dict[str, Any]:
        """Return the rung and what is missing, for /health and the log."""
        missing = ["file system and network are not confined (the coming rungs)"]
        if not self._is_root:
            missing.append("workers share the server's user id (the server is not root)")
        unreachable = [str(p.name) for p, ok in self._reachable.items() if not ok]
        if unreachable:
            missing.append(f"interpreter unreachable for other user ids: {', '.join(unreachable)}")
        return {
            "rung": "basic",
            "own_user_id": self._is_root and not unreachable,
            "no_new_privileges": True,
            "limits": {
                "memory_mib": self._limits.memory_mib,
                "files": self._limits.files,
                "file_mib": self._limits.file_mib,
            },
            "missing": missing,
        }


def _is_open(environment: Environment, bundle: Path) -> bool:
    """Tell whether other user ids can start the environment's interpreter on the bundle.

    Judged by permissions, link by link, and not by trying: an interpreter that hangs would hold the
    server up.
    """
    try:
        interpreter = environment.interpreter
        real = interpreter.resolve(strict=True)
        library = next((real.parent.parent / "lib").glob("python3*/os.py"))
        return all(_is_reachable(path) for path in (*_links(interpreter), real, library, bundle))
    except (OSError, StopIteration):
        return False


def _links(path: Path) -> Iterator[Path]:
    """Yield the path and, as long as it is a symbolic link, what it points to."""
    yield path
    while path.is_symlink():
        path = path.parent / path.readlink()
        yield path


def _is_reachable(path: Path) -> bool:
    """Tell whether everyone may read the file and pass through every directory on the way."""
    folders = all(folder.stat().st_mode & stat.S_IXOTH for folder in path.absolute().parents)
    return folders and bool(path.stat().st_mode & stat.S_IROTH)
