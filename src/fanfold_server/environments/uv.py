"""Virtual environments by uv: the `Installer` of the port for recipes of the kind `venv`.

The lock is a pylock.toml (PEP 751): every wheel by address and hash. Wheels only: what has to be
built first would run code of its makers' with the server's rights.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from fanfold_server.environments import interpreters
from fanfold_server.environments.commands import run
from fanfold_server.model.environment import Recipe
from fanfold_server.model.errors import BuildFailed

LOCK_HEADER = "# fanfold: Python "
"""The first line of a lock: for which Python it holds."""

_MIRRORED = (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("SSL_CERT_FILE", "PIP_CERT"))
"""What the operator has told pip, uv is told, too, if it has not been told by itself."""


class Uv:
    """Runs uv.

    Args:
        cache: uv's cache; on the disk of the environments, files are shared with it.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    async def lock(self, recipe: Recipe, log: Path, guard: int) -> str:
        python = await asyncio.to_thread(interpreters.choose, recipe.python)
        version = interpreters.version_of(python)
        assert version is not None  # else it had not been chosen
        text = await self.resolve(recipe, python, log, guard)
        return f"{LOCK_HEADER}{'.'.join(map(str, version))}\n{text}"

    async def install(self, recipe: Recipe, lock: str, prefix: Path, log: Path, guard: int) -> str:
        _ = recipe  # everything is in the lock
        header = lock.partition("\n")[0]
        python = await asyncio.to_thread(
            interpreters.choose, header.removeprefix(LOCK_HEADER).rpartition(".")[0]
        )
        await self._run(
            ["venv", "--no-project", "--python", str(python), str(prefix)], log=log, guard=guard
        )
        await self.sync(lock, prefix, log, guard)
        return lock

    async def resolve(
        self,
        recipe: Recipe,
        interpreter: Path,
        log: Path,
        guard: int,
        *,
        python: str | None = None,
        without: Sequence[str] = (),
    ) -> str:
        """Resolve a recipe's requirements for an interpreter; gives a pylock.toml.

        Args:
            python: the version to resolve for, if not the interpreter's own.
            without: names of packages that are there by other means.
        """
        folder = _beside(log)
        wanted, lock = folder / "requirements.in", folder / "pylock.toml"
        wanted.write_text("\n".join([*recipe.options, *recipe.requirements]) + "\n")
        (folder / "without.txt").write_text("\n".join(without) + "\n")
        version = ("--python-version", python) if python else ()
        try:
            await self._run(
                [
                    *("--quiet", "pip", "compile", "--no-header", "--only-binary", ":all:"),
                    *("--format", "pylock.toml", "--python", str(interpreter), *version),
                    *("--excludes", str(folder / "without.txt")),
                    *("--output-file", str(lock), str(wanted)),
                ],
                log=log,
                guard=guard,
            )
            return lock.read_text()
        finally:
            shutil.rmtree(folder)

    async def sync(self, lock: str, prefix: Path, log: Path, guard: int) -> None:
        """Install exactly what a pylock.toml names."""
        if not tomllib.loads(lock).get("packages"):
            return
        folder = _beside(log)
        (folder / "pylock.toml").write_text(lock)
        argv = ["pip", "install", "--no-deps", "--only-binary", ":all:", "--python", str(prefix)]
        try:
            await self._run(
                [*argv, "--requirements", str(folder / "pylock.toml")], log=log, guard=guard
            )
        finally:
            shutil.rmtree(folder)

    async def _run(self, argv: Sequence[str], *, log: Path, guard: int) -> None:
        more = {
            "UV_CACHE_DIR": str(self._cache),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_PREVIEW_FEATURES": "pylock",
            "UV_NO_PROGRESS": "1",
            "UV_SYSTEM_CERTS": os.environ.get("UV_SYSTEM_CERTS", "1"),
        }
        for name, other in _MIRRORED:
            if name not in os.environ and other in os.environ:
                more[name] = os.environ[other]
        await run([str(find_uv()), "--no-config", *argv], log=log, guard=guard, more=more)


def find_uv() -> Path:
    """Find the program: the one that came with the server, else one on the path.

    Raises:
        BuildFailed: there is none.
    """
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
    if found is None:
        raise BuildFailed('uv is not installed: it is in "fanfold[server]".')
    return Path(found)


def _beside(log: Path) -> Path:
    folder = log.with_suffix(".uv")
    folder.mkdir()
    return folder
