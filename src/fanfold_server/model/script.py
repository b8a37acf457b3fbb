"""A stored function: an immutable version of a source text, owned and named."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fanfold_server.model.network import ScriptNetwork


class ScriptType(StrEnum):
    """Which scripts a listing holds (the compatible wire's `scriptType`).

    `user` one's own; `all` every script that one may use; `global` those everyone may use;
    `grant` those one granted to others; `granted` those others granted to oneself.
    """

    USER = "user"
    ALL = "all"
    GLOBAL = "global"
    GRANT = "grant"
    GRANTED = "granted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One version of a script. Two versions with the same `digest` hold the same source.

    Attributes:
        name: as stored; matched exactly.
        owner: account name in upper case, or PYQSYS for a global script.
        version: 1, 2, … in the order of publishing.
        digest: SHA-256 of the UTF-8 source text, 64 hexadecimal digits.
        entry: the name of the function that is called.
        created: when this version was published, aware, UTC.
        network: what has been decided of the network for all versions; None: nothing.
    """

    name: str
    owner: str
    version: int
    digest: str
    source: str
    entry: str
    description: str | None
    created: datetime
    network: ScriptNetwork | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A right to run a script. `grantee` is an account name, or None for everyone."""

    name: str
    owner: str
    grantee: str | None
