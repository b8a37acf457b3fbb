"""JSON encoders that a script cannot spoil by what it does to the module json.

`json.dumps` goes through methods of `json.JSONEncoder` at every call; a script may replace those.
What is made here holds on to the C encoder itself.
"""

from __future__ import annotations

import json.encoder
from typing import Any, Callable


def make_encoder(ascii_only: bool) -> Callable[[Any], str]:
    """Return a function that encodes plain values compactly, and refuses NaN and infinities.

    Args:
        ascii_only: escape all but ASCII.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # a Python without that extension
        settings = json.JSONEncoder(
            ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"), check_circular=False
        )
        return settings.encode
    text = json.encoder.encode_basestring_ascii if ascii_only else json.encoder.encode_basestring
    chunks = make(None, _refuse, text, None, ":", ",", False, False, False)
    join = "".join

    def encode(value: Any) -> str:
        return join(chunks(value, 0))

    return encode


def _refuse(value: object) -> object:
    raise TypeError("%s has no JSON form" % type(value).__name__)
