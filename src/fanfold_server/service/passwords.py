"""Passwords: hashed by argon2id, a few at a time, off the event loop."""

from __future__ import annotations

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from fanfold_server.model.errors import Overloaded

MAX_WAITING = 200
"""How many checks may wait; at about 0.1 s a check, the last of them waits some ten seconds."""


class Passwords:
    """Makes and checks password hashes.

    A check takes 64 MiB and about a tenth of a second. Without a bound on how many run at once, the
    route that issues tokens would be a way to fill the machine's memory.

    Args:
        concurrency: checks that run at once, ≥ 1.
        hasher: cost parameters; the library's recommended ones if left out.
    """

    def __init__(self, *, concurrency: int, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._free = asyncio.Semaphore(concurrency)
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """Hash a new password."""
        async with self._free:
            return await asyncio.to_thread(self._hasher.hash, _bytes(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Check a password.

        Args:
            password_hash: what `hash` gave; None for an account that does not exist, which takes
                the same time, so that the time does not tell which accounts exist.
            password: what was sent.

        Raises:
            Overloaded: `MAX_WAITING` others wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many logins are waiting; try again later.", retry_after_s=5)
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(self._check, password_hash, _bytes(password))
        finally:
            self._waiting -= 1

    def _check(self, password_hash: str | None, password: bytes) -> bool:
        if self._nobodys is None:
            self._nobodys = self._hasher.hash(secrets.token_bytes(32))
        try:
            # Under the hash of a random text nobody's password is ever right.
            return self._hasher.verify(password_hash or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False


def _bytes(password: str) -> bytes:
    # JSON can carry half of a surrogate pair, which UTF-8 proper cannot.
    return password.encode("utf-8", "surrogatepass")
