"""Settings of what functions run in: environments, workers, and the walls around them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from fanfold_server.settings.types import (
    Levels,
    ModuleNames,
    Names,
    NetworkHosts,
    Paths,
    default_workers,
)


class EnvironmentSettings(BaseModel):
    """Environments."""

    environments: Path | None = Field(
        None,
        description="Directory in which environments are built and registered; otherwise "
        "DATA/environments. A server that root starts runs functions under other user ids: these "
        "have to reach it.",
    )
    environment_dirs: Paths = Field(
        (),
        description="Directories in which environments are looked for besides; "
        'several are separated by ":".',
    )
    default_environment: Path | None = Field(
        None,
        description="Prefix of the environment for runs that name none; otherwise the environment "
        'called "default", otherwise the server\'s own interpreter.',
    )
    preload: ModuleNames = Field(
        ("numpy", "pandas", "matplotlib.pyplot"),
        description="Modules that workers have imported before a run, where the environment has "
        'them; several are separated by ",".',
    )
    user_environments: bool = Field(
        False, description="Let every user make environments, of names and versions of packages."
    )
    max_user_environments: int = Field(
        10, ge=1, description="Environments that one user may have, who is no administrator."
    )
    preload_lifetime_s: int = Field(
        3600,
        ge=1,
        description="How long what is preloaded is kept started, in s.",
    )
    max_user_preloads: int = Field(
        2, ge=1, description="Environments that one user may keep started at once."
    )


class WorkerSettings(BaseModel):
    """Workers."""

    workers: int = Field(
        default_factory=default_workers, ge=1, le=4096, description="Worker processes busy at once."
    )
    pools: int = Field(
        16,
        ge=1,
        description="Owners and environments that may have workers at once; the least recently "
        "used makes room for another.",
    )
    reuse: Literal["auto", "warm", "fork"] = Field(
        "auto",
        description="warm: a worker serves many runs of its owner; fork: each run has fresh ones; "
        "auto: warm for the caller's own scripts, fresh for those of others.",
    )
    warm_memory_mib: int = Field(
        8192,
        ge=0,
        description="Memory of interpreters and workers that are idle, all together, in MiB; "
        "beyond it, those that were used least recently are ended.",
    )
    worker_memory_mib: int = Field(
        4096, ge=64, description="Memory of a worker with all that it starts, in MiB."
    )
    worker_files: int = Field(1024, ge=64, description="Open files of a worker.")
    worker_processes: int = Field(
        512,
        ge=1,
        description="Processes and threads that a worker may have with all that it starts; without "
        "a control group, those of all workers of one owner together.",
    )
    worker_cpu_s: int | None = Field(
        None,
        ge=1,
        description="Processor time that one call may take, all its processes together, in s; "
        "looked at four times a second.",
    )
    worker_cpus: float | None = Field(
        None,
        gt=0,
        description="Processors that a worker may keep busy, such as 0.5; in force in a control "
        "group.",
    )
    worker_file_mib: int = Field(
        1024, ge=1, description="Largest file that a worker may write, in MiB."
    )
    worker_tmp_mib: int = Field(
        1024,
        ge=1,
        description="Temporary files: where the isolation is bwrap, those of the workers of one "
        "owner all together, /tmp and /dev/shm among them, taken from memory; else those of a "
        "worker, looked at once a second; in MiB.",
    )
    worker_output_mib: int = Field(
        256, ge=1, description="What a call may print, in MiB; `max_log_kib` of it is kept."
    )
    worker_threads: int | None = Field(
        None,
        ge=0,
        description="Threads of numerical libraries (OpenBLAS, MKL, OpenMP) in a worker; 0: the "
        "processors divided by the run's workers, on which last digits may then depend; otherwise "
        "one for runs of many calls, and one a processor for those of one.",
    )
    call_timeout_s: int | None = Field(
        None, ge=1, description="How long one call may take, in s; a job may ask for less."
    )
    levels: Levels = Field(
        {},
        description="Limits of runs at a service level, in place of those for all: in the file a "
        "table for each, such as [levels.LOW]; here, a JSON object of objects.",
    )
    cgroup: Literal["auto", "off", "required"] = Field(
        "auto",
        description="Control groups, a worker in each: used where they work; not at all; or the "
        "server does not start without.",
    )


class IsolationSettings(BaseModel):
    """Isolation."""

    isolation: Literal["auto", "none", "basic", "confined", "bwrap"] = Field(
        "auto",
        description="What stands between functions and this machine; auto: the best that works "
        "here. See `fanfold doctor`.",
    )
    isolation_required: Literal["none", "basic", "confined", "bwrap"] = Field(
        "none", description="The least isolation with which the server starts."
    )
    allow_root_functions: bool = Field(
        False,
        description="Run functions as root where the server is root, other users cannot start the "
        "interpreter, and nothing confines them.",
    )
    network: Names = Field(
        (),
        description='Environments whose functions may use the whole network; "*": all; several are '
        'separated by ",". In force from isolation "confined" on.',
    )
    network_hosts: NetworkHosts = Field(
        (),
        description="Hosts that functions may reach through a proxy: api.example.org (ports 80 and "
        "443), api.example.org:8443, *.example.org, 10.1.2.3:5432, 10.1.0.0/16:80; "
        'ENVIRONMENT=HOST for one environment; separated by ",". Needs isolation "bwrap".',
    )
    worker_reads: Paths = Field(
        (),
        description="Directories and files that functions may read besides their environment and "
        'the system\'s; several are separated by ":".',
    )
    worker_writes: Paths = Field(
        (),
        description="Directories and files that functions may write besides their own directory; "
        'several are separated by ":".',
    )
