"""Where the passwords of databases of others come from.

A password is sealed (`sealing.py`), so that a copy of the metadata database holds none; or it is
not kept here at all, but read from the environment or from a file, each time it is needed. What may
be named there is limited, since those who register databases over the network need not be those who
own this machine: variables that begin with `FANFOLD_SECRET_`, and files of one directory.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Final

from fanfold_server.model.data_source import DataSource
from fanfold_server.model.errors import SecretUnreadable, SourceUnavailable
from fanfold_server.store.sealing import FileSealer

ENV_PREFIX: Final = "FANFOLD_SECRET_"
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Vault:
    """Seals passwords, and gives them again.

    Args:
        sealer: has the key.
        files: directory of the files that may be named.
    """

    def __init__(self, sealer: FileSealer, files: Path) -> None:
        self._sealer = sealer
        self._files = files

    def seal(self, name: str, password: str) -> str:
        """Encrypt the password of a source; for that one only."""
        return b64encode(self._sealer.seal(password, _context(name))).decode()

    def reveal(self, source: DataSource, sealed: str | None) -> str | None:
        """Give the password of a source.

        Raises:
            SourceUnavailable: it is not where it should be, or cannot be decrypted.
        """
        where, _, rest = (source.password or "").partition(":")
        match where:
            case "":
                return None
            case "env":
                return self._from_environment(source.name, rest)
            case "file":
                return self._from_file(source.name, rest)
            case _:
                return self._opened(source.name, sealed)

    def _opened(self, name: str, sealed: str | None) -> str:
        try:
            return self._sealer.open(b64decode((sealed or "").encode()), _context(name))
        except SecretUnreadable as exc:
            raise SourceUnavailable(
                f'The stored password of the database "{name}" cannot be opened: the key is not '
                "there, or not the one that it was sealed with; register the database again.",
                source=name,
            ) from exc

    def _from_environment(self, name: str, variable: str) -> str:
        if not variable.startswith(ENV_PREFIX) or variable not in os.environ:
            raise SourceUnavailable(
                f'The password of the database "{name}" should be in the variable {variable}, '
                "which this server does not have.",
                source=name,
            )
        return os.environ[variable]

    def _from_file(self, name: str, file: str) -> str:
        try:
            if _FILE_NAME.fullmatch(file) is None:
                raise FileNotFoundError(file)
            text = (self._files / file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise SourceUnavailable(
                f'The password of the database "{name}" should be in the file "{file}" of the '
                "directory of secrets, which cannot be read.",
                source=name,
            ) from exc
        return text.removesuffix("\n").removesuffix("\r")


def _context(name: str) -> str:
    return f"source {name}"
