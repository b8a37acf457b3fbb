"""What a function may read: the system's programs and libraries, and its environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fanfold_server.model.environment import Environment

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")

_ETC = (
    "alternatives", "ca-certificates", "crypto-policies", "fonts", "group", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "matplotlibrc", "mime.types",
    "nsswitch.conf", "OpenCL", "os-release", "passwd", "pki", "ssl", "timezone",
)  # fmt: skip
_ETC_OF_NETWORK = (
    "gai.conf", "host.conf", "hosts", "protocols", "resolv.conf", "services",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where an environment's interpreter and its packages lie.

    Attributes:
        folders: whole directories: the prefix, and that of the interpreter below it.
        links: symbolic links on the way to the interpreter that lie in none of them.
    """

    folders: tuple[Path, ...]
    links: tuple[Path, ...] = ()

    def readable(self, *, network: bool) -> list[str]:
        """Return all that a function may read, its environment and the system's."""
        return [*SYSTEM, *settings_files(network=network), *map(str, self.folders)]


def settings_files(*, network: bool) -> list[str]:
    """Return what libraries read below /etc; nothing there is a secret."""
    return [f"/etc/{name}" for name in (*_ETC, *(_ETC_OF_NETWORK if network else ()))]


def find_places(environment: Environment) -> Places:
    """Follow the interpreter's links, and what a virtual environment says of the one below it."""
    prefix = Path(os.path.abspath(environment.prefix))  # noqa: PTH100  # its links are kept
    folders = [prefix]
    links = []
    for path in links_of(environment.interpreter):
        folder = path.parent.parent
        if folder in folders or any(path.is_relative_to(place) for place in SYSTEM):
            continue
        if _holds_a_library(folder):
            folders.append(folder)
        elif path.is_symlink():
            links.append(path)
    below = _home_of(prefix)
    if below is not None and _holds_a_library(below):
        folders.append(below)
    folders += [folder.resolve() for folder in folders]
    chosen = [
        folder
        for folder in dict.fromkeys(folders)
        if not any(folder.is_relative_to(place) for place in SYSTEM)
    ]
    return Places(folders=tuple(chosen), links=tuple(links))


def links_of(path: Path) -> Iterator[Path]:
    """Yield the path and, as long as it is a symbolic link, what it points to."""
    seen = set()
    while path not in seen:
        yield path
        seen.add(path)
        if path.is_symlink():
            path = Path(os.path.normpath(path.parent / path.readlink()))


def _holds_a_library(folder: Path) -> bool:
    return next((folder / "lib").glob("python3*/os.py"), None) is not None


def _home_of(prefix: Path) -> Path | None:
    """Return the prefix of the interpreter that a virtual environment was made from."""
    try:
        lines = (prefix / "pyvenv.cfg").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        name, _, value = line.partition("=")
        if name.strip().lower() == "home":
            return Path(value.strip()).parent
    return None
