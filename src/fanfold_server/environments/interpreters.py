"""The Pythons of this machine, for virtual environments."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from fanfold_server.model.errors import BuildFailed

OLDEST = (3, 9)
_ASK = "import sys; print(sys.implementation.name, *sys.version_info[:3])"
_ASK_LIMIT_S = 20.0
_WANTED = re.compile(r"(>=)?(\d+)\.(\d+)(?:\.(\d+))?")

Version = tuple[int, ...]


def choose(wanted: str | None) -> Path:
    """Return the interpreter for a virtual environment; blocks while Pythons are asked.

    Those that every user may start come first: where the server is root, workers are others.

    Args:
        wanted: "3.11", "3.11.4", ">=3.10"; None: whatever there is.

    Raises:
        BuildFailed: there is none; names those that there are.
    """
    found: dict[Path, Version] = {}
    for path in _candidates():
        version = version_of(path)
        if version is not None and version >= OLDEST:
            found[path] = version
            if _fits(version, wanted):
                return path
    there = ", ".join(sorted({".".join(map(str, v)) for v in found.values()})) or "none"
    raise BuildFailed(f"There is no Python {wanted} on this machine; there are: {there}.")


def known() -> list[tuple[Path, Version]]:
    """List the Pythons of this machine that are not too old; blocks while they are asked."""
    asked = ((path, version_of(path)) for path in _candidates())
    return [(path, version) for path, version in asked if version and version >= OLDEST]


def _fits(version: Version, wanted: str | None) -> bool:
    if wanted is None:
        return True
    match = _WANTED.fullmatch(wanted)
    if match is None:
        raise BuildFailed(f'"{wanted}" is no version of Python: write 3.11, 3.11.4 or >=3.10.')
    least = tuple(int(part) for part in match.groups()[1:] if part is not None)
    return version >= least if match[1] else version[: len(least)] == least


def _candidates() -> Iterator[Path]:
    own = Path(getattr(sys, "_base_executable", None) or sys.executable)
    found = [own, *_installed()]
    seen: set[Path] = set()
    for path in sorted(found, key=lambda path: not _is_open(path)):  # stable: own first of its kind
        real = path.resolve()
        if real not in seen:
            seen.add(real)
            yield path


def _installed() -> Iterator[Path]:
    folders = [Path("/usr/bin"), Path("/usr/local/bin")]
    folders += [Path(folder) for folder in os.get_exec_path()]
    for root in (Path(os.environ.get("PYENV_ROOT", "~/.pyenv")), Path("~/.local/share/uv/python")):
        folders += sorted(root.expanduser().glob("*/*/bin" if root.name == ".pyenv" else "*/bin"))
    for folder in dict.fromkeys(folders):
        if folder.name != "shims":
            named = [path for path in folder.glob("python3.*") if _minor(path) >= 0]
            yield from sorted(named, key=_minor, reverse=True)


def _minor(path: Path) -> int:
    digits = path.name.partition(".")[2]
    return int(digits) if digits.isdigit() else -1


def _is_open(path: Path) -> bool:
    """Tell whether every user may reach the interpreter."""
    try:
        return all(folder.stat().st_mode & 0o001 for folder in path.resolve(strict=True).parents)
    except OSError:
        return False


@lru_cache(maxsize=128)
def version_of(interpreter: Path) -> Version | None:
    """Ask an interpreter for its version; None if it is no CPython, or does not answer."""
    try:
        done = subprocess.run(
            [interpreter, "-I", "-S", "-c", _ASK],
            capture_output=True,
            text=True,
            timeout=_ASK_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    name, *numbers = done.stdout.split()
    return tuple(map(int, numbers)) if name == "cpython" else None
