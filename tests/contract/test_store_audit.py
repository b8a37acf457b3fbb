from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fanfold_server.model.audit import AuditEntry, AuditFilter
from fanfold_server.store.sql import Store

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def entry(n: int, actor: str | None = "ALICE", action: str = "run.do-eval") -> AuditEntry:
    return AuditEntry(
        at=NOW + timedelta(minutes=n),
        actor=actor,
        token="nightly" if n % 2 else None,
        address="127.0.0.1",
        action=action,
        target=f"script-{n}",
        status=200,
        request=f"r-{n}",
    )


async def test_entries_come_back_as_they_were_the_newest_first(store: Store) -> None:
    made = [entry(n) for n in range(6)]
    await store.audit.append(made[:4])
    await store.audit.append(made[4:])
    await store.audit.append([])
    found = await store.audit.entries(AuditFilter(), limit=100)
    assert [one for _, one in found] == made[::-1]
    numbers = [number for number, _ in found]
    assert numbers == sorted(numbers, reverse=True)
    page = await store.audit.entries(AuditFilter(), limit=2, below=numbers[1])
    assert [number for number, _ in page] == numbers[2:4]


async def test_every_filter_has_to_match(store: Store) -> None:
    made = [entry(0), entry(1, actor=None), entry(2, actor="BOB"), entry(3, action="login")]
    await store.audit.append(made)

    async def found(**which: object) -> list[AuditEntry]:
        asked = AuditFilter(**which)  # type: ignore[arg-type]
        return [one for _, one in await store.audit.entries(asked, limit=9)]

    assert await found(actor="ALICE") == [made[3], made[0]]
    assert await found(action="login") == [made[3]]
    assert await found(target="script-2") == [made[2]]
    assert await found(since=made[1].at, before=made[3].at) == [made[2], made[1]]
    assert await found(actor="BOB", action="login") == []


async def test_a_number_is_never_given_twice(store: Store) -> None:
    """Whoever reads on below a number must not miss what came after old entries went."""
    await store.audit.append([entry(0), entry(1)])
    ((newest, _), _) = await store.audit.entries(AuditFilter(), limit=2)
    await store.audit.forget_before(NOW + timedelta(hours=1))
    assert await store.audit.entries(AuditFilter(), limit=9) == []
    await store.audit.append([entry(2)])
    ((number, _),) = await store.audit.entries(AuditFilter(), limit=9)
    assert number > newest
