"""What is left of jobs that are gone, or never came, is cleared away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fanfold_server.model.apply import OnError
from fanfold_server.service.housekeeping import ANNOUNCED_S, STALE_S, Housekeeping
from fanfold_server.store.port import INLINE_BYTES
from tests.fakes.engine import PlainEngine
from tests.fakes.house import ALICE, House, opened


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path) as house:
        yield house


def _keeper(house: House) -> Housekeeping:
    jobs = house.store.jobs
    return Housekeeping(store=jobs, upkeep=jobs, blobs=house.blobs, retention_days=0)


async def test_blobs_that_were_copied_for_a_job_that_never_came_are_removed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is killed between the copy and the submission removes nothing by itself."""

    def large(index: int) -> str:
        if index == 4:
            raise ValueError
        return "x" * (INLINE_BYTES + 1)

    async with house.working(PlainEngine(large)):
        job = await house.ended(await house.submit(4, on_error=OnError.CONTINUE))
    kept = dict(house.blobs.blobs)
    assert kept

    async def killed(*_: object, **__: object) -> None:
        raise Killed

    async def removed(_: str) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(house.store.jobs, "submit", killed)
        patch.setattr(house.blobs, "remove", removed)
        with pytest.raises(Killed):
            await house.submitting.resume(ALICE, job.id)
    orphans = house.blobs.blobs.keys() - kept.keys()
    assert orphans
    now = datetime.now(UTC)
    await _keeper(house).tidy(now)
    assert orphans <= house.blobs.blobs.keys()  # it may still come
    later = now + timedelta(seconds=ANNOUNCED_S + STALE_S + 60)
    await _keeper(house).tidy(later)
    assert house.blobs.blobs == kept
    assert await house.store.jobs.prune(before=now - timedelta(days=1), now=later) == []
