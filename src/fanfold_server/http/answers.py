"""How a framework route answers: compact JSON with its exact length, or nothing."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from pydantic import BaseModel
from starlette.responses import Response
from typing_extensions import override


class Json(Response):
    """A JSON body: compact, with `Content-Length`, and a type without charset."""

    media_type = "application/json"

    @override
    def render(self, content: BaseModel | Mapping[str, object] | bytes) -> bytes:
        """Write the content; bytes are taken to be JSON already."""
        if isinstance(content, bytes):
            return content
        if isinstance(content, BaseModel):
            return orjson.dumps(content.model_dump(by_alias=True))
        return orjson.dumps(content)


class Nothing(Response):
    """Done, and there is nothing to say: 204 without a body."""

    def __init__(self) -> None:
        super().__init__(status_code=204)
