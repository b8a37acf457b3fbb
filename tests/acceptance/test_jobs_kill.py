"""An accepted job survives SIGKILL of everything; a stale agent changes nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from tests.acceptance.chaos import FAULTS, LEASE_S, Cluster, Fault, run_rounds
from tests.acceptance.processes import until
from tests.contract.postgres import started_or_skipped

GONE_LIMIT_S = 60


def _kill_rounds(
    folder: Path, rounds: int, seed: int, *options: str, faults: Mapping[str, Fault] = FAULTS
) -> None:
    with Cluster(folder, *options) as cluster:
        tally = run_rounds(cluster, rounds=rounds, faults=faults, seed=seed)
    until(
        lambda: not cluster.survivors(), GONE_LIMIT_S, "what was killed is gone with its children"
    )
    assert cluster.left_behind() == []
    print(tally)  # noqa: T201  # what was killed, and that nothing was lost


def _kill_rounds_on_postgres(folder: Path, rounds: int, seed: int) -> None:
    """Two agents over a PostgreSQL that crashes and comes back, too."""
    with started_or_skipped(durable=True) as server:

        def crash(_cluster: Cluster, pick: Random) -> bool:
            server.kill(signal.SIGQUIT)
            time.sleep(pick.uniform(0, 1))
            server.start()
            return True

        url = server.make_database().render_as_string(hide_password=False)
        faults = {**FAULTS, "databases": crash}
        _kill_rounds(folder, rounds, seed, "--database", url, faults=faults)


@pytest.mark.timeout(900)
def test_no_job_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    _kill_rounds(tmp_path, 2, 11)


@pytest.mark.timeout(900)
def test_no_job_is_lost_on_a_postgres_that_crashes(tmp_path: Path) -> None:
    _kill_rounds_on_postgres(tmp_path, 1, 12)


@pytest.mark.soak
def test_no_job_is_lost_in_fifty_rounds(tmp_path: Path) -> None:
    _kill_rounds(tmp_path, 50, int(time.time()))


@pytest.mark.soak
def test_no_job_is_lost_in_fifty_rounds_on_postgres(tmp_path: Path) -> None:
    _kill_rounds_on_postgres(tmp_path, 50, int(time.time()))


def test_a_stale_agent_changes_nothing(tmp_path: Path) -> None:
    """It is stopped past its lease, another does its work, then it goes on."""
    with Cluster(tmp_path, agents=1) as cluster:
        source = "import time\ndef slow(i):\n    time.sleep(0.5)\n    return time.time_ns()\n"
        cluster.request("PUT", "/api/v1/scripts/slow", json={"source": source})
        job = cluster.submit("slow", {"times": 2, "parallelFlag": True})
        until(lambda: cluster.job(job)["state"] == "running", 30, "the job runs")
        stale = cluster.agents[0]
        os.kill(stale.pid, signal.SIGSTOP)
        try:
            cluster.agents.append(cluster._start_agent())
            before = cluster.result(job)
        finally:
            os.kill(stale.pid, signal.SIGCONT)
        time.sleep(2 * LEASE_S)
        assert cluster.result(job) == before
        state = cluster.job(job)
        assert state["state"] == "succeeded"
        cluster.request("DELETE", f"/api/v1/jobs/{job}")
    assert cluster.left_behind() == []
