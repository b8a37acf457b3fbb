"""The making of one version: install, compile, activate, probe, measure. Nothing is kept here.

    lock ──▶ install ──▶ compile ──▶ activate ──▶ probe ──▶ read-only

What the packages bring along (the interpreter, activation scripts, what an import runs) is only
ever executed in the sandbox: by the probe, as users' functions are, or to compile, which may write
to the prefix. Installing unpacks; it runs nothing of theirs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from fanfold_server.environments.activation import ACTIVATE, is_needed
from fanfold_server.environments.compiling import compile_all
from fanfold_server.environments.places import bytes_below, make_read_only
from fanfold_server.environments.port import Confine, Installer, Probe
from fanfold_server.model.environment import Environment, Hello, Made, Maker, Recipe
from fanfold_server.model.errors import BuildFailed

_PROBE = "def probe():\n    return 1\n"

Say = Callable[[str, float], None]


class Making:
    """Makes versions.

    Args:
        installers: who solves and installs.
        probe: starts interpreters as runs do.
        confine: puts a command into the sandbox.
        say: is told each step, and how much is done: 0 … 1.
    """

    def __init__(
        self,
        installers: Mapping[Maker, Installer],
        probe: Probe,
        confine: Confine,
        *,
        say: Say,
    ) -> None:
        self._installers = installers
        self._probe = probe
        self._confine = confine
        self._say = say

    async def lock(self, recipe: Recipe, log: Path, guard: int) -> str:
        """Decide which packages exactly; see `Installer.lock`."""
        return await self._installer(recipe).lock(recipe, log, guard)

    async def make(
        self,
        made: Made,
        lock: str,
        log: Path,
        guard: int,
        environment_of: Callable[[Made], Environment],
    ) -> tuple[Made, str]:
        """Make what is described, and describe what was made.

        Args:
            made: all but what only the finished prefix can tell.

        Returns:
            The version, and its lock.

        Raises:
            BuildFailed: a step failed; the prefix may be half there.
        """
        prefix = made.prefix
        self._say("install", 0.1)
        lock = await self._installer(made.recipe).install(made.recipe, lock, prefix, log, guard)
        self._say("compile", 0.5)
        environment = replace(environment_of(made), use=None)
        await compile_all(environment, self._confine, log, guard)
        await asyncio.to_thread(make_read_only, prefix)
        self._say("activate", 0.7)
        environment = await self._activate(environment)
        self._say("probe", 0.8)
        hello, environment = await self._try(environment, log)
        packages, size_bytes = await asyncio.to_thread(_measure, prefix)
        finished = replace(
            made,
            python=hello.python,
            packages=packages,
            size_bytes=size_bytes,
            variables=environment.variables,
            preload=environment.preload,
        )
        return finished, lock

    async def _activate(self, environment: Environment) -> Environment:
        """Find the variables that activation sets; a recipe's own come last."""
        if not is_needed(environment.prefix):
            return environment
        bare = replace(environment, preload=())
        _, values = await self._probe(bare, (ACTIVATE,))
        return replace(environment, variables={**json.loads(values[0]), **environment.variables})

    async def _try(self, environment: Environment, log: Path) -> tuple[Hello, Environment]:
        """Start it and call something; once more without preloading if that does not work."""
        try:
            hello, _ = await self._probe(environment, (_PROBE, _PROBE))
        except BuildFailed as exc:
            _note(log, f"{exc.message}\ntrying without preloading")
            environment = replace(environment, preload=())
            hello, _ = await self._probe(environment, (_PROBE, _PROBE))
        for module, traceback in hello.preload_failures.items():
            _note(log, f"{module} cannot be imported:\n{traceback}")
        return hello, environment

    def _installer(self, recipe: Recipe) -> Installer:
        installer = self._installers.get(recipe.maker)
        if installer is None:
            raise BuildFailed(f"This server cannot make environments with {recipe.maker}.")
        return installer


def digest_of(lock: str) -> str:
    """Tell locks apart: SHA-256, in hexadecimal."""
    return hashlib.sha256(lock.encode()).hexdigest()


def _note(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text + "\n")


def _measure(prefix: Path) -> tuple[dict[str, str], int]:
    return packages_in(prefix), bytes_below(prefix)


def packages_in(prefix: Path) -> dict[str, str]:
    """List what is installed, by the names of its records: conda's first, then pip's."""
    found: dict[str, str] = {}
    for record in prefix.glob("conda-meta/*.json"):
        name, version, _build = record.stem.rsplit("-", 2)
        found[name] = version
    for folder in prefix.glob("lib/python3*/site-packages/*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        found.setdefault(name.lower().replace("_", "-"), version)
    return dict(sorted(found.items()))
