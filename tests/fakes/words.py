"""Scripts and applies as tests need them: what is not said is of no interest to the test."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from fanfold_server.model.apply import Apply, Input, OnError, ServiceLevel, Split
from fanfold_server.model.environment import Environment
from fanfold_server.model.script import Script

NOWHERE = Environment(name="default", prefix=Path("/nowhere"), kind="venv")
"""An environment for tests that run nothing."""


def script_of(source: str, *, owner: str = "ALICE", entry: str = "f") -> Script:
    """Give a script with this text, as if it had just been stored."""
    return Script(
        name=entry,
        owner=owner,
        version=1,
        digest=sha256(source.encode()).hexdigest(),
        source=source,
        entry=entry,
        description=None,
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )


def apply_of(
    script: Script,
    split: Split,
    *,
    environment: Environment = NOWHERE,
    degree: int = 2,
    graphics: bool = False,
    on_error: OnError = OnError.FAIL,
    rows: Input | None = None,
) -> Apply:
    """Give what the script's owner asks for, when it is to be run."""
    return Apply(
        script=script,
        environment=environment,
        caller=script.owner,
        split=split,
        parameters=b"{}",
        degree=degree,
        seed=1,
        graphics=graphics,
        service=ServiceLevel.LOW,
        on_error=on_error,
        input=rows,
    )
