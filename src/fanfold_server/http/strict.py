"""JSON of requests, read to the letter of RFC 8259, and not deeper than anybody means.

Every JSON body passes one of two parsers: this one, or pydantic's on the run routes. Both refuse
NaN and infinities, bytes that are no UTF-8, halves of surrogate pairs, and what is nested deeper
than `MAX_DEPTH`; both pass over one byte order mark of UTF-8 before the body, which some clients
put there, and RFC 8259 (8.1) lets a reader ignore. Of members with the same name both take the
last, as the compatible service does; so nobody in the house can read another request than his
neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson
from fastapi import Request
from typing_extensions import override

from fanfold_server.model.errors import InvalidBody

MAX_DEPTH: Final = 200
"""So many arrays and objects inside one another, at most."""

MAX_VALUES: Final = 20_000
"""Members and elements in all, at most, of a body that is read for the framework: what it says of
each that is wrong takes microseconds, and all else waits."""

NO_NUL: Final = "^[^\\x00]*$"
"""The pattern of text that a database takes."""


MARK: Final = b"\xef\xbb\xbf"
"""The byte order mark in UTF-8."""

_FIRST_BYTES: Final = 4


def read_json(body: bytes) -> Any:
    """Read a whole body.

    Raises:
        orjson.JSONDecodeError: it is not JSON.
        InvalidBody: it is nested too deeply, is no UTF-8, or holds a number that is too large.
    """
    body = body.removeprefix(MARK)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        if "depth limit" in exc.msg:
            raise too_deep() from exc
        refusal = wrong_encoding(body)
        if refusal is not None:
            raise refusal from exc
        if is_too_large(exc):
            raise InvalidBody(
                f"The request body holds a number {BEYOND} (character {exc.pos})."
            ) from exc
        raise
    # What is nested so deeply has at least so many brackets: most bodies are not looked at.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and depth(value) > MAX_DEPTH:
        raise too_deep()
    return value


BEYOND: Final = "beyond 1.8e308, the largest that there is"
"""Of a number that no float holds, as the rest of a sentence."""


def is_too_large(exc: orjson.JSONDecodeError) -> bool:
    """Tell whether a text was refused for a number, and would be JSON otherwise."""
    return "infinity" in exc.msg


def wrong_encoding(body: bytes) -> InvalidBody | None:
    """Refuse a body for its encoding; None: it is UTF-8."""
    # No text that begins as JSON does has a NUL among its first characters.
    if body[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in body[:_FIRST_BYTES]:
        return InvalidBody("The request body looks like UTF-16 or UTF-32: send JSON in UTF-8.")
    try:
        body.decode()
    except UnicodeDecodeError as exc:
        return InvalidBody(f"The request body is not UTF-8 (byte {exc.start}).")
    return None


def too_deep() -> InvalidBody:
    """Refuse a body for its depth."""
    return InvalidBody(f"The request body is nested too deeply: {MAX_DEPTH} levels are allowed.")


def depth(decoded: object) -> int:
    """Return how many arrays and objects are inside one another; told level by level."""
    return sum(1 for _ in _levels(decoded))


def values(decoded: object) -> int:
    """Return how many members and elements there are in all."""
    return sum(sum(map(len, level)) for level in _levels(decoded))


def _levels(decoded: object) -> Iterator[list[list[Any] | dict[str, Any]]]:
    """Yield the arrays and objects that are equally deep inside, level by level."""
    level = [decoded]
    while found := [v for v in level if isinstance(v, list | dict)]:
        yield found
        level = [child for v in found for child in (v.values() if isinstance(v, dict) else v)]


class StrictRequest(Request):
    """A request whose body the framework reads by `read_json`."""

    @override
    async def json(self) -> Any:
        body = await self.body()
        value = read_json(body)
        if body.count(b",") >= MAX_VALUES and values(value) > MAX_VALUES:
            raise InvalidBody(f"The request body holds more than {MAX_VALUES} values.")
        return value
