"""Accounts, passwords and tokens: who may come in."""

from __future__ import annotations

from dataclasses import dataclass

from fanfold_server.model.actor import Account, Actor, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A fresh access token; `text` goes into the header, `expires_in_s` seconds of life."""

    text: str
    expires_in_s: int


class Access:
    """Issues and checks tokens. `now` is always `time.monotonic()`."""

    async def has_accounts(self) -> bool:
        raise NotImplementedError

    async def issue(self, username: str, password: str, *, address: str) -> Token:
        raise NotImplementedError

    async def refresh(self, token: str) -> Token:
        raise NotImplementedError

    async def revoke(self, token: str) -> None:
        raise NotImplementedError

    def known(self, token: bytes, now: float) -> Actor | None:
        raise NotImplementedError

    async def authenticate(self, token: bytes) -> Actor:
        raise NotImplementedError

    async def add_user(self, name: str, password: str, role: Role) -> None:
        raise NotImplementedError

    async def list_users(self) -> list[Account]:
        raise NotImplementedError

    async def set_password(self, name: str, password: str) -> None:
        raise NotImplementedError

    async def disable(self, name: str) -> None:
        raise NotImplementedError

    async def enable(self, name: str) -> None:
        raise NotImplementedError
