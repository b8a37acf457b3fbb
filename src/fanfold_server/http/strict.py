"""JSON of requests, read to the letter of RFC 8259, and not deeper than anybody means.

Every JSON body passes one of two parsers: this one, or pydantic's on the run routes. Both refuse
NaN and infinities, bytes that are no UTF-8, halves of surrogate pairs, and what is nested deeper
than `MAX_DEPTH`. Of members with the same name both take the last, as the compatible service does;
so nobody in the house can read another request than his neighbour.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from fastapi import Request
from typing_extensions import override

from fanfold_server.model.errors import InvalidBody

MAX_DEPTH: Final = 200
"""So many arrays and objects inside one another, at most."""

NO_NUL: Final = "^[^\\x00]*$"
"""The pattern of text that a database takes."""


def read_json(body: bytes) -> Any:
    """Read a whole body.

    Raises:
        orjson.JSONDecodeError: it is not JSON.
        InvalidBody: it is nested too deeply.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        if "depth limit" in exc.msg:
            raise too_deep() from exc
        if "UTF-8" in exc.msg:
            raise InvalidBody(
                f"The request body is not UTF-8 (byte {_first_wrong(body)})."
            ) from exc
        raise
    # What is nested so deeply has at least so many brackets: most bodies are not looked at.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and depth(value) > MAX_DEPTH:
        raise too_deep()
    return value


def too_deep() -> InvalidBody:
    """Refuse a body for its depth."""
    return InvalidBody(f"The request body is nested too deeply: {MAX_DEPTH} levels are allowed.")


def _first_wrong(body: bytes) -> int:
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        return exc.start
    return 0


def depth(decoded: object) -> int:
    """Return how many arrays and objects are inside one another; told level by level."""
    levels = 0
    level = [decoded]
    while level := [v for v in level if isinstance(v, list | dict)]:
        levels += 1
        level = [child for v in level for child in (v.values() if isinstance(v, dict) else v)]
    return levels


class StrictRequest(Request):
    """A request whose body the framework reads by `read_json`."""

    @override
    async def json(self) -> Any:
        return read_json(await self.body())
