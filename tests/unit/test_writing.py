"""Which operations of the writer share a commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from fanfold_server.store import writing
from fanfold_server.store.port import Signal
from fanfold_server.store.writing import Transaction, Writer

LIMIT_S = 30.0


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    engine = create_engine(
        f"sqlite:///{tmp_path}/x.db", poolclass=NullPool, connect_args={"isolation_level": None}
    )
    writer = Writer(engine, lambda _: None)
    yield writer
    await writer.close()


def _which(transaction: Transaction) -> int:
    """Tell transactions apart: no two that are alive have the same."""
    _kept.append(transaction)
    return id(transaction)


_kept: list[Transaction] = []


async def _busy(writer: Writer) -> None:
    """Have operations follow one another."""
    for _ in range(2):
        await writer.run(_which)


async def test_what_is_patient_goes_with_the_next(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "HOLD_S", LIMIT_S)
    await _busy(writer)
    async with asyncio.timeout(LIMIT_S / 2):
        patient = asyncio.ensure_future(writer.run(_which, patient=True))
        also = asyncio.ensure_future(writer.run(_which, patient=True))
        await asyncio.sleep(0.05)
        assert not patient.done()
        following = await writer.run(_which)
        assert await patient == await also == following


async def test_without_a_flow_nothing_is_held(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "HOLD_S", 0.0)
    await _busy(writer)
    async with asyncio.timeout(LIMIT_S):
        await writer.run(_which, patient=True)


async def test_after_a_vain_wait_there_is_none_for_a_while(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_s = 0.5
    monkeypatch.setattr(writing, "HOLD_S", hold_s)
    monkeypatch.setattr(writing, "VAIN_S", LIMIT_S)
    await _busy(writer)
    before = time.monotonic()
    await writer.run(_which, patient=True)
    assert time.monotonic() - before < LIMIT_S
    await _busy(writer)
    company = writer._company
    assert company.hold_s([]) == 0.0


async def test_what_stands_runs_behind_what_has_told_something(writer: Writer) -> None:
    def tells(transaction: Transaction) -> int:
        transaction.tell(Signal.READY, "x")
        return _which(transaction)

    standing = asyncio.ensure_future(
        writer.stand(
            lambda transaction: [_which(transaction)], wait_s=LIMIT_S, is_idle=lambda: True
        )
    )
    await asyncio.sleep(0)
    await writer.run(_which)
    assert not standing.done()
    async with asyncio.timeout(LIMIT_S / 2):
        assert [await writer.run(tells)] == await standing


async def test_what_stands_and_fails_fails_alone(writer: Writer) -> None:
    def breaks(_: Transaction) -> list[int]:
        raise ZeroDivisionError

    def tells(transaction: Transaction) -> int:
        transaction.tell(Signal.READY, "x")
        return 7

    standing = asyncio.ensure_future(writer.stand(breaks, wait_s=LIMIT_S, is_idle=lambda: True))
    await asyncio.sleep(0)
    assert await writer.run(tells) == 7
    with pytest.raises(ZeroDivisionError):
        await standing


async def test_the_end_ends_what_stands(tmp_path: Path) -> None:
    writer = Writer(create_engine(f"sqlite:///{tmp_path}/x.db"), lambda _: None)

    def nothing(_: Transaction) -> list[int]:
        return []

    standing = asyncio.ensure_future(writer.stand(nothing, wait_s=LIMIT_S, is_idle=lambda: True))
    await asyncio.sleep(0)
    await writer.close()
    async with asyncio.timeout(LIMIT_S / 2):
        assert await standing == []
