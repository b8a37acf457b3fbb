"""The way out of a sandbox that may reach listed hosts alone: a port that leads to the server.

The socket listens inside, where there is no other network, and the server has it accepted outside.
Nothing of it stays open here; libraries find the port by the variables that they all know.
"""

from __future__ import annotations

import os
import socket

_BACKLOG = 128
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def open_outlet(control: socket.socket, inside: str) -> None:
    """Listen, hand the socket to the server, and say in the environment where it is.

    Args:
        inside: names that stand for this sandbox, with commas: nobody asks the way out for them.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        address = "http://127.0.0.1:%d" % listener.getsockname()[1]
        socket.send_fds(control, [b'{"op": "outlet"}\n'], [listener.fileno()])
    for name in _VARIABLES:
        os.environ[name] = os.environ[name.upper()] = address
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = inside
