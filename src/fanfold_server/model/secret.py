"""A text that functions need and nobody else may see: a key, a password."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretInfo:
    """What may be told of a secret: all but its value. `changed` is aware, UTC."""

    name: str
    changed: datetime
    scripts: tuple[str, ...]
