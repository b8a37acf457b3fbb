"""Everything an operator can set: name, default, unit, help.

A value comes from the command line, else from a variable `FANFOLD_…`, else from a TOML file
(`--config`, or `fanfold.toml` in the data directory), else from the default. The options of
`fanfold serve` and the reference page are made from this class.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)
from typing_extensions import override

from fanfold_server.setting_types import (
    AlgorithmNames,
    HostNames,
    Levels,
    ModuleNames,
    Names,
    NetworkHosts,
    Paths,
    ProviderAddress,
    RoleNames,
    default_data,
    default_threads,
    default_workers,
)
from fanfold_server.settings_place import ENV_PREFIX, PlaceSettings, SettingsError

__all__ = ["CONFIG_NAME", "ENV_PREFIX", "Settings", "SettingsError", "load_settings"]

CONFIG_NAME = "fanfold.toml"


class Settings(PlaceSettings):
    """The settings of one server. Never changed once made; use `load_settings`."""

    # ------------------------------------------------------------------------- environments
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

    # ------------------------------------------------------------------------------ workers
    workers: int = Field(
        default_factory=default_workers, ge=1, le=4096, description="Worker processes busy at once."
    )
    pools: int = Field(
        16,
        ge=1,
        description="Owners and environments that may have workers at once; the least recently "
        "used makes room for another.",
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
    call_timeout_s: int | None = Field(
        None, ge=1, description="How long one call may take, in s; a job may ask for less."
    )
    levels: Levels = Field(
        {},
        description="Limits of runs at a service level, in place of those for all: in the file a "
        "table for each, such as [levels.LOW]; here, a JSON object of objects.",
    )
    worker_threads: int | None = Field(
        None,
        ge=0,
        description="Threads of numerical libraries (OpenBLAS, MKL, OpenMP) in a worker; 0: the "
        "processors divided by the run's workers, on which last digits may then depend; otherwise "
        "one for runs of many calls, and one a processor for those of one.",
    )
    cgroup: Literal["auto", "off", "required"] = Field(
        "auto",
        description="Control groups, a worker in each: used where they work; not at all; or the "
        "server does not start without.",
    )
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
    reuse: Literal["auto", "warm", "fork"] = Field(
        "auto",
        description="warm: a worker serves many runs of its owner; fork: each run has fresh ones; "
        "auto: warm for the caller's own scripts, fresh for those of others.",
    )

    # --------------------------------------------------------------------------------- jobs
    agent: bool = Field(
        True,
        description="Run functions in this process's own workers; without it, agents on the same "
        "database do, and a call that is waited for is a job and a wait.",
    )
    lease_s: int = Field(
        15,
        ge=1,
        le=3600,
        description="How long a part of a job stays with an agent that says nothing, in s.",
    )
    drain_s: int = Field(
        10,
        ge=0,
        description="How long an agent that is told to stop lets parts of jobs go on, in s; what "
        "has not ended then is given back.",
    )

    callback_hosts: HostNames = Field(
        (),
        description="Hosts that may be told of jobs' ends (`callbackUrl`), such as "
        "hooks.example.org, hooks.example.org:8443 or *.example.org; several are separated by "
        '",". Without any, jobs that ask for it are refused. A host with a private address has to '
        "be listed by its name, and one that is spoken to without TLS be this machine.",
    )
    callback_retry_s: int = Field(
        5,
        ge=1,
        le=3600,
        description="Pause before the end of a job is told again that could not be told, in s; "
        "the next ones are four times as long each, up to 6 hours.",
    )
    retention_days: int = Field(
        183,
        ge=0,
        description="How long a job is kept after its end, with its results, in days; 0: for ever.",
    )
    secret_key: Path | None = Field(
        None,
        description="File with the key that seals secrets, for servers and agents that share a "
        "database; otherwise secrets.key in the data directory, made when it is needed.",
    )
    audit_days: int = Field(
        365, ge=0, description="How long entries of the audit log are kept, in days; 0: for ever."
    )
    min_free_mib: int = Field(
        256,
        ge=0,
        description="Room on the embedded database's disk below which no job is accepted, in MiB.",
    )
    max_user_jobs: int = Field(
        10_000, ge=1, description="Jobs of one user that have not ended, at most."
    )
    max_user_running: int = Field(
        64,
        ge=1,
        description="Parts of one user's jobs that run at once, on all agents together, at most.",
    )
    max_user_stored_mib: int = Field(
        20_480, ge=1, description="Results of one user that are kept, at most, in MiB."
    )

    # --------------------------------------------------------------------------------- data
    data_memory_mib: int = Field(
        2048, ge=256, description="Memory of the data process for queries, all together, in MiB."
    )
    data_queries: int = Field(
        4, ge=1, le=64, description="Queries that run at once; each has its share of the memory."
    )
    data_threads: int = Field(
        default_factory=default_threads, ge=1, le=64, description="Threads of a query."
    )
    data_spill_mib: int = Field(
        8192, ge=0, description="What a query may write to disk when memory does not do, in MiB."
    )
    query_timeout_s: int = Field(
        120,
        ge=1,
        le=43200,
        description="How long a query may take that gives a run its rows, in s.",
    )
    max_rows_mib: int = Field(
        4096, ge=1, description="Largest input of a run: the rows of its query, in MiB."
    )
    secrets_dir: Path | None = Field(
        None,
        description="Directory of files with passwords, which a registered database may name "
        '("file:NAME"); otherwise DATA/secrets.',
    )
    max_table_mib: int = Field(
        4096, ge=1, description="Largest body that is a table or an environment, in MiB."
    )

    max_object_mib: int = Field(512, ge=1, description="Largest object of a datastore, in MiB.")
    max_user_datastore_mib: int = Field(5120, ge=1, description="Datastores of one user, in MiB.")

    # -------------------------------------------------------------------------------- limits
    sync_timeout_s: int = Field(
        120, ge=1, le=43200, description="How long a run may take while its caller waits, in s."
    )
    max_queued_runs: int = Field(10_000, ge=1, description="Runs that may wait for a worker.")
    max_output_len: int = Field(
        5000, ge=1, description="Largest len() of the object that a call returns."
    )
    max_value_mib: int = Field(64, ge=1, description="Largest encoded value of a call, in MiB.")
    max_answer_mib: int = Field(512, ge=1, description="Largest answer to a run, in MiB.")
    max_body_mib: int = Field(16, ge=1, description="Largest request body, in MiB.")
    max_head_kib: int = Field(
        64, ge=4, le=1024, description="Largest request line with all headers, in KiB."
    )
    max_connections: int = Field(
        8192,
        ge=16,
        description="Connections at once; at more, the one that has said nothing for longest is "
        "closed.",
    )
    head_timeout_s: int = Field(
        20, ge=1, description="How long a client may take for the headers of a request, in s."
    )
    body_timeout_s: int = Field(
        60,
        ge=1,
        description="How far a client may fall behind while it sends a body, in s; 4 KiB/s is "
        "enough.",
    )
    max_log_kib: int = Field(
        64, ge=0, description="What is kept of the text that a call prints, in KiB."
    )
    script_max_kib: int = Field(1024, ge=1, description="Largest source of a script, in KiB.")
    cap_low: int = Field(2, ge=1, description="Workers of a run at service level LOW, at most.")
    cap_medium: int = Field(4, ge=1, description="Workers of a run at level MEDIUM, at most.")
    cap_high: int = Field(8, ge=1, description="Workers of a run at level HIGH, at most.")
    cap_tp: int = Field(1, ge=1, description="Workers of a run at level TP, at most.")
    cap_tpurgent: int = Field(8, ge=1, description="Workers of a run at level TPURGENT, at most.")

    # ------------------------------------------------------------------------- compatibility
    print_is_error: bool = Field(
        False, description="Refuse the result of a function that prints, with error 1026."
    )
    group_frames: Literal["records", "columns"] = Field(
        "records",
        description="How group-apply writes a returned DataFrame: as a list of records, or by "
        "columns with row labels, as releases of the compatible service before 2025 did.",
    )
    strict: bool = Field(
        False,
        description="Refuse what is otherwise put right with a warning header, such as a timeout "
        "out of range.",
    )

    # -------------------------------------------------------------------------------- logins
    token_lifetime_s: int = Field(3600, ge=1, description="How long a token lives, in s.")
    session_lifetime_s: int = Field(
        28800, ge=1, description="How long after a login its token may be renewed, in s."
    )
    max_token_days: int = Field(
        366, ge=1, le=36_600, description="Longest life of an access token, in days."
    )
    login_concurrency: int = Field(
        2, ge=1, le=64, description="Passwords checked at once; each check takes 64 MiB."
    )

    oidc_issuer: ProviderAddress | None = Field(
        None,
        description="Address of an OpenID provider whose tokens are taken as bearer tokens, "
        "exactly as they name it; https, or http on this machine.",
    )
    oidc_audience: str | None = Field(
        None, min_length=1, description="How the provider's tokens name this server (`aud`)."
    )
    oidc_user_claim: str = Field(
        "preferred_username",
        min_length=1,
        description="Claim with the name of the account; one that users cannot choose for "
        "themselves. A path through objects has dots.",
    )
    oidc_role_claim: str | None = Field(
        None,
        min_length=1,
        description="Claim with the user's roles or groups, such as realm_access.roles; "
        "otherwise the account's own role holds.",
    )
    oidc_roles: RoleNames = Field(
        (),
        description="What values of that claim mean here, such as analysts=developer; who has "
        'none of them is not let in. Several are separated by ",".',
    )
    oidc_algorithms: AlgorithmNames = Field(
        ("RS256", "ES256"),
        min_length=1,
        description='Signatures of tokens that are admitted; several are separated by ",".',
    )
    oidc_leeway_s: int = Field(
        30, ge=0, le=300, description="How far the provider's clock may be off, in s."
    )

    # ---------------------------------------------------------------------------------- logs
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe messages that are logged."
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="One JSON object a line, or lines for people."
    )
    access_log: bool = Field(True, description="Log a line for every request.")

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the file, which the first two may name, after them."""
        said = {**env_settings(), **init_settings()}
        if config := said.get("config"):
            text = Path(config).read_bytes()  # at once, and once: it may be a pipe
        else:
            path = Path(said.get("data") or default_data()) / CONFIG_NAME
            text = path.read_bytes() if path.is_file() else b""
        file_settings = InitSettingsSource(settings_cls, tomllib.loads(text.decode()))
        return init_settings, env_settings, file_settings

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.session_lifetime_s < self.token_lifetime_s:
            raise ValueError("session_lifetime_s must not be less than token_lifetime_s")
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("oidc_issuer and oidc_audience are needed together")
        if (self.oidc_role_claim is None) != (not self.oidc_roles):
            raise ValueError("oidc_role_claim and oidc_roles are needed together")
        return self

    @property
    def environments_folder(self) -> Path:
        """Where environments are built and registered: absolute, it is written into files."""
        return (self.environments or self.data / "environments").absolute()


def load_settings(given: Mapping[str, object] | None = None) -> Settings:
    """Gather the settings from the command line, the environment, the file and the defaults.

    Args:
        given: what the command line says, by field name; what it leaves out is not in it.

    Raises:
        SettingsError: a value is wrong, a name is unknown, or the file cannot be read.
    """
    try:
        return Settings(**dict(given or {}))  # type: ignore[arg-type]  # what it is for
    except ValidationError as exc:
        raise SettingsError("\n".join(_line(error) for error in exc.errors())) from exc
    except OSError as exc:
        raise SettingsError(f"config: cannot read {exc.filename}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"config: the file is not TOML: {exc}") from exc


def _line(error: ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    if not name:
        return message
    return f"{name}: {message[:1].lower()}{message[1:]}, not {error['input']!r}"
