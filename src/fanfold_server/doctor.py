"""`fanfold doctor`: what isolation works on this host, what is missing, what that leaves open."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fanfold_server.settings import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Directory of the server's state.  [FANFOLD_DATA]",
)
def doctor(*, as_json: bool, data: Path | None) -> None:
    """Try what isolation works here, and say what is missing and what that leaves open.

    Each rung of the ladder is tried by running a program behind it. The exit status is 1 if the
    settings ask for more than works.
    """
    from fanfold_server.settings import SettingsError, load_settings

    try:
        settings = load_settings({} if data is None else {"data": data})
    except SettingsError as exc:
        raise click.ClickException(str(exc)) from exc
    report = examine(settings)
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(_lines(report)))
    if not report["ok"]:
        raise SystemExit(1)


def examine(settings: Settings) -> dict[str, Any]:
    """Return what `doctor --json` prints."""
    from fanfold_server.engine.ladder import (
        OPEN_WITHOUT,
        IsolationMissing,
        Rung,
        climb,
        require,
    )
    from fanfold_server.workshop import make_sandbox, open_groups

    whole = climb(try_all=True)
    reason = None
    try:
        ladder = climb(settings.isolation)
        require(ladder, settings.isolation_required)
    except IsolationMissing as exc:
        ladder, reason = whole, str(exc)
    groups = open_groups(settings)
    if isinstance(groups, str) and settings.cgroup == "required":
        reason = reason or f"cgroup: required, and no control group can be made: {groups}"
    rungs = [
        {
            "rung": rung.word,
            "works": rung not in whole.why_not,
            "in_force": rung is ladder.rung,
            "why_not": whole.why_not.get(rung),
            "open_without": OPEN_WITHOUT.get(rung),
        }
        for rung in Rung
    ]
    return {
        "ok": reason is None,
        "refused": reason,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "landlock": whole.landlock,
        "cgroup": {
            "works": not isinstance(groups, str),
            "why_not": groups if isinstance(groups, str) else None,
            "controllers": {} if isinstance(groups, str) else groups.describe(),
        },
        "isolation": make_sandbox(settings, ladder, groups).describe(),
        "rungs": rungs,
    }


def _lines(report: dict[str, Any]) -> list[str]:
    isolation = report["isolation"]
    lines = [f"isolation: {isolation['rung']} (Linux {report['kernel']})"]
    for rung in report["rungs"]:
        state = "works" if rung["works"] else f"does not work: {rung['why_not']}"
        lines.append(f"  {rung['rung']:9} {state}{', in force' if rung['in_force'] else ''}")
    groups = report["cgroup"]
    state = ", ".join(f"{name} ({version})" for name, version in groups["controllers"].items())
    state = f"works: {state}" if groups["works"] else f"does not work: {groups['why_not']}"
    lines.append(f"  {'cgroup':9} {state}")
    lines += [f"missing: {text}" for text in isolation["missing"]]
    if report["refused"]:
        lines.append(f"the server does not start: {report['refused']}")
    return lines
