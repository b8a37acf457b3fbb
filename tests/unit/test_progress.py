"""How fast a job goes, and when it will be done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.model.apply import OnError, ServiceLevel
from fanfold_server.model.job import Job, JobSpec, JobState
from fanfold_server.service.progress import progress_of

CREATED = datetime(2026, 3, 12, 22, 55, tzinfo=UTC)
STARTED = CREATED + timedelta(seconds=5)


def _job(
    *, state: JobState, times: int = 1000, returned: int = 0, failed: int = 0, taken: int = 0
) -> Job:
    spec = JobSpec(
        owner="ALICE",
        api_version="v1",
        verb="index-apply",
        script_name="f",
        script_owner="ALICE",
        script_version=1,
        digest="",
        source="",
        entry="f",
        environment="default",
        times=times,
        parameters=b"{}",
        degree=1,
        seed=1,
        graphics=False,
        service=ServiceLevel.LOW,
        on_error=OnError.CONTINUE,
        timeout_s=1800,
    )
    return Job(
        id="",
        spec=spec,
        state=state,
        created=CREATED,
        started=None if state is JobState.QUEUED else STARTED,
        finished=STARTED + timedelta(seconds=20) if state.is_final else None,
        returned=returned,
        failed=failed,
        error=None,
        taken=taken,
    )


def test_before_it_starts_and_before_anything_is_done_nothing_is_claimed() -> None:
    queued = progress_of(_job(state=JobState.QUEUED), STARTED)
    assert (queued.elapsed_s, queued.rate_per_s, queued.eta_s) == (None, None, None)
    idle = progress_of(_job(state=JobState.RUNNING), STARTED + timedelta(seconds=3))
    assert (idle.elapsed_s, idle.rate_per_s, idle.eta_s) == (3, None, None)


def test_a_clock_that_is_behind_gives_no_negative_time() -> None:
    job = _job(state=JobState.RUNNING, returned=5)
    progress = progress_of(job, STARTED - timedelta(seconds=1))
    assert (progress.elapsed_s, progress.rate_per_s) == (0, None)


def test_the_guess_is_what_is_left_at_the_speed_so_far() -> None:
    job = _job(state=JobState.RUNNING, returned=390, failed=10)
    progress = progress_of(job, STARTED + timedelta(seconds=40))
    assert progress.rate_per_s == 10
    assert progress.eta_s is not None
    low, guess, high = progress.eta_s
    assert guess == 60
    assert low < guess < high


def test_what_was_taken_from_another_job_is_no_work_of_this_one() -> None:
    job = _job(state=JobState.RUNNING, returned=990, taken=980)
    progress = progress_of(job, STARTED + timedelta(seconds=10))
    assert progress.rate_per_s == 1
    assert progress.eta_s is not None
    assert progress.eta_s[1] == 10


def test_an_ended_job_has_a_speed_and_no_end_to_wait_for() -> None:
    job = _job(state=JobState.CANCELLED, returned=400)
    progress = progress_of(job, STARTED + timedelta(days=1))
    assert (progress.elapsed_s, progress.rate_per_s, progress.eta_s) == (20, 20, None)


@given(st.integers(1, 999), st.integers(1, 100_000))
def test_the_band_holds_the_guess(done: int, elapsed_ms: int) -> None:
    now = STARTED + timedelta(milliseconds=elapsed_ms)
    eta_s = progress_of(_job(state=JobState.RUNNING, returned=done), now).eta_s
    assert eta_s is not None
    low, guess, high = eta_s
    assert 0 <= low <= guess <= high


def test_more_batches_make_a_narrower_band() -> None:
    factors = []
    for returned in (5, 50, 500):
        eta_s = progress_of(
            _job(state=JobState.RUNNING, returned=returned), STARTED + timedelta(seconds=100)
        ).eta_s
        assert eta_s is not None
        factors.append(eta_s[2] / eta_s[1])
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(1.2165, abs=0.001)
