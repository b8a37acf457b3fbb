"""A server and two agents over one PostgreSQL, which is killed, too."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.chaos import FAULTS, Cluster, Fault, run_rounds
from tests.acceptance.processes import until
from tests.contract.postgres import Postgres, started_or_skipped

GONE_LIMIT_S = 60


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with started_or_skipped(durable=True) as server:
        yield server


def _rounds(folder: Path, postgres: Postgres, rounds: int, seed: int) -> None:
    def crash(_cluster: Cluster, _pick: object) -> bool:
        postgres.kill(signal.SIGQUIT)
        postgres.start()
        return True

    faults: dict[str, Fault] = {**FAULTS, "databases": crash}
    address = postgres.make_database().render_as_string(hide_password=False)
    with Cluster(folder, "--database", address) as cluster:
        tally = run_rounds(cluster, rounds=rounds, faults=faults, seed=seed)
    until(lambda: not cluster.survivors(), GONE_LIMIT_S, "all that was killed is gone")
    assert cluster.left_behind() == []
    assert not (cluster.data / "fanfold.db").exists()
    print(tally)  # noqa: T201  # what was killed, and that nothing was lost


@pytest.mark.timeout(400)
def test_no_job_is_lost_whatever_is_killed(tmp_path: Path, postgres: Postgres) -> None:
    _rounds(tmp_path, postgres, 2, 5)


@pytest.mark.soak
def test_no_job_is_lost_in_fifty_rounds(tmp_path: Path, postgres: Postgres) -> None:
    _rounds(tmp_path, postgres, 50, int(time.time()))
