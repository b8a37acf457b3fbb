"""What the head of a request says of it, and what is refused for its head.

Read once for each request, in one loop: a run pays a microsecond or two here. What is no head at
all never comes so far: the parser refuses it.

Source: RFC 9112, sections 2.3 (versions), 3.2 (Host) and 6.1 (transfer codings).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from fanfold_server.model.errors import BodyTooLarge, EncodedBody, InvalidRequest, UnknownCoding

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

HTTP: Final = "1.1"
"""The version that this server speaks."""

_OLD_HTTP: Final = "1.0"
_HOST_BYTES: Final = (
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+,;=:[]"
)
_WRONG_HOST: Final = 2
_OWN: Final = "/api/"
_REPLACED: Final = "\ufffd"
_ID_LENGTH: Final = 64
_UNKNOWN_LENGTH: Final = -1
_ENCODED: Final = -2
_CODED: Final = -3


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, int, int]:
    """Read what matters for every request.

    Returns:
        The request's id, else an empty text; the length of its body, which is for `within`; how
        often it names its host, 2 or more if it does so wrongly.
    """
    request_id = ""
    body_bytes = hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += _WRONG_HOST if value.translate(None, _HOST_BYTES) else 1
        elif name == b"content-length":
            if body_bytes > _ENCODED:
                body_bytes = int(value)
        elif name == b"x-request-id":
            request_id = _sane(value)
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                body_bytes = _CODED
            elif body_bytes > _ENCODED:
                body_bytes = _UNKNOWN_LENGTH
        elif name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            body_bytes = min(body_bytes, _ENCODED)
    return request_id, body_bytes, hosts


def check_head(scope: MutableMapping[str, Any], hosts: int) -> None:
    """Refuse another HTTP than ours, no host or several, and below `/api` a path that is no text.

    The compatible routes stay as tolerant as they are: nothing there is stored under a name.

    Args:
        scope: of the request.
        hosts: see `read_head`.

    Raises:
        InvalidRequest: says what is wrong.
    """
    version, path = scope["http_version"], scope["path"]
    if _REPLACED in path and path.startswith(_OWN):
        try:
            unquote_to_bytes(scope["raw_path"]).decode()
        except UnicodeDecodeError as exc:
            # Other bytes give the same path: no thing is had by names that it was not given.
            raise InvalidRequest("The path is not UTF-8 where it is written with %.") from exc
    if hosts == 1 and version == HTTP:
        return
    if version not in {HTTP, _OLD_HTTP}:
        raise InvalidRequest(f"This server speaks HTTP/{HTTP}, not HTTP/{version}.")
    if hosts > 1:
        raise InvalidRequest('The header "Host" is given twice, or is no name of a host.')
    if hosts == 0 and version == HTTP:
        raise InvalidRequest('The header "Host" is missing, which HTTP/1.1 demands.')


def within(limit_bytes: int, body_bytes: int, receive: Receive) -> Receive:
    """Refuse a body that is compressed or too large, or see to it that it does not become so.

    Args:
        limit_bytes: how long it may be.
        body_bytes: see `read_head`; not 0.
        receive: gives the body.

    Raises:
        UnknownCoding, EncodedBody, BodyTooLarge: before anything of it is read.
    """
    if body_bytes == _CODED:
        raise UnknownCoding
    if body_bytes == _ENCODED:
        raise EncodedBody
    if body_bytes > limit_bytes:
        raise _too_large(limit_bytes, body_bytes)
    return _counting(receive, limit_bytes) if body_bytes == _UNKNOWN_LENGTH else receive


def _counting(receive: Receive, limit_bytes: int) -> Receive:
    """Count a body that comes in chunks, and stop it where it is too large."""
    seen_bytes = 0

    async def counted() -> Message:
        nonlocal seen_bytes
        message = await receive()
        seen_bytes += len(message.get("body", b""))
        if seen_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        return message

    return counted


def _too_large(limit_bytes: int, body_bytes: int | None = None) -> BodyTooLarge:
    size = "more" if body_bytes is None else f"{body_bytes} bytes"
    return BodyTooLarge(
        f"The request body may have {limit_bytes} bytes; this one has {size}.",
        limit_bytes=limit_bytes,
    )


def _sane(value: bytes) -> str:
    """Take a client's request id if it is short and plain; else the empty string."""
    if len(value) <= _ID_LENGTH and value.translate(None, b"-_.:").isalnum():
        return value.decode("ascii")
    return ""
