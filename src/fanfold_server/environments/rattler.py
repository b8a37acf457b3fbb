"""Conda environments by py-rattler, or by a conda that is on the machine: `Installer`s.

The lock is a JSON object: `python`, the interpreter's version; `conda`, each package with its
address and hash; `pip`, a pylock.toml of what a pip section asks for besides, or null.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fanfold_server.environments import interpreters
from fanfold_server.environments.commands import run
from fanfold_server.environments.uv import Uv
from fanfold_server.model.environment import Maker, Recipe
from fanfold_server.model.errors import BuildFailed

_PROCESS = "fanfold_server.environments.rattler_process"


class Rattler:
    """Solves and installs with py-rattler, in a process of its own.

    Args:
        cache: where packages are kept; files of environments are shared with it.
        uv: for pip sections.
    """

    def __init__(self, cache: Path, uv: Uv) -> None:
        self._cache = cache
        self._uv = uv

    async def lock(self, recipe: Recipe, log: Path, guard: int) -> str:
        order = {"channels": list(recipe.channels), "specs": list(recipe.packages)}
        packages = await self._do("solve", order, log, guard)
        return await lock_text(packages, recipe, self._uv, log, guard)

    async def install(self, recipe: Recipe, lock: str, prefix: Path, log: Path, guard: int) -> str:
        _ = recipe  # everything is in the lock
        locked = json.loads(lock)
        order = {"packages": locked["conda"], "prefix": str(prefix), "cache": str(self._cache)}
        await self._do("install", order, log, guard)
        if locked["pip"]:
            await self._uv.sync(locked["pip"], prefix, log, guard)
        return lock

    @staticmethod
    async def _do(verb: str, order: Mapping[str, Any], log: Path, guard: int) -> list[Any]:
        if importlib.util.find_spec("rattler") is None:
            raise BuildFailed('py-rattler is not installed: it is in "fanfold[conda]".')
        asked, answer = log.with_suffix(f".{verb}"), log.with_suffix(f".{verb}ed")
        asked.write_text(json.dumps(order))
        argv = [sys.executable, "-P", "-m", _PROCESS, verb, str(asked), str(answer)]
        try:
            await run(argv, log=log, guard=guard)
            done: list[Any] = json.loads(answer.read_text())
        finally:
            asked.unlink()
            answer.unlink(missing_ok=True)
        return done


class CondaCommand:
    """Has a conda, mamba or micromamba of this machine make environments.

    What it has installed is the lock: from `conda-meta`, each package with its address and hash.

    Args:
        maker: the program's name.
        uv: for pip sections.
    """

    def __init__(self, maker: Maker, uv: Uv) -> None:
        self._maker = maker
        self._uv = uv

    async def lock(self, recipe: Recipe, log: Path, guard: int) -> str:
        _ = log, guard  # it solves as it installs
        self._program()
        return _environment_yml(recipe)

    async def install(self, recipe: Recipe, lock: str, prefix: Path, log: Path, guard: int) -> str:
        asked = log.with_suffix(".yml")
        asked.write_text(lock)
        verb = ["create", "--yes"] if self._maker is Maker.MICROMAMBA else ["env", "create"]
        argv = [self._program(), *verb, "--prefix", str(prefix), "--file", str(asked)]
        try:
            await run(argv, log=log, guard=guard)
        finally:
            asked.unlink()
        packages = await asyncio.to_thread(_installed, prefix)
        final = await lock_text(packages, recipe, self._uv, log, guard)
        locked = json.loads(final)
        if locked["pip"]:
            await self._uv.sync(locked["pip"], prefix, log, guard)
        return final

    def _program(self) -> str:
        found = shutil.which(self._maker)
        if found is None:
            raise BuildFailed(f"There is no {self._maker} on this machine's path.")
        return found


async def lock_text(
    packages: list[dict[str, Any]], recipe: Recipe, uv: Uv, log: Path, guard: int
) -> str:
    """Write a lock, after solving the pip section for what is there besides."""
    python = next((p["version"] for p in packages if p["name"] == "python"), None)
    if python is None:
        raise BuildFailed('There is no interpreter among the packages: add "python".')
    pip = None
    if recipe.requirements:
        host = await asyncio.to_thread(interpreters.choose, None)
        names = [package["name"] for package in packages]
        pip = await uv.resolve(recipe, host, log, guard, python=python, without=names)
    return json.dumps({"python": python, "conda": packages, "pip": pip}, indent=1)


def _environment_yml(recipe: Recipe) -> str:
    # Without "nodefaults", conda would also ask channels that the recipe does not name.
    channels = [*recipe.channels, "nodefaults"]
    document = {"channels": channels, "dependencies": list(recipe.packages)}
    return yaml.safe_dump(document, sort_keys=False)


def _installed(prefix: Path) -> list[dict[str, Any]]:
    """List what conda's records say is installed."""
    wanted = ("name", "version", "build", "build_number", "subdir", "noarch", "depends",
              "constrains", "channel", "url", "size", "sha256", "md5")  # fmt: skip
    found = []
    for path in sorted(prefix.glob("conda-meta/*.json")):
        record = json.loads(path.read_text())
        known = {name: record.get(name) for name in wanted}
        known |= {
            "depends": known["depends"] or [],
            "constrains": known["constrains"] or [],
            "site_packages": record.get("python_site_packages_path"),
            "file_name": record.get("fn") or re.sub(r".*/", "", record.get("url") or path.stem),
        }
        found.append(known)
    return found
