"""Sealing by AES-256-GCM with a key in a file that this account alone may read.

The key is made when it is first needed, whole or not at all, also when two processes do so at once.
What is sealed is bound to its context (whose it is, and its name), so that whoever may write the
database cannot give one account another's secret.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fanfold_server.model.errors import SecretUnreadable

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FORM: Final = b"\x01"
"""The first byte says how the rest is to be read."""


class FileSealer:
    """The `Sealer` with a key in a file.

    Args:
        path: the file; made at the first secret that is sealed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cipher: AESGCM | None = None

    def seal(self, text: str, context: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._with_key(make=True)
        return _FORM + nonce + cipher.encrypt(nonce, text.encode(), context.encode())

    def open(self, sealed: bytes, context: str) -> str:
        form, nonce = sealed[:1], sealed[1 : 1 + _NONCE_BYTES]
        try:
            if form != _FORM:
                raise InvalidTag
            cipher = self._with_key(make=False)
            return cipher.decrypt(nonce, sealed[1 + _NONCE_BYTES :], context.encode()).decode()
        except (InvalidTag, OSError, ValueError) as exc:
            raise SecretUnreadable(
                f"The secret cannot be opened: the key in {self._path.name} is not there, or not "
                "the one that it was sealed with; store the secret again."
            ) from exc

    def _with_key(self, *, make: bool) -> AESGCM:
        if self._cipher is None:
            if make and not self._path.exists():
                _make_key(self._path)
            self._cipher = AESGCM(self._path.read_bytes())
        return self._cipher


def _make_key(path: Path) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        os.link(fresh, path)
    except FileExistsError:
        pass  # another process was first: its key is the one
    finally:
        fresh.unlink()
