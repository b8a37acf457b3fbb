"""Put together what makes the environments that functions run in, and the sandbox around them.

A part of `compose`, apart from it, so that the operator's commands for environments do not load the
web framework.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from fanfold_server.engine.cgroup import Groups
from fanfold_server.engine.delegation import GroupsMissing, find_groups
from fanfold_server.engine.ladder import IsolationMissing, Ladder, Rung, climb, require
from fanfold_server.engine.limits import Limits, Tiers
from fanfold_server.engine.options import EngineOptions
from fanfold_server.engine.probing import Prober
from fanfold_server.engine.running import RunLimits
from fanfold_server.engine.sandbox import Openings, Sandbox
from fanfold_server.environments.folders import Folders
from fanfold_server.environments.parcels import Parcels
from fanfold_server.environments.places import Places
from fanfold_server.environments.port import Installer
from fanfold_server.environments.rattler import CondaCommand, Rattler
from fanfold_server.environments.shelf import BuiltShelf
from fanfold_server.environments.uv import Uv
from fanfold_server.model.apply import ServiceLevel
from fanfold_server.model.environment import Environment, Maker, Warm
from fanfold_server.model.network import Networks
from fanfold_server.service.carrying import Carrying
from fanfold_server.service.provisioning import Provisioning
from fanfold_server.settings import MIB, LevelLimits, Settings, SettingsError
from fanfold_server.state import open_state
from fanfold_server.store.port import EnvironmentUses


def engine_options(settings: Settings) -> EngineOptions:
    """Say how much the engine may use."""
    return EngineOptions(
        workers=settings.workers,
        pools=settings.pools,
        max_queued_runs=settings.max_queued_runs,
        reuse=settings.reuse,
        preload=settings.preload,
        warm_memory_mib=settings.warm_memory_mib,
        threads=settings.worker_threads,
        limits=RunLimits(
            max_len=settings.max_output_len,
            max_value_bytes=settings.max_value_mib * MIB,
            max_log_bytes=settings.max_log_kib * 1024,
            refuse_output=settings.print_is_error,
        ),
    )


async def open_sandbox(settings: Settings) -> Sandbox:
    """Find out what isolation works here, and say in the log what is missing.

    Raises:
        SettingsError: it is not what the settings ask for.
    """
    try:
        ladder = await asyncio.to_thread(climb, settings.isolation)
        require(ladder, settings.isolation_required)
    except IsolationMissing as exc:
        raise SettingsError(str(exc)) from exc
    groups = await asyncio.to_thread(open_groups, settings)
    if isinstance(groups, str) and settings.cgroup == "required":
        raise SettingsError(f"cgroup: required, and no control group can be made: {groups}")
    sandbox = make_sandbox(settings, ladder, groups)
    said = sandbox.describe()
    log = structlog.get_logger("fanfold_server")
    say = log.warning if ladder.rung < Rung.CONFINED else log.info
    say(
        "isolation",
        **{key: said[key] for key in ("rung", "own_user_id", "network", "cgroup", "missing")},
    )
    return sandbox


def open_groups(settings: Settings) -> Groups | str:
    """Find out whether control groups work here; return why not if they do not."""
    if settings.cgroup == "off":
        return "not asked for"
    try:
        return find_groups(make_tiers(settings)[0])
    except GroupsMissing as exc:
        return str(exc)


def make_tiers(settings: Settings) -> Tiers:
    """Say what holds at which service level."""
    usual = Limits(
        memory_mib=settings.worker_memory_mib,
        files=settings.worker_files,
        processes=settings.worker_processes,
        file_mib=settings.worker_file_mib,
        tmp_mib=settings.worker_tmp_mib,
        output_mib=settings.worker_output_mib,
        cpu_s=settings.worker_cpu_s,
        cpus=settings.worker_cpus,
        call_s=settings.call_timeout_s,
    )
    return Tiers(
        usual,
        {level: _level_limits(usual, given) for level, given in settings.levels.items()},
    )


def _level_limits(usual: Limits, given: LevelLimits) -> Limits:
    said = given.model_dump(exclude_none=True, exclude={"run_timeout_s", "call_timeout_s"})
    call_s = usual.call_s if given.call_timeout_s is None else given.call_timeout_s
    return replace(usual, call_s=call_s, **said)


def level_timeouts(settings: Settings) -> dict[ServiceLevel, int]:
    """List how long a run may take at the levels that say so, in s."""
    return {
        level: given.run_timeout_s
        for level, given in settings.levels.items()
        if given.run_timeout_s is not None
    }


def make_sandbox(settings: Settings, ladder: Ladder, groups: Groups | str) -> Sandbox:
    """Make what the settings say of what works here."""
    return Sandbox(
        make_tiers(settings),
        ladder,
        Openings(
            network=make_networks(settings),
            readable=settings.worker_reads,
            writable=settings.worker_writes,
        ),
        allow_root=settings.allow_root_functions,
        groups=groups,
    )


def make_networks(settings: Settings) -> Networks:
    """Read what functions may reach, as the operator says it."""
    return Networks(settings.network, settings.network_hosts)


def opened_once(settings: Settings) -> Callable[[], Awaitable[Sandbox]]:
    """Open the sandbox when it is first asked for, and keep it: trying what works takes time."""
    opened: list[Sandbox] = []

    async def sandbox() -> Sandbox:
        if not opened:
            opened.append(await open_sandbox(settings))
        return opened[0]

    return sandbox


def make_shelf(settings: Settings, sandbox: Callable[[], Awaitable[Sandbox]]) -> BuiltShelf:
    """Put together what is built here, and what builds it."""
    places = Places(settings.environments_folder)
    uv = Uv(places.cache / "uv")
    installers: dict[Maker, Installer] = {
        Maker.UV: uv,
        Maker.RATTLER: Rattler(places.cache / "conda", uv),
        Maker.CONDA: CondaCommand(Maker.CONDA, uv),
        Maker.MAMBA: CondaCommand(Maker.MAMBA, uv),
        Maker.MICROMAMBA: CondaCommand(Maker.MICROMAMBA, uv),
    }

    async def confine(environment: Environment, command: Sequence[str]) -> list[str]:
        return (await sandbox()).around_builder(environment, command)

    return BuiltShelf(places, installers, make_prober(settings, sandbox), confine)


def make_prober(
    settings: Settings, sandbox: Callable[[], Awaitable[Sandbox]], cache: Path | None = None
) -> Prober:
    """Put together what starts an environment to see whether it works.

    Args:
        cache: for what speeds up their start; None: the server's own.
    """
    return Prober(
        options=engine_options(settings), sandbox=sandbox, cache=cache or settings.data / "cache"
    )


def make_carrying(settings: Settings, provisioning: Provisioning, shelf: BuiltShelf) -> Carrying:
    """Put together who brings environments from one server to another."""
    return Carrying(provisioning, shelf, Parcels(Places(settings.environments_folder)))


def make_folders(settings: Settings, shelf: BuiltShelf) -> Folders:
    """Find environments by name."""
    return Folders(
        folders=(settings.environments_folder, *settings.environment_dirs),
        default=settings.default_environment,
        fallback=Path(sys.prefix),
        shelf=shelf,
    )


@asynccontextmanager
async def open_provisioning(
    settings: Settings,
    shelf: BuiltShelf,
    uses: EnvironmentUses,
    warm: Callable[[], list[Warm]] = list,
) -> AsyncIterator[Provisioning]:
    """Open who decides about environments; builds that go on at the end are ended."""
    provisioning = Provisioning(
        shelf,
        uses,
        users_may=settings.user_environments,
        per_user=settings.max_user_environments,
        warm=warm,
        networks=make_networks(settings),
    )
    try:
        yield provisioning
    finally:
        await provisioning.close()


@asynccontextmanager
async def open_workshop(settings: Settings) -> AsyncIterator[tuple[Provisioning, BuiltShelf]]:
    """Open as much as the operator's commands need; a server may run beside it."""
    async with open_state(settings) as store:
        shelf = make_shelf(settings, opened_once(settings))
        async with open_provisioning(settings, shelf, store.environments) as provisioning:
            yield provisioning, shelf
