"""The header `Idempotency-Key`: the same request sent twice makes one job.

The header is that of the IETF draft "The Idempotency-Key HTTP Header Field". A key that comes again
with another request is refused, so what it came with is kept as a digest of the body's meaning: the
order of members and the blanks between them may differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final

from fanfold_server.model.errors import InvalidField
from fanfold_server.model.submission import Idempotency

MAX_KEY: Final = 255
"""Characters of a key, at most."""

_MAX_DIGITS: Final = 1000


def idempotency(
    headers: Iterable[tuple[bytes, bytes]], *asked: str | None, body: bytes = b""
) -> Idempotency | None:
    """Find the header.

    Args:
        asked: what the path says.
        body: of the request; what is no JSON stands for itself.

    Raises:
        InvalidField: the key is empty, too long, or has other characters than printable ASCII.
    """
    for name, value in headers:
        if name == b"idempotency-key":
            key = value.decode("latin-1").strip()
            if 0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable():
                return Idempotency(key=key, request=_digest(asked, body))
            raise InvalidField(
                f'The header "Idempotency-Key" should be 1 to {MAX_KEY} printable ASCII '
                "characters.",
                field="Idempotency-Key",
            )
    return None


def _digest(asked: tuple[str | None, ...], body: bytes) -> bytes:
    meant: Any
    try:
        meant = json.loads(body, parse_int=_whole) if body.strip() else {}
    except (ValueError, RecursionError):
        meant = body.decode("latin-1")  # no JSON: refused by whoever reads it next
    text = json.dumps([asked, meant], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _whole(digits: str) -> int | float:
    """Keep every digit of a number that any function is given; longer ones are refused there."""
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)
