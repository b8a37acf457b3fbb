"""Query parameters that a route does not take: refused on fanfold's own routes.

A misspelt filter that is ignored answers another question than the one that was asked. The
compatible routes stay tolerant, as the service is that they are compatible with.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from fanfold_server.model.errors import InvalidField

OWN: Final = "/api/"
"""Below this everything is fanfold's own."""

_SHOWN_CHARACTERS: Final = 60


def declared(dependant: Dependant) -> list[str]:
    """List the query parameters that a route declares, by itself or through what it depends on."""
    names: list[str] = []
    for parameter in dependant.query_params:
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names += [field.alias or name for name, field in model.model_fields.items()]
        else:
            names.append(parameter.alias)
    for dependency in dependant.dependencies:
        names += declared(dependency)
    return list(dict.fromkeys(names))


def check_query(request: Request, known: Sequence[str]) -> None:
    """Refuse parameters that are not among those that a route takes.

    Raises:
        InvalidField: names the first such parameter, and all that there are.
    """
    if not request.scope["query_string"]:
        return
    for name in request.query_params:
        if name not in known:
            shown = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
            raise InvalidField(f'The query parameter "{shown}" {no_such(name, known)}', field=shown)


def no_such(name: str, known: Sequence[str]) -> str:
    """Say that there is no member or parameter of a name, as the rest of a sentence."""
    if not known:
        return "does not exist; there are none here."
    near = difflib.get_close_matches(name, known, n=1)
    guess = f'; did you mean "{near[0]}"?' if near else "."
    return f"does not exist; there are {', '.join(known)}{guess}"
