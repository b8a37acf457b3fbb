"""A protocol that a client offers instead of HTTP/1.1 is declined; the request is answered.

Java's HttpClient offers HTTP/2 with every first request over plain HTTP ("Upgrade: h2c"). RFC 9110
(7.8) lets a server ignore the offer; the parser, however, ends such a request after its headers,
and would lose its body. So the request is read again without the offer, by a new parser.
"""

from __future__ import annotations

from typing import Any, Final

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TUNNEL: Final = b"CONNECT"
"""This method is an upgrade by itself, also without the header; its target is no path of ours."""

_NO_REQUEST: Final = "Invalid HTTP request received."


class DecliningProtocol(HttpToolsProtocol):
    """uvicorn's protocol, for which there is nothing but HTTP/1.1."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._is_offered = False

    @override
    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offered:
                data = self._without_offer() + data[offered.args[0] :]
            except httptools.HttpParserError:
                self.logger.warning(_NO_REQUEST)
                self.send_400_response(_NO_REQUEST)
                return
            else:
                return

    @override
    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != _TUNNEL:
            self._is_offered = True
        else:
            super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        if not self._is_offered:
            super().on_message_complete()

    def _without_offer(self) -> bytes:
        """Write the head that was read once more, without the offer, for a new parser."""
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self._version())]
        lines += [b"%s: %s" % pair for pair in self.headers if pair[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._is_offered = False
        return b"\r\n".join([*lines, b"", b""])

    def _version(self) -> bytes:
        return self.parser.get_http_version().encode()
