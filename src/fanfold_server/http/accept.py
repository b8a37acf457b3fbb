"""Which form of an answer a client wants.

Source: RFC 9110, section 12.5.1 (the header Accept, its ranges and weights).
"""

from __future__ import annotations

from collections.abc import Sequence

from fanfold_server.model.errors import NotAcceptable


def chosen(accept: str | None, offered: Sequence[str]) -> str:
    """Choose the media type that weighs most; among equals, the one that is offered first.

    Args:
        accept: the header; None or empty means anything.
        offered: media types in lower case, the default first.

    Raises:
        NotAcceptable: none of them is wanted.
    """
    if not accept or not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")]
    best = max(offered, key=lambda media_type: _weight(media_type, ranges))
    if _weight(best, ranges) <= 0:
        forms = ", ".join(offered)
        raise NotAcceptable(
            f'There is no such form of this ("Accept: {accept}"); there are {forms}.'
        )
    return best


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (word.strip().lower() for word in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _weight(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Weigh a type by the most specific range that it is in."""
    group = media_type.split("/", 1)[0] + "/*"
    for wanted in (media_type, group, "*/*"):
        weights = [weight for name, weight in ranges if name == wanted]
        if weights:
            return max(weights)
    return 0.0
