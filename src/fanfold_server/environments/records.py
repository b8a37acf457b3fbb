"""Manifests and build records: JSON files beside the environments, each replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from fanfold_server.model.environment import Build, BuildState, Made, Maker, Recipe


def write_whole(path: Path, text: str) -> None:
    """Write a file so that others see the old one or all of the new one, also after a crash."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def made_text(made: Made) -> str:
    """Write a manifest."""
    values = asdict(made)
    values |= {"prefix": str(made.prefix), "created": made.created.isoformat()}
    return json.dumps(values, indent=1)


def read_made(path: Path) -> Made | None:
    """Read a manifest; None if there is none."""
    values = _read(path)
    if values is None:
        return None
    preload = values["preload"]
    values |= {
        "recipe": recipe_from(values["recipe"]),
        "prefix": Path(values["prefix"]),
        "created": datetime.fromisoformat(values["created"]),
        "preload": None if preload is None else tuple(preload),
    }
    return Made(**values)


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """Read a recipe back."""
    lists = {
        name: tuple(values[name]) for name in ("channels", "packages", "requirements", "options")
    }
    return Recipe(
        kind=values["kind"],
        maker=Maker(values["maker"]),
        python=values["python"],
        variables=dict(values["variables"]),
        **lists,
    )


def build_text(build: Build) -> str:
    """Write the record of a build."""
    values = asdict(build)
    values["created"] = build.created.isoformat()
    values["finished"] = build.finished.isoformat() if build.finished else None
    return json.dumps(values)


def read_build(path: Path) -> Build | None:
    """Read the record of a build; None if there is none."""
    values = _read(path)
    if values is None:
        return None
    values["state"] = BuildState(values["state"])
    values["created"] = datetime.fromisoformat(values["created"])
    if values["finished"]:
        values["finished"] = datetime.fromisoformat(values["finished"])
    return Build(**values)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return values
