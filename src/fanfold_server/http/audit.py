"""Our own API of the audit log: for administrators."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from pydantic import AwareDatetime
from starlette.responses import Response

from fanfold_server.http.jobs_results import NDJSON
from fanfold_server.http.streams import streamed
from fanfold_server.http.surface import Caller, CallerRoute, SurfaceOf
from fanfold_server.model.audit import AuditEntry, AuditFilter, actor_name
from fanfold_server.model.errors import InvalidField

router = APIRouter(prefix="/api/v1/audit", tags=["server"], route_class=CallerRoute)


@router.get("", response_class=Response, responses={200: {"content": {NDJSON: {}}}})
async def read_audit(
    *,
    surface: SurfaceOf,
    caller: Caller,
    actor: Annotated[str | None, Query(description="Who did it.", max_length=300)] = None,
    action: Annotated[
        str | None, Query(description="Such as `script.publish`.", max_length=300)
    ] = None,
    target: Annotated[str | None, Query(description="Done to what.", max_length=300)] = None,
    since: Annotated[AwareDatetime | None, Query(description="At this time or later.")] = None,
    before: Annotated[AwareDatetime | None, Query(description="Before this time.")] = None,
    below: Annotated[
        int | None, Query(ge=1, le=2**63 - 1, description="Only entries with smaller numbers.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100_000, description="So many at most.")] = 1000,
) -> Response:
    """Read who ran, published, granted and deleted what, who came in, and who was refused.

    A line of JSON for each entry, the newest first; to go on, ask `below` the number of the last.
    An entry is there within a second of the answer. It holds neither bodies nor secrets.
    """
    which = AuditFilter(
        actor=None if actor is None else actor_name(_plain(actor, "actor")),
        action=None if action is None else _plain(action, "action"),
        target=None if target is None else _plain(target, "target"),
        since=since,
        before=before,
    )
    entries = await surface.auditing.read(caller, which, limit=limit, below=below)
    return streamed(_lines(entries), media_type=NDJSON)


async def _lines(entries: AsyncIterator[tuple[int, AuditEntry]]) -> AsyncIterator[bytes]:
    waiting: list[bytes] = []
    async for number, entry in entries:
        waiting.append(written(number, entry))
        if len(waiting) == _TOGETHER:
            yield b"".join(waiting)
            waiting = []
    yield b"".join(waiting)


_TOGETHER = 200


def written(number: int, entry: AuditEntry) -> bytes:
    """Write an entry as a line of JSON."""
    return orjson.dumps({"number": number, **asdict(entry)}, option=orjson.OPT_APPEND_NEWLINE)


def _plain(text: str, field: str) -> str:
    if not text.isprintable():
        raise InvalidField(f'The query parameter "{field}" holds what no entry has.', field=field)
    return text
