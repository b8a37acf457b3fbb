"""Passwords: hashed by argon2id, a few at a time, off the event loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from fanfold_server.model.errors import Overloaded

T = TypeVar("T")
Args = TypeVarTuple("Args")

MAX_WAITING = 200
"""How many checks may wait; at about 0.1 s a check, the last of them waits some ten seconds."""


class Passwords:
    """Makes and checks password hashes.

    A check takes 64 MiB and about a tenth of a second. Without a bound on how many run at once, the
    route that issues tokens would be a way to fill the machine's memory. The bound is the number of
    threads: one who goes away in the middle of a check does not make room for another.

    Args:
        concurrency: checks that run at once, ≥ 1.
        hasher: cost parameters; the library's recommended ones if left out.
    """

    def __init__(self, *, concurrency: int, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="password")
        self._turns = asyncio.Semaphore(concurrency)
        self._waiting = 0
        self._nobodys: str | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn to check a password: not more than `concurrency` have it at once.

        Raises:
            Overloaded: `MAX_WAITING` others wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many logins are waiting; try again later.", retry_after_s=5)
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def hash(self, password: str) -> str:
        """Hash a new password."""
        return await self._in_thread(self._hasher.hash, _bytes(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Check a password; to be called in one's `turn`.

        Args:
            password_hash: what `hash` gave; None for an account that does not exist, which takes
                the same time, so that the time does not tell which accounts exist.
            password: what was sent.
        """
        return await self._in_thread(self._check, password_hash, _bytes(password))

    async def _in_thread(self, function: Callable[[*Args], T], *args: *Args) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

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
