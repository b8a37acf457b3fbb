"""`Remembered`: one asks for all, errors reach all, and nothing old survives a change."""

from __future__ import annotations

import asyncio

import pytest

from fanfold_server.service.remembering import Remembered


class Store:
    """Answers when it is let, with how often it was asked."""

    def __init__(self, life_s: float = 10.0) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.life_s = life_s
        self.error: Exception | None = None

    async def find(self) -> tuple[int, float]:
        self.asked += 1
        mine = self.asked
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return mine, self.life_s


def remembered(size: int = 10) -> tuple[Remembered[str, int], list[float]]:
    clock = [0.0]
    return Remembered(size=size, monotonic=lambda: clock[0]), clock


async def settled() -> None:
    """Wait for whatever asks in the background."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


async def test_one_asks_for_all_that_come_meanwhile() -> None:
    values, _ = remembered()
    store = Store()
    waiting = [asyncio.create_task(values.ask("k", store.find)) for _ in range(16)]
    await asyncio.sleep(0)
    store.gate.set()
    assert await asyncio.gather(*waiting) == [1] * 16
    assert store.asked == 1
    assert values.known("k", 9.9) == 1
    assert values.known("k", 10.0) is None
    assert values.known("other", 0.0) is None


async def test_what_has_aged_is_asked_for_again() -> None:
    values, clock = remembered()
    store = Store()
    store.gate.set()
    await values.ask("k", store.find)
    clock[0] = 11.0
    assert await values.ask("k", store.find) == 2
    assert values.known("k", 20.9) == 2


async def test_an_error_reaches_all_and_is_not_remembered() -> None:
    values, _ = remembered()
    store = Store()
    store.error = LookupError("none")
    store.gate.set()
    answers = await asyncio.gather(
        *(values.ask("k", store.find) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [LookupError] * 3
    store.error = None
    assert await values.ask("k", store.find) == store.asked


async def test_who_asks_after_a_change_gets_nothing_from_before_it() -> None:
    values, _ = remembered()
    old, new = Store(), Store()
    new.asked = 100
    early = asyncio.create_task(values.ask("k", old.find))
    await asyncio.sleep(0)
    values.forget()
    late = asyncio.create_task(values.ask("k", new.find))
    await asyncio.sleep(0)
    new.gate.set()
    assert await late == 101
    old.gate.set()
    assert await early == 1
    assert values.known("k", 0.0) == 101, "the older answer came later, and is not taken"


async def test_a_waiter_that_leaves_does_not_take_the_answer_with_it() -> None:
    values, _ = remembered()
    store = Store()
    first = asyncio.create_task(values.ask("k", store.find))
    second = asyncio.create_task(values.ask("k", store.find))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    store.gate.set()
    assert await second == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_is_remembered_is_bounded() -> None:
    values, _ = remembered(size=3)
    store = Store()
    store.gate.set()
    for n in range(10):
        await values.ask(str(n), store.find)
    assert sum(values.known(str(n), 0.0) is not None for n in range(10)) <= 3


async def test_what_is_in_use_is_asked_for_before_it_ends() -> None:
    values, clock = remembered()
    store = Store()
    store.gate.set()
    await values.ask("k", store.find)
    clock[0] = 7.4
    assert values.known("k", clock[0]) == 1
    assert store.asked == 1
    clock[0] = 7.6
    assert [values.known("k", clock[0]) for _ in range(5)] == [1] * 5, "nobody waits"
    await settled()
    assert store.asked == 2
    assert values.known("k", 17.5) == 2


async def test_what_no_longer_holds_is_not_used_to_its_end() -> None:
    values, clock = remembered()
    store = Store()
    store.gate.set()
    await values.ask("k", store.find)
    store.error = LookupError("revoked")
    clock[0] = 8.0
    assert values.known("k", clock[0]) == 1
    await settled()
    assert values.known("k", clock[0]) is None
    with pytest.raises(LookupError):
        await values.ask("k", store.find)
