"""A named environment: an interpreter with its packages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_ENVIRONMENT = "default"
"""The name of the environment in which a run without `envName` takes place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment or conda prefix that the server may start.

    Attributes:
        name: what `envName` says.
        prefix: the directory that holds `bin/python`.
        kind: `venv` or `conda`.
        variables: what the interpreter's process is given besides the server's own list.
    """

    name: str
    prefix: Path
    kind: str
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def interpreter(self) -> Path:
        return self.prefix / "bin" / "python"
