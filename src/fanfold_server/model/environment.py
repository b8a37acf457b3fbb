"""A named environment: an interpreter with its packages, what it is made from, how it is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

DEFAULT_ENVIRONMENT = "default"
"""The name of the environment in which a run without `envName` takes place."""

APPLICATION = "OML4PY"
"""The value of the tag `application` of an environment in which functions run."""


class Maker(StrEnum):
    """What solves and installs: uv for virtual environments, the others for conda's."""

    UV = "uv"
    RATTLER = "rattler"
    CONDA = "conda"
    MAMBA = "mamba"
    MICROMAMBA = "micromamba"


class BuildState(StrEnum):
    """Where a build is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self in {BuildState.READY, BuildState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment or conda prefix that the server may start.

    Attributes:
        name: what `envName` says.
        prefix: the directory that holds `bin/python`.
        kind: `venv` or `conda`.
        variables: what the interpreter's process is given besides the server's own list.
        version: of an environment that was built here, 1, 2, …; None for any other.
        preload: modules that its workers have imported before a run; None: the server's setting.
        use: a file that is locked, shared, for as long as processes run there; its time says when
            that was last. None: whoever removes the environment does not ask us.
    """

    name: str
    prefix: Path
    kind: str
    variables: dict[str, str] = field(default_factory=dict)
    version: int | None = None
    preload: tuple[str, ...] | None = None
    use: Path | None = None

    @property
    def interpreter(self) -> Path:
        return self.prefix / "bin" / "python"

    @property
    def label(self) -> str:
        """Its name, with the version if it has one: `seaborn@3`."""
        return self.name if self.version is None else f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an environment is made from.

    Attributes:
        kind: `venv` or `conda`.
        python: of a virtual environment: "3.11", ">=3.10"; None: the server's choice.
        channels: of a conda environment, the first is asked first.
        packages: conda's match specs.
        requirements: Python packages, as pip knows them.
        options: lines of a requirements.txt that say where packages come from.
        variables: set in every process that runs there.
    """

    kind: str
    maker: Maker
    python: str | None = None
    channels: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A locked environment that was brought here with all of its packages.

    Attributes:
        name: what it was called where it was made.
        lock: as it was saved there.
        at_hand: the same lock, but every package lies on this disk.
    """

    name: str
    recipe: Recipe
    description: str
    tags: Mapping[str, str]
    lock: str
    at_hand: str

    @property
    def lock_digest(self) -> str:
        """SHA-256 of the lock, in hexadecimal."""
        return hashlib.sha256(self.lock.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An environment that somebody wants.

    Attributes:
        owner: the account that orders it, or PYQSYS for the operator.
        replaces: whether it may become a new version of one that is there.
        parcel: what it is installed from; None: what its recipe is solved to.
    """

    name: str
    owner: str
    recipe: Recipe
    description: str
    tags: Mapping[str, str]
    replaces: bool = False
    parcel: Parcel | None = None

    def is_met_by(self, made: Made) -> bool:
        """Tell whether a version is what is wanted, leaving description and tags aside."""
        if self.parcel is not None:
            return made.lock_digest == self.parcel.lock_digest
        return made.recipe.digest == self.recipe.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A version of an environment that was built here; never changed once made.

    Attributes:
        python: its interpreter's version, such as 3.11.2.
        packages: name → version.
        variables: of its recipe, and what its activation has set.
        preload: see `Environment`.
        lock_digest: SHA-256 of its lock, which names every package by address and hash.
    """

    name: str
    version: int
    owner: str
    recipe: Recipe
    description: str
    tags: Mapping[str, str]
    prefix: Path
    python: str
    packages: Mapping[str, str]
    size_bytes: int
    variables: Mapping[str, str]
    preload: tuple[str, ...] | None
    lock_digest: str
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The making of a version, as it stands.

    Attributes:
        step: in a word: solve, install, compile, activate, probe, ready.
        progress: 0 … 1.
        version: that it has made, or has found to be there already; None before.
        error: why it failed.
    """

    id: str
    name: str
    owner: str
    digest: str
    state: BuildState
    step: str
    progress: float
    created: datetime
    finished: datetime | None = None
    version: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What the interpreter of an environment says of itself when it is started.

    Attributes:
        python: its version.
        preload_failures: module → the traceback of its import.
    """

    python: str
    preload_failures: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """An interpreter that has started, and its workers.

    Attributes:
        environment: its name.
        version: None for one that was not built here.
        busy: how many of the workers have something to do.
        preloaded: somebody has asked for it to be there.
    """

    owner: str
    environment: str
    version: int | None
    workers: int
    busy: int
    preloaded: bool
