"""Gathering the values of a job, each once, however often the connection breaks. No I/O.

The server gives values in index order, up to the first call that has no outcome. `in_order` reads
just that. `gathered` does not wait for the slow: it keeps the stretches that are still missing, and
at each change of the job looks which of their calls have ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fanfold import errors
from fanfold.faults import Unreachable
from fanfold.messages import (
    Close,
    Give,
    Lines,
    Pause,
    Read,
    Request,
    Steps,
    each,
    query,
)

if TYPE_CHECKING:
    from fanfold.records import JobInfo
    from fanfold.session import Session

NDJSON = "application/x-ndjson"
SILENCE_LIMIT_S = 300.0
_PAUSE_S = 0.5
_TRIES = 60
_PAGE = 1000

Take = Callable[[Mapping[str, Any]], Any]
"""Makes of a line what is given on."""


def in_order(
    session: Session, where: str, start: int | None, follow: bool, take: Take
) -> Steps[None]:
    """Give the values in index order; go on behind the last one when the connection breaks."""
    broken = 0
    while True:
        asked = query(from_=start, follow=follow)
        request = Request(
            "GET", where, query=asked, headers={"accept": NDJSON}, limit_s=SILENCE_LIMIT_S
        )
        try:
            answer = yield from session.open(request)
            lines = Lines()
            while piece := (yield Read(answer.stream)):
                for line in lines.feed(piece):
                    members = json.loads(line)
                    start, broken = members["index"] + 1, 0
                    yield Give(take(members))
        except (Unreachable, errors.ShuttingDown):
            broken += 1
            if broken > _TRIES:
                raise
            yield Pause(_PAUSE_S)
        else:
            return


def gathered(
    session: Session,
    job: str,
    info: JobInfo,
    take: Take,
    changes: Steps[None],
    *,
    tell: Callable[[JobInfo], None] | None = None,
) -> Steps[None]:
    """Give the values in whatever order they come.

    Args:
        job: its address.
        changes: gives the job at each change, and ends with it.
        tell: is told each of these.
    """
    first = info.first_index
    missing = [(first, first + info.times)]
    seen = 0

    def told(now: JobInfo) -> Steps[None]:
        nonlocal missing, seen
        if tell is not None:
            tell(now)
        if now.returned + now.failed > seen or now.has_ended:
            missing = yield from _swept(session, job, missing, take)
            seen = info.times - sum(end - start for start, end in missing)

    yield from each(changes, told)


def _swept(
    session: Session, job: str, missing: list[tuple[int, int]], take: Take
) -> Steps[list[tuple[int, int]]]:
    """Give what has come of the missing stretches; say which are missing still."""
    left: list[tuple[int, int]] = []
    for start, end in missing:
        at = start
        while at < end:
            reached = yield from _stretch(session, job, at, end, take)
            if reached >= end:
                at = end
                break
            following = yield from _next_ended(session, job, reached, end)
            left.append((reached, following))
            at = following
    return left


def _stretch(session: Session, job: str, start: int, end: int, take: Take) -> Steps[int]:
    """Give the values from `start` as far as there are any, or to `end`; say where it ended."""
    at = start
    broken = 0
    while True:
        request = Request(
            "GET", f"{job}/results", query=query(from_=at), headers={"accept": NDJSON}
        )
        try:
            answer = yield from session.open(request)
            lines = Lines()
            while piece := (yield Read(answer.stream)):
                for line in lines.feed(piece):
                    members = json.loads(line)
                    if members["index"] >= end:
                        yield Close(answer.stream)
                        return end
                    at, broken = members["index"] + 1, 0
                    yield Give(take(members))
        except (Unreachable, errors.ShuttingDown):
            broken += 1
            if broken > _TRIES:
                raise
            yield Pause(_PAUSE_S)
        else:
            return at


def _next_ended(session: Session, job: str, start: int, end: int) -> Steps[int]:
    """Find the next call that has ended, from `start` on; `end` if there is none before."""
    found = end
    for state in ("returned", "failed"):
        asked = query(state=state, from_=start, limit=1)
        request = Request("GET", f"{job}/outcomes", query=asked, may_repeat=True)
        page = (yield from session.send(request)).json()
        found = min([found, *(entry["index"] for entry in page["outcomes"])])
    return found


def ended(
    session: Session, job: str, info: JobInfo, take: Take, changes: Steps[None]
) -> Steps[None]:
    """Give the outcome of each call when it has one: time, memory, log, error; each once."""
    missing = [(info.first_index, info.first_index + info.times)]

    def told(_: JobInfo) -> Steps[None]:
        nonlocal missing
        left: list[tuple[int, int]] = []
        for start, end in missing:
            left += yield from _outcomes(session, job, start, end, take)
        missing = left

    yield from each(changes, told)


def _outcomes(
    session: Session, job: str, start: int, end: int, take: Take
) -> Steps[list[tuple[int, int]]]:
    """Give what a stretch has of outcomes, in index order; say which calls have none."""
    found: list[Mapping[str, Any]] = []
    for state in ("returned", "failed"):
        at: int | None = start
        while at is not None and at < end:
            asked = query(state=state, from_=at, limit=_PAGE)
            request = Request("GET", f"{job}/outcomes", query=asked, may_repeat=True)
            page = (yield from session.send(request)).json()
            found += [entry for entry in page["outcomes"] if entry["index"] < end]
            at = page["next"]
    left = []
    reached = start
    for entry in sorted(found, key=_index):
        yield Give(take(entry))
        if entry["index"] > reached:
            left.append((reached, entry["index"]))
        reached = entry["index"] + 1
    return [*left, (reached, end)] if reached < end else left


def _index(entry: Mapping[str, Any]) -> int:
    return int(entry["index"])
