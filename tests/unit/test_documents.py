"""The documents of the routes are written when they are asked for, and once."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from fanfold_server.http.documents import Documents


async def test_they_are_written_once_and_when_asked_for() -> None:
    """A third of a server's start went into them, and most servers are never asked."""
    written = []

    def describe() -> dict[str, Any]:
        written.append("the document")
        return {"tags": [], "paths": {}, "info": {"title": "t", "version": "1"}}

    documents = Documents(describe)
    assert written == []
    first, again, page = await asyncio.gather(
        documents.openapi_json(), documents.openapi_json(), documents.reference()
    )
    assert orjson.loads(first) == orjson.loads(again) == describe()
    assert page.startswith("<!doctype html>")
    assert written == ["the document"] * 2  # theirs, and the one of the line above
