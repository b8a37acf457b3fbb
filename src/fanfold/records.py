"""What the server says about scripts, tables, jobs and environments, as plain records.

Members that a newer server may add are left out; those that it lacks have a default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

R = TypeVar("R")

_WORD = re.compile(r"_([a-z])")

FINAL = frozenset({"succeeded", "partly_failed", "failed", "cancelled", "timed_out"})
"""The states in which a job has ended."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A version of a stored function; `source` is empty in listings."""

    name: str
    owner: str
    version: int
    digest: str = ""
    entry: str = ""
    description: str | None = None
    created: str = ""
    is_global: bool = False
    grantee: str | None = None
    source: str = ""

    def get_source(self) -> str:
        """Give the text, by the name that OML4Py has for it."""
        return self.source


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table on the server; `columns` are names with SQL's names of their types."""

    name: str
    owner: str
    rows: int
    columns: list[dict[str, str]]
    size_bytes: int = 0
    created: str = ""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An environment in which functions run."""

    name: str
    description: str | None = None
    size: str = ""
    number_of_installed_packages: int = 0
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class BuiltEnvironment:
    """An environment that the server has built; `version` is the one in which runs take place.

    Attributes:
        packages: name and version of each.
        jobs: how many jobs want it that have not ended, by owner.
    """

    name: str
    version: int
    versions: list[int]
    owner: str = ""
    description: str = ""
    tags: Mapping[str, str] | None = None
    kind: str = ""
    maker: str = ""
    python: str = ""
    package_count: int = 0
    size_bytes: int = 0
    created: str = ""
    last_used: str | None = None
    jobs: Mapping[str, int] | None = None
    packages: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Build:
    """The making of an environment.

    Attributes:
        state: waiting, running, ready or failed.
        step: of it: wait, solve, install, compile, activate, probe or ready.
        progress: how much is done: 0 to 1.
        version: that it has made, or has found.
    """

    id: str
    name: str
    state: str
    step: str = ""
    progress: float = 0.0
    owner: str = ""
    created: str = ""
    finished: str | None = None
    version: int | None = None
    error: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in {"ready", "failed"}


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """A job as it stood when the server was asked.

    Attributes:
        times: how many calls; `returned` and `failed` of them have an outcome.
        eta: seconds that the rest will take, with the ends of their band; None if not known.
        error: why it has no result, if it has none.
        result_table: name, state (waiting, written, failed) and error of the table as which the
            result is written.
        stopped: `at` and `asked`, of a job that ended before its last call because its mean was
            known well enough.
    """

    id: str
    state: str
    verb: str
    script: Mapping[str, Any]
    times: int
    returned: int
    failed: int
    waiting: int = 0
    taken: int = 0
    ahead: int = 0
    owner: str = ""
    environment: str = ""
    seed: int = 0
    graphics: bool = False
    service: str = ""
    degree: int = 1
    on_error: str = "fail"
    canary: bool = False
    timeout: int = 0
    comments: str | None = None
    created: str = ""
    started: str | None = None
    finished: str | None = None
    elapsed_s: float | None = None
    rate_per_s: float | None = None
    eta: Mapping[str, float] | None = None
    error: Mapping[str, Any] | None = None
    parameters: str = "{}"
    result_table: Mapping[str, Any] | None = None
    stopped: Mapping[str, int] | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in FINAL

    @property
    def first_index(self) -> int:
        """The index of its first call."""
        return 0 if self.verb in {"do-eval", "table-apply"} else 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one call of a job."""

    index: int
    state: str
    attempts: int = 0
    elapsed_us: int | None = None
    peak_kib: int | None = None
    log: str = ""
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ErrorGroup:
    """Calls that failed alike; `sample` has their lowest indexes."""

    count: int
    code: int
    type: str
    line: str
    pattern: str
    message: str
    sample: list[int]


def read(kind: type[R], members: Mapping[str, Any]) -> R:
    """Make a record of what the server sent, whose names are in camel case."""
    found: dict[str, Any] = {}
    for name in (part.name for part in fields(kind)):  # type: ignore[arg-type]  # ours are
        for spelt in (name, _camel(name), name.removeprefix("is_")):
            if spelt in members:
                found[name] = members[spelt]
                break
    return kind(**found)


def _camel(name: str) -> str:
    return _WORD.sub(lambda found: found[1].upper(), name)
