"""What a setting can be besides a number or a text: lists, and the limits of a service level."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode

from fanfold_server.model.apply import ServiceLevel
from fanfold_server.model.callback import Hosts
from fanfold_server.model.identity import ALGORITHMS, check_address, read_roles
from fanfold_server.model.network import host_list


class SettingsError(Exception):
    """A setting has a wrong value. The message has a line for each, naming it."""


class LevelLimits(BaseModel):
    """What a worker may take in runs at one service level; what is not given is as for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_mib: int | None = Field(
        None, ge=64, description="In place of `worker_memory_mib`, in MiB."
    )
    cpu_s: int | None = Field(None, ge=1, description="In place of `worker_cpu_s`, in s.")
    cpus: float | None = Field(None, gt=0, description="In place of `worker_cpus`.")
    processes: int | None = Field(None, ge=1, description="In place of `worker_processes`.")
    files: int | None = Field(None, ge=64, description="In place of `worker_files`.")
    file_mib: int | None = Field(None, ge=1, description="In place of `worker_file_mib`, in MiB.")
    tmp_mib: int | None = Field(None, ge=1, description="In place of `worker_tmp_mib`, in MiB.")
    output_mib: int | None = Field(
        None, ge=1, description="In place of `worker_output_mib`, in MiB."
    )
    call_timeout_s: int | None = Field(
        None, ge=1, description="In place of `call_timeout_s`, in s."
    )
    run_timeout_s: int | None = Field(
        None,
        ge=1,
        le=43200,
        description="In place of `sync_timeout_s`, and the longest time of a job, in s.",
    )


def _paths(value: object) -> object:
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


def _names(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _are_hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    Hosts(value)
    return value


def _are_modules(value: tuple[str, ...]) -> tuple[str, ...]:
    for module in value:
        if not all(part.isidentifier() for part in module.split(".")):
            raise ValueError(f'"{module}" is not the name of a module')
    return value


def _are_roles(value: tuple[str, ...]) -> tuple[str, ...]:
    read_roles(value)
    return value


def _are_algorithms(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if name not in ALGORITHMS:
            raise ValueError(f'"{name}" is none of {", ".join(ALGORITHMS)}')
    return value


def _is_address(value: str) -> str:
    check_address(value)
    return value


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as exc:
        raise ValueError(f"should be a JSON object: {exc}") from exc


Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths)]
"""As text separated as in PATH."""

Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
"""As text separated by commas."""

HostNames = Annotated[Names, AfterValidator(_are_hosts)]
NetworkHosts = Annotated[Names, AfterValidator(host_list)]
ModuleNames = Annotated[Names, AfterValidator(_are_modules)]
RoleNames = Annotated[Names, AfterValidator(_are_roles)]
AlgorithmNames = Annotated[Names, AfterValidator(_are_algorithms)]
ProviderAddress = Annotated[str, AfterValidator(_is_address)]

Levels = Annotated[Mapping[ServiceLevel, LevelLimits], NoDecode, BeforeValidator(_json)]
"""As text, a JSON object; in the file, a table for each level."""


def default_data() -> Path:
    """Say where the server keeps its state if nobody says otherwise."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "fanfold"


def default_workers() -> int:
    """Give as many workers as there are processors for us, and enough for one run at `HIGH`."""
    return max(8, len(os.sched_getaffinity(0)))


def default_threads() -> int:
    """Give as many threads as there are processors for us, and at most four."""
    return min(4, len(os.sched_getaffinity(0)))
