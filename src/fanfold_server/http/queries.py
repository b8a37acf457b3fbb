"""Query parameters that a route does not take, or not twice: refused on fanfold's own routes.

A misspelt filter that is ignored answers another question than the one that was asked, and so does
a filter of two values of which the last is taken. The compatible routes stay tolerant, as the
service is that they are compatible with.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Final, get_args, get_origin
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from fanfold_server.model.errors import InvalidField

OWN: Final = "/api/"
"""Below this everything is fanfold's own."""

_SHOWN_CHARACTERS: Final = 60
_COMPARED_MEMBERS: Final = 50


def declared(dependant: Dependant) -> dict[str, bool]:
    """List the query parameters that a route declares, by itself or through what it depends on.

    Returns:
        By name, whether it may be given several times.
    """
    names: dict[str, bool] = {}
    for parameter in dependant.query_params:
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names |= {
                field.alias or name: _takes_many(field.annotation)
                for name, field in model.model_fields.items()
            }
        else:
            names[parameter.alias] = _takes_many(model)
    for dependency in dependant.dependencies:
        names |= declared(dependency)
    return names


def check_query(request: Request, known: Mapping[str, bool]) -> None:
    """Refuse parameters that are not among those that a route takes, or are given too often.

    Raises:
        InvalidField: names the first such parameter, and all that there are; or the query is no
            UTF-8.
    """
    query: bytes = request.scope["query_string"]
    if not query:
        return
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError as exc:
        raise InvalidField("The query is not UTF-8 where it is written with %.") from exc
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        shown = shortened(name)
        if name not in known:
            what = no_such(name, list(known))
            raise InvalidField(f'The query parameter "{shown}" {what}', field=shown)
        if not known[name] and given.count(name) > 1:
            raise InvalidField(
                f'The query parameter "{shown}" is given {given.count(name)} times; it should be '
                "given once.",
                field=shown,
            )


def shortened(name: str) -> str:
    """Cut a name of the caller's, which may be as long as a body, to what an error shows of it."""
    return name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"


def _takes_many(annotation: object) -> bool:
    return get_origin(annotation) is list or any(map(_takes_many, get_args(annotation)))


def no_such(name: str, known: Sequence[str]) -> str:
    """Say that there is no member or parameter of a name, as the rest of a sentence."""
    if not known:
        return "does not exist; there are none here."
    near = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], known, n=1)
    guess = f'; did you mean "{near[0]}"?' if near else "."
    return f"does not exist; there are {', '.join(known)}{guess}"


def missing(name: str, given: object) -> str:
    """Say that a member is missing, and as what it may have been meant.

    Args:
        given: the object that lacks it.
    """
    others = list(map(str, given)) if isinstance(given, dict) else []
    if len(others) > _COMPARED_MEMBERS:  # to compare takes time
        others = []
    names = {other[:_SHOWN_CHARACTERS].lower(): shortened(other) for other in others}
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f'is missing; did you mean it by "{names[near[0]]}"?' if near else "is missing."
