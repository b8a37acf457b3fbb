"""What there is to run in and to build with, and what is wrong with it: for whoever looks after it.

Each environment is started as it is for runs, so that what is said is what runs will find. Nothing
is changed: neither is its last use noted, nor does anybody wait for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fanfold_server.environments.folders import NAME, Folders, kind_of
from fanfold_server.environments.interpreters import known
from fanfold_server.environments.places import Places
from fanfold_server.environments.port import Probe
from fanfold_server.environments.uv import find_uv
from fanfold_server.model.environment import Environment, Maker
from fanfold_server.model.errors import BuildFailed

SERVES = {
    "numpy": 'rows of "input" and the argument rng',
    "pandas": 'rows of "input" as DataFrames',
    "pyarrow": 'rows of "input"',
    "matplotlib": '"graphicsFlag"',
}
"""What an environment without a package cannot do; each such request is a 400 that says so."""

AT_ONCE = 2

_LOOK = f"""
def look():
    import importlib.util

    def is_there(name):
        try:
            return importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            return False

    return [name for name in {tuple(SERVES)!r} if not is_there(name)]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """What makes environments.

    Attributes:
        makes: `venv` or `conda`.
        found: where it is, or which version; None: it is not there.
        hint: how it could be had.
    """

    name: str
    makes: str
    found: str | None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of looking at an environment, or at what should be one.

    Attributes:
        python: its version; None where it does not start.
        trouble: why nothing runs there; None: it works.
        lacks: package → what cannot be done without it.
        broken: module → the last line of what came of importing it before runs.
    """

    name: str
    prefix: str
    kind: str | None = None
    version: int | None = None
    python: str | None = None
    trouble: str | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)


def builders() -> list[Builder]:
    """Look for everything that could make environments here."""
    try:
        uv: str | None = str(find_uv())
    except BuildFailed:
        uv = None
    try:
        rattler: str | None = version("py-rattler")
    except PackageNotFoundError:
        rattler = None
    hint = "not on the path; only needed if asked for"
    return [
        Builder(name=Maker.UV, makes="venv", found=uv, hint='it is in "fanfold[server]"'),
        Builder(name=Maker.RATTLER, makes="conda", found=rattler, hint='it is in "fanfold[conda]"'),
        *(
            Builder(name=maker, makes="conda", found=shutil.which(maker), hint=hint)
            for maker in (Maker.CONDA, Maker.MAMBA, Maker.MICROMAMBA)
        ),
    ]


def pythons() -> dict[str, str]:
    """List the Pythons of virtual environments: version → interpreter. Blocks: each is asked."""
    found = {".".join(map(str, number)): str(path) for path, number in known()}
    return dict(sorted(found.items(), key=lambda item: [int(n) for n in item[0].split(".")]))


async def survey(folders: Folders, where: Iterable[Path], probe: Probe) -> list[Finding]:
    """Look at all environments, by name; then at what should be one and is none.

    Args:
        where: the directories in which environments lie.
    """
    environments = folders.all()
    room = asyncio.Semaphore(AT_ONCE)

    async def look(environment: Environment) -> Finding:
        async with room:
            return await _tried(environment, probe)

    found = await asyncio.gather(*map(look, environments))
    names = {environment.name for environment in environments}
    return [*found, *await asyncio.to_thread(lambda: [*_unusable(where, names)])]


async def _tried(environment: Environment, probe: Probe) -> Finding:
    finding = Finding(
        name=environment.name,
        prefix=str(environment.prefix),
        kind=environment.kind,
        version=environment.version,
    )
    try:
        hello, values = await probe(replace(environment, use=None), (_LOOK,))
    except BuildFailed as exc:
        return replace(finding, trouble=exc.message)
    return replace(
        finding,
        python=hello.python,
        lacks={name: what for name, what in SERVES.items() if name in json.loads(values[0])},
        broken={
            module: text.strip().splitlines()[-1] if text.strip() else ""
            for module, text in hello.preload_failures.items()
        },
    )


def _unusable(where: Iterable[Path], names: set[str]) -> Iterator[Finding]:
    for folder in where:
        if not folder.is_dir():
            continue
        for child in sorted(folder.iterdir()):
            if NAME.fullmatch(child.name) and child.name not in names and _may_be_meant(child):
                yield Finding(name=child.name, prefix=str(child), trouble=_why_none(child))
        yield from _left_behind(Places(folder))


def _may_be_meant(child: Path) -> bool:
    return child.is_symlink() or child.is_dir()


def _why_none(child: Path) -> str:
    """Say what keeps a directory from being an environment."""
    if child.is_symlink() and not child.exists():
        return f"it is a link to {child.readlink()}, which is not there"
    python = child / "bin" / "python"
    if python.is_symlink() and not python.exists():
        return f"its interpreter is a link to {python.resolve()}, which is not there"
    if not python.exists():
        return "it has no bin/python"
    if not os.access(python, os.X_OK):
        return "its bin/python may not be executed"
    if kind_of(child) is None:
        return "neither pyvenv.cfg nor conda-meta/history says that it is an environment"
    return "it is a version that is not whole"


def _left_behind(places: Places) -> Iterator[Finding]:
    """Find what killed builds have left: it takes room until the next build of that name."""
    for prefix in sorted(places.versions.glob("*/*/")):
        name = prefix.parent.name
        if not places.manifest(name, int(prefix.name)).exists() and not places.is_held(name):
            yield Finding(
                name=f"{name}@{prefix.name}",
                prefix=str(prefix),
                trouble="a build that was killed has left it; the next of that name removes it",
            )
