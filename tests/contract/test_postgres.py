"""What only a database that is apart from us can do: go away, come back, wait for a stopped one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from fanfold_server.store import sql, sql_claiming
from fanfold_server.store.migrating import StoreUnusable, migrate
from fanfold_server.store.port import Signal
from fanfold_server.store.sql import open_store, postgres_url
from tests.contract.jobs import at, claim, result, submit
from tests.contract.postgres import Postgres, started_or_skipped

# Another process that claims, and stops itself in the middle of the transaction.
STALLS = """
import asyncio, os, signal, sys, time
from datetime import UTC, datetime
from fanfold_server.store import sql_claiming
from fanfold_server.store.sql import open_store, postgres_url

take = sql_claiming._take
def stall(*arguments, **named):
    taken = take(*arguments, **named)
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1)  # the other threads stop a moment after the first
    return taken
sql_claiming._take = stall

async def main():
    async with open_store(postgres_url(sys.argv[1])) as store:
        await store.jobs.claim(
            "stalls", wanted=9, lease_s=1e6, now=datetime(2026, 1, 5, 12, tzinfo=UTC), per_owner=9
        )

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """One that a test may kill."""
    with started_or_skipped(durable=True) as server:
        yield server


async def test_what_is_asked_while_the_database_restarts_is_done_when_it_is_back(
    own_postgres: Postgres,
) -> None:
    async with open_store(own_postgres.make_database()) as store:
        before = await submit(store.jobs)
        await asyncio.to_thread(own_postgres.kill, signal.SIGQUIT)
        during = asyncio.create_task(submit(store.jobs, owner="BOB"))
        await asyncio.to_thread(own_postgres.start)
        after = await during
        assert await store.ledger.job(before.id, owner=None) == before
        claimed = await claim(store.jobs)
        assert {c.batch.job for c in claimed} == {before.id, after.id}


async def test_signals_of_other_processes_are_heard_again_after_a_restart(
    own_postgres: Postgres,
) -> None:
    url = own_postgres.make_database()
    async with open_store(url) as here, open_store(url) as there:
        heard: asyncio.Queue[str] = asyncio.Queue()
        here.signals.subscribe(lambda signal, job: heard.put_nowait(f"{signal}:{job}"))

        async def hear() -> None:
            async with asyncio.timeout(120):
                while True:
                    job = await submit(there.jobs)
                    try:
                        async with asyncio.timeout(1):
                            while await heard.get() != f"{Signal.READY}:{job.id}":
                                pass
                        return
                    except TimeoutError:
                        continue  # what is told while nobody listens is lost

        await hear()
        await asyncio.to_thread(own_postgres.kill, signal.SIGQUIT)
        await asyncio.to_thread(own_postgres.start)
        await hear()


async def test_a_claim_that_waits_brings_what_another_process_submits(
    own_postgres: Postgres,
) -> None:
    url = own_postgres.make_database()
    async with open_store(url) as here, open_store(url) as there:
        waiting = asyncio.ensure_future(
            here.jobs.claim("one", wanted=4, lease_s=15, now=at(0), per_owner=9, wait_s=60)
        )
        await asyncio.sleep(0)
        await here.jobs.expire(now=at(0))
        job = await submit(there.jobs)
        async with asyncio.timeout(120):
            assert [claimed.batch.job for claimed in await waiting] == [job.id]


async def test_a_submission_does_not_wait_for_another_process_that_claims(
    own_postgres: Postgres,
) -> None:
    url = own_postgres.make_database()
    other = create_async_engine(url)
    async with open_store(url) as store:
        waiting = asyncio.ensure_future(
            store.jobs.claim("one", wanted=4, lease_s=15, now=at(0), per_owner=9, wait_s=60)
        )
        await asyncio.sleep(0)
        await store.jobs.expire(now=at(0))
        async with asyncio.timeout(120):
            async with other.begin() as connection:
                lock = text(f"SELECT pg_advisory_xact_lock({sql_claiming._CLAIM_KEY})")
                await connection.execute(lock)
                job = await submit(store.jobs)
            assert [claimed.batch.job for claimed in await waiting] == [job.id]
    await other.dispose()


async def test_a_process_stopped_in_mid_transaction_holds_nobody_up_for_long(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its locks end with its session, and when it goes on, it finds that it has nothing."""
    monkeypatch.setattr(sql, "STALLED_MS", 1000)
    url = own_postgres.make_database()
    address = url.render_as_string(hide_password=False)
    program = tmp_path / "stalls.py"
    program.write_text(STALLS)
    async with open_store(url) as store:
        job = await submit(store.jobs)
        other = subprocess.Popen([sys.executable, program, address])  # noqa: ASYNC220  # quick
        try:
            _, status = await asyncio.to_thread(os.waitpid, other.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            async with asyncio.timeout(120):
                (claimed,) = await claim(store.jobs, lease_s=1e6)
            assert claimed.batch.job == job.id
        finally:
            other.send_signal(signal.SIGCONT)
            await asyncio.to_thread(other.wait)
        assert other.returncode == 0
        assert await store.jobs.finish("one", [result(claimed)], now=at(1)) == [True]


def test_an_address_is_read_whatever_driver_it_names() -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        url = postgres_url(f"{scheme}://ada:secret@host/name")
        assert (url.drivername, url.password) == ("postgresql+psycopg", "secret")


def test_a_server_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable) as told:
        migrate(postgres_url(f"postgresql://ada:secret@/name?host={tmp_path}"))
    assert "secret" not in str(told.value)
    assert str(tmp_path) in str(told.value)
