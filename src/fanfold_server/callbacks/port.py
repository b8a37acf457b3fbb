"""What calling another server is, stated as the use cases need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fanfold_server.model.callback import Target


class NotDelivered(Exception):
    """Nobody has answered. The message says why, and no more than whoever asked for it may know."""


class Post(Protocol):
    """Sends a message.

    An implementer guarantees that

    - it connects to no address that the target does not admit, whatever a name server says;
    - it follows no redirect, and takes no proxy, cookie or password from anywhere;
    - it reads no more of an answer than its head.
    """

    async def send(self, target: Target, headers: Mapping[str, str], body: bytes) -> int:
        """POST a body; return the status of the answer, whatever it is.

        Raises:
            NotDelivered: there was no answer.
        """
        ...
