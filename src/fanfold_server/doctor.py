"""`fanfold doctor`: what works on this host, what is missing, and what that leaves open.

Isolation, what builds environments, and the environments themselves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import platform
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fanfold_server.engine.sandbox import Sandbox
    from fanfold_server.settings import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Directory of the server's state.  [FANFOLD_DATA]",
)
@click.option(
    "--environments",
    type=click.Path(path_type=Path),
    help="Directory of environments, if not DATA/environments.  [FANFOLD_ENVIRONMENTS]",
)
def doctor(*, as_json: bool, **place: Path | None) -> None:
    """Try what works here, and say what is missing and what that leaves open.

    Each rung of isolation is tried by running a program behind it, and each environment by starting
    it as it is started for runs. The exit status is 1 if the settings ask for more isolation than
    works.
    """
    from fanfold_server.settings import SettingsError, load_settings

    try:
        settings = load_settings({name: path for name, path in place.items() if path is not None})
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
    from fanfold_server.workshop import make_networks, make_sandbox, open_groups

    networks = make_networks(settings)
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
    sandbox = make_sandbox(settings, ladder, groups)
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
        "isolation": sandbox.describe(),
        "network": {name: networks.of(name).label for name in networks.names},
        "rungs": rungs,
        **_examine_environments(settings, sandbox),
    }


def _examine_environments(settings: Settings, sandbox: Sandbox) -> dict[str, Any]:
    """Start each environment, and look for what makes them."""
    import structlog

    from fanfold_server.environments.survey import builders, pythons, survey
    from fanfold_server.workshop import make_folders, make_prober, make_shelf

    async def opened() -> Sandbox:
        return sandbox

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folders = make_folders(settings, make_shelf(settings, opened))
    where = (settings.environments_folder, *settings.environment_dirs)
    with TemporaryDirectory() as cache:  # the server's own stays as it is
        probe = make_prober(settings, opened, cache=Path(cache))
        findings = asyncio.run(survey(folders, where, probe))
    return {
        "builders": [asdict(builder) for builder in builders()],
        "pythons": pythons(),
        "default_is_own_interpreter": folders.uses_own_interpreter,
        "environments": [asdict(finding) for finding in findings],
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
    lines += [f"network of {name}: {label}" for name, label in report["network"].items()]
    lines += [f"missing: {text}" for text in isolation["missing"]]
    if report["refused"]:
        lines.append(f"the server does not start: {report['refused']}")
    lines.append("what makes environments:")
    for builder in report["builders"]:
        state = builder["found"] or f"not there: {builder['hint']}"
        lines.append(f"  {builder['name']:10} {builder['makes']:6} {state}")
    lines.append(f"  Pythons for virtual environments: {', '.join(report['pythons']) or 'none'}")
    lines.append("environments:")
    for finding in report["environments"]:
        lines += _about(finding)
    if report["default_is_own_interpreter"]:
        lines.append(
            "  runs that name none take place beside the server's packages: set default_environment"
        )
    return lines


def _about(finding: dict[str, Any]) -> list[str]:
    name = finding["name"] + (f"@{finding['version']}" if finding["version"] else "")
    if finding["trouble"]:
        return [f"  {name:20} does not work: {finding['trouble']}", f"    {finding['prefix']}"]
    lines = [f"  {name:20} works: {finding['kind']}, Python {finding['python']}"]
    lines += [f"    lacks {package}: no {what}" for package, what in finding["lacks"].items()]
    lines += [
        f"    {module} cannot be imported: {why}" for module, why in finding["broken"].items()
    ]
    return lines
