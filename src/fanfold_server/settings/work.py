"""Settings of what is run: runs, jobs, and the data that they read and keep."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from fanfold_server.settings.types import HostNames, default_threads


class RunSettings(BaseModel):
    """Runs."""

    sync_timeout_s: int = Field(
        120, ge=1, le=43200, description="How long a run may take while its caller waits, in s."
    )
    max_queued_runs: int = Field(10_000, ge=1, description="Runs that may wait for a worker.")
    cap_low: int = Field(2, ge=1, description="Workers of a run at service level LOW, at most.")
    cap_medium: int = Field(4, ge=1, description="Workers of a run at level MEDIUM, at most.")
    cap_high: int = Field(8, ge=1, description="Workers of a run at level HIGH, at most.")
    cap_tp: int = Field(1, ge=1, description="Workers of a run at level TP, at most.")
    cap_tpurgent: int = Field(8, ge=1, description="Workers of a run at level TPURGENT, at most.")
    script_max_kib: int = Field(1024, ge=1, description="Largest source of a script, in KiB.")
    max_output_len: int = Field(
        5000, ge=1, description="Largest len() of the object that a call returns."
    )
    max_value_mib: int = Field(64, ge=1, description="Largest encoded value of a call, in MiB.")
    max_answer_mib: int = Field(512, ge=1, description="Largest answer to a run, in MiB.")
    max_log_kib: int = Field(
        64, ge=0, description="What is kept of the text that a call prints, in KiB."
    )
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


class JobSettings(BaseModel):
    """Jobs."""

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


class DataSettings(BaseModel):
    """Tables, databases and datastores."""

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
