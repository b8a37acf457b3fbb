"""Addresses that we hand out: they begin with what the client used to reach us.

A client of the compatible wire compares the address of a job with its own base URL, so scheme,
host, port and the legacy prefix come back as they were sent.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import quote

ROOT = "/oml"


def origin(scope: MutableMapping[str, Any], public_url: str | None) -> str:
    """Say under which scheme, host and port the client reaches this server, without a slash.

    Args:
        scope: of the request.
        public_url: what the operator says it is; None: what the request says.
    """
    if public_url is not None:
        return public_url
    host = _header(scope, b"host")
    if not host:
        name, port = scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else str(name)
    return f"{scope['scheme']}://{host}"


def job_url(
    scope: MutableMapping[str, Any], public_url: str | None, *, version: str, job: str
) -> str:
    """Write the address of a job on the compatible surface.

    Args:
        scope: of the request.
        public_url: see `origin`.
        version: v1 or v2.
        job: its id.
    """
    root = quote(scope.get("fanfold.root", ROOT), safe="/:@!$&'()*+,;=~-._")
    return f"{origin(scope, public_url)}{root}/api/py-scripts/{version}/jobs/{job}"


def as_forwarded(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the scope as the client's request would have made it without the proxy between.

    `X-Forwarded-Proto` and `X-Forwarded-Host` are read, of several values the first: a proxy that
    is trusted overwrites what a client sends. What they do not say stays.
    """
    scheme = _first(_header(scope, b"x-forwarded-proto")).lower()
    host = _first(_header(scope, b"x-forwarded-host"))
    seen = {**scope}
    if scheme in {"http", "https"}:
        seen["scheme"] = scheme
    if host:
        kept = [pair for pair in scope["headers"] if pair[0] != b"host"]
        seen["headers"] = [(b"host", host.encode("latin-1")), *kept]
    return seen


def _header(scope: MutableMapping[str, Any], wanted: bytes) -> str:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return ""


def _first(value: str) -> str:
    return value.split(",", 1)[0].strip()
