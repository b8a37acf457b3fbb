"""How a framework route answers: compact JSON with its exact length, or nothing."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
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


class AnswerBody(BaseModel):
    """What a route of our own API answers: members are in camelCase, whatever Python calls them."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, alias_generator=to_camel)


class Nothing(Response):
    """Done, and there is nothing to say: 204 without a body."""

    def __init__(self) -> None:
        super().__init__(status_code=204)
