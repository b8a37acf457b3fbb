"""Environments that lie in folders: each child that holds an interpreter, by its own name.

A virtual environment has `pyvenv.cfg`, a conda prefix `conda-meta/history`; a symbolic link to one
gives it another name. A name is looked up in the listing, never joined to a path.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fanfold_server.environments.places import bytes_below
from fanfold_server.environments.shelf import BuiltShelf
from fanfold_server.model.actor import Actor
from fanfold_server.model.environment import APPLICATION, DEFAULT_ENVIRONMENT, Environment, Made
from fanfold_server.model.errors import UnknownEnvironment

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What an environment may be called."""

FRESH_S = 1.0
"""How old a listing of the folders may be when a name is looked up."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What is below a prefix that was not built here.

    Attributes:
        changed: when its package folders last did, as their times say.
        packages: how many.
        python: `major.minor`, from the name of its library folder.
    """

    changed: float
    size_bytes: int
    packages: int
    python: str


def kind_of(prefix: Path) -> str | None:
    """Say what kind of environment lies in a directory: `venv`, `conda`, or None for no such."""
    if not os.access(prefix / "bin" / "python", os.X_OK):
        return None
    if (prefix / "conda-meta" / "history").is_file():
        return "conda"
    if (prefix / "pyvenv.cfg").is_file():
        return "venv"
    return None


class Folders:
    """The environments in some folders; the `Environments` of the port.

    Args:
        folders: searched in this order; the first that has a name wins. They need not exist.
        default: prefix for runs that name no environment; without it the one called "default",
            else `fallback`.
        fallback: the prefix of the server's own interpreter.
        shelf: knows which of them were built here, and their versions; None: none was.
    """

    def __init__(
        self,
        *,
        folders: Iterable[Path],
        default: Path | None,
        fallback: Path,
        shelf: BuiltShelf | None = None,
    ) -> None:
        self._folders = tuple(folders)
        self._shelf = shelf
        self._default = default
        self._fallback = fallback
        self._known: dict[str, Environment] = {}
        self._read_at = float("-inf")
        self._contents: dict[Path, _Contents] = {}

    def find(self, name: str | None, version: int | None = None) -> Environment:
        if version is not None:
            return self._of_version(name or DEFAULT_ENVIRONMENT, version)
        now = time.monotonic()
        if now - self._read_at > FRESH_S:
            before = self._known
            # What is as it was stays the very object: whoever compares it has done so in a moment.
            self._known = {
                e.name: before[e.name] if before.get(e.name) == e else e for e in self._scan()
            }
            self._read_at = now
        found = self._known.get(name or DEFAULT_ENVIRONMENT)
        if found is None:
            raise _unknown(name or DEFAULT_ENVIRONMENT, list(self._known))
        return found

    def all(self) -> list[Environment]:
        """List what `find` finds now, by name."""
        return sorted({e.name: e for e in self._scan()}.values(), key=lambda e: e.name)

    def _of_version(self, name: str, version: int) -> Environment:
        made = self._shelf.find(name, version) if self._shelf and NAME.fullmatch(name) else None
        if self._shelf is None or made is None:
            raise UnknownEnvironment(
                f'There is no version {version} of an environment "{name}" on this machine.',
                field="envName",
            )
        return self._shelf.environment(made)

    @property
    def uses_own_interpreter(self) -> bool:
        """Whether runs that name no environment take place beside the server's own packages."""
        return self.find(None).prefix == self._fallback

    def _scan(self) -> Iterator[Environment]:
        """Yield what is there; of one name the last wins."""
        yield Environment(name=DEFAULT_ENVIRONMENT, prefix=self._fallback.resolve(), kind="venv")
        for folder in reversed(self._folders):
            try:
                children = sorted(folder.iterdir())
            except OSError:  # it need not exist
                continue
            for child in children:
                kind = kind_of(child) if NAME.fullmatch(child.name) else None
                environment = self._environment(child.name, child, kind) if kind else None
                if environment is not None:
                    yield environment
        if self._default is not None:
            kind = kind_of(self._default) or "venv"
            chosen = self._environment(DEFAULT_ENVIRONMENT, self._default, kind)
            if chosen is not None:
                yield chosen

    def _environment(self, name: str, prefix: Path, kind: str) -> Environment | None:
        """Describe what lies at a path; None for a version of ours that is not whole."""
        real = prefix.resolve()
        if self._shelf is not None and self._shelf.has(real):
            made = self._shelf.at(real)
            return None if made is None else replace(self._shelf.environment(made), name=name)
        return Environment(name=name, prefix=real, kind=kind)

    async def listing(self, actor: Actor) -> list[dict[str, object]]:
        _ = actor  # every environment is everyone's
        self.find(None)
        return await asyncio.to_thread(self._describe_all, list(self._known.values()))

    def _describe_all(self, environments: list[Environment]) -> list[dict[str, object]]:
        return [self._describe(e) for e in sorted(environments, key=lambda e: e.name)]

    def _describe(self, environment: Environment) -> dict[str, object]:
        prefix = environment.prefix
        made = self._shelf.at(prefix) if self._shelf is not None else None
        if made is not None:
            return _described(environment.name, made)
        contents = self._contents_of(prefix)
        return {
            "size": human_size(contents.size_bytes),
            "name": environment.name,
            "description": f"{environment.kind} environment with Python {contents.python}",
            "number_of_installed_packages": contents.packages,
            "tags": {"python": contents.python, "application": APPLICATION},
        }

    def _contents_of(self, prefix: Path) -> _Contents:
        """Look what is below a prefix; anew only when one of its package folders has changed."""
        sites = _site_packages(prefix)
        changed = max((p.stat().st_mtime for p in (*sites, *_records(prefix))), default=0.0)
        known = self._contents.get(prefix)
        if known is None or known.changed != changed:
            known = self._contents[prefix] = _Contents(
                changed=changed,
                size_bytes=bytes_below(prefix),
                packages=len(_packages(prefix, sites)),
                python=sites[0].parent.name.removeprefix("python") if sites else "unknown",
            )
        return known


def _described(name: str, made: Made) -> dict[str, object]:
    return {
        "size": human_size(made.size_bytes),
        "name": name,
        "description": made.description,
        "number_of_installed_packages": len(made.packages),
        "tags": dict(made.tags),
    }


def human_size(size_bytes: int) -> str:
    """Write a size for people: `1.7 GiB`."""
    size = float(size_bytes)
    for unit in _UNITS[:-1]:
        if size < _STEP:
            return f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} {_UNITS[-1]}"


def _unknown(name: str, known: list[str]) -> UnknownEnvironment:
    near = difflib.get_close_matches(name, known, n=1)
    guess = f'; did you mean "{near[0]}"?' if near else "."
    return UnknownEnvironment(
        f'The member "envName" is {json.dumps(name[:80])}: there is no environment of this name; '
        f"there are {', '.join(sorted(known))}{guess}",
        field="envName",
    )


def _site_packages(prefix: Path) -> list[Path]:
    return list(prefix.glob("lib/python3*/site-packages"))


def _records(prefix: Path) -> list[Path]:
    """Return the folder of conda's records, if there is one."""
    folder = prefix / "conda-meta"
    return [folder] if folder.is_dir() else []


def _packages(prefix: Path, sites: list[Path]) -> set[str]:
    names = {p.name for site in sites for p in site.glob("*.dist-info")}
    return names | {p.name for p in prefix.glob("conda-meta/*.json")}
