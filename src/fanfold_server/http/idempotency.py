"""The header `Idempotency-Key`: the same request sent twice makes one job.

The header is that of the IETF draft "The Idempotency-Key HTTP Header Field". A key that comes again
with another request is refused, so what it came with is kept as a digest of the body's meaning: the
order of members and the blanks between them may differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from fanfold_server.http.run_schemas import MAX_KEY
from fanfold_server.model.errors import InvalidField
from fanfold_server.service.submissions import Idempotency


def idempotency(
    headers: Iterable[tuple[bytes, bytes]], *asked: str | None, body: bytes = b""
) -> Idempotency | None:
    """Find the header.

    Args:
        asked: what the path says.
        body: JSON that has been read before; or nothing.

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
    meant: Any = orjson.loads(body) if body.strip() else {}
    text = orjson.dumps([asked, meant], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).digest()
