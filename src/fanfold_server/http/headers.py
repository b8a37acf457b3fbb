"""The headers that every answer carries, as raw pairs that are built once.

`front.py` puts them on whatever the framework answers; the hot routes build their own list of
headers and begin it with one of these.

Source: the security headers are those that the compatible service prints; `Deprecation` is
RFC 9745 (a date in Unix seconds behind an `@`), `Sunset` RFC 8594.
"""

from __future__ import annotations

from typing import Final

Headers = list[tuple[bytes, bytes]]
"""Raw response headers; names in lower case, as ASGI wants them."""

SECURITY_HEADERS: Final[Headers] = [
    (b"cache-control", b"no-cache, no-store, must-revalidate"),
    (b"pragma", b"no-cache"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-xss-protection", b"1;mode=block"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
]

DEPRECATION_HEADERS: Final[Headers] = [
    (b"deprecation", b"@1767225600"),
    (b"sunset", b"Tue, 31 Mar 2026 00:00:00 GMT"),
    (b"warning", b'299 - "v1 is deprecated: use /oml/api/py-scripts/v2"'),
    (b"link", b'</oml/api/py-scripts/v2>; rel="successor-version"'),
]

V1_HEADERS: Final[Headers] = [*SECURITY_HEADERS, *DEPRECATION_HEADERS]
"""What an answer below `/oml/api/py-scripts/v1` carries."""

JSON_TYPE: Final = (b"content-type", b"application/json")
"""As the compatible service prints it: without a charset."""


def as_lines(headers: Headers) -> bytes:
    """Write headers as they are sent, each with its line break."""
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)


SECURITY_LINES: Final = as_lines(SECURITY_HEADERS)
V1_LINES: Final = as_lines(V1_HEADERS)
