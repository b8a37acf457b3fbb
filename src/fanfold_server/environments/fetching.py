"""Fetching packages that a lock names, with the operator's proxies, certificates and passwords.

Passwords are where uv and conda find them, too: in the addresses of indexes and channels, of the
recipe or of the usual variables, and in a netrc file. They go to the host that they are for, and
not where that sends us on.
"""

from __future__ import annotations

import base64
import hashlib
import netrc
import os
import re
import ssl
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from fanfold_server.environments.locks import Part
from fanfold_server.environments.places import FULL
from fanfold_server.model.errors import PackageGone

_CHUNK_BYTES = 1 << 20
_LIMIT_S = 120.0
"""How long whoever sends a package may say nothing."""

_INDEXES = (
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"),
)
_WITH_PASSWORD = re.compile(r"\w+://[^/@\s\"']+@[^/\s\"']+")
_SCHEMES = frozenset({"http", "https", "file"})

Login = tuple[str, str]


class Fetcher:
    """Fetches packages.

    Args:
        addresses: of indexes and channels, in whatever text; those with passwords count.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        variables = (os.environ.get(name, "") for name in _INDEXES)
        found = _WITH_PASSWORD.findall("\n".join([*addresses, *variables]))
        self._logins: Mapping[str, Login] = {_host(address): _login(address) for address in found}
        context = ssl.create_default_context()
        if "SSL_CERT_FILE" not in os.environ and "PIP_CERT" in os.environ:
            context.load_verify_locations(os.environ["PIP_CERT"])
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def fetch(self, part: Part, target: Path) -> None:
        """Fetch a file; blocks.

        Raises:
            PackageGone: it cannot be had, or is another one now.
            OSError: the target cannot be written.
        """
        digest = hashlib.sha256()
        try:
            request = self._request(part.url)
            with self._opener.open(request, timeout=_LIMIT_S) as source, target.open("wb") as copy:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    copy.write(chunk)
        except (OSError, ValueError) as exc:
            if isinstance(exc, OSError) and exc.errno in FULL:
                raise
            raise PackageGone(
                f"The package {part.file_name} cannot be had from where it came from: {exc}. An "
                "environment that was imported is exported where it was made."
            ) from exc
        if digest.hexdigest() != part.sha256:
            raise PackageGone(
                f"The package {part.file_name} is another one now: its SHA-256 is not what was "
                "locked."
            )

    def _request(self, url: str) -> urllib.request.Request:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            raise ValueError(f"{parts.scheme} addresses are not fetched")
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        request = urllib.request.Request(bare)  # noqa: S310  # its scheme has been looked at
        login = _login(url) if "@" in parts.netloc else self._logins.get(_host(url))
        login = login or _from_netrc(parts.hostname)
        if login is not None:
            word = base64.b64encode(":".join(login).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {word}")
        return request


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _login(url: str) -> Login:
    parts = urlsplit(url)
    return unquote(parts.username or ""), unquote(parts.password or "")


def _from_netrc(host: str | None) -> Login | None:
    """Look a host up in the file of the variable NETRC, or in the usual one."""
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if host is None or not path.is_file():
        return None
    try:
        found = netrc.netrc(path).authenticators(host)
    except netrc.NetrcParseError as exc:
        raise ValueError(f"{path} cannot be read: {exc}") from exc
    return (found[0], found[2]) if found else None
