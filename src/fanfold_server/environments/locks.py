"""Reading locks: which files one names, and the same lock with those files on this disk.

A lock of a virtual environment is a line that names the Python, and a pylock.toml; one of a conda
environment is a JSON object, see `rattler`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fanfold_server.model.errors import InvalidEnvironment

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.(whl|conda|tar\.bz2)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PASSWORD = re.compile(r"(\w+://)[^/@\s\"']+@")
_TOKEN = re.compile(r"(\w+://[^/\s\"']+)/t/[^/\s\"']+/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file that a lock names.

    Attributes:
        url: where it was found.
        sha256: what it hashes to, in hexadecimal.
        file_name: a plain one, of a wheel or a conda package.
    """

    url: str
    sha256: str
    file_name: str


def parts_of(kind: str, lock: str) -> list[Part]:
    """List the files that a lock names, each once.

    Args:
        kind: `venv` or `conda`.

    Raises:
        InvalidEnvironment: the lock cannot be read, or does not say hash and address of a file.
    """
    try:
        found = _parts(kind, lock)
        return list({part.sha256: part for part in found}.values())
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as exc:
        raise InvalidEnvironment(f"The lock cannot be read: {exc!r}") from exc


def _parts(kind: str, lock: str) -> Iterator[Part]:
    if kind == "venv":
        yield from map(_wheel, _pylock_packages(lock))
        return
    locked = json.loads(lock)
    for package in locked["conda"]:
        yield _part(package["name"], package["url"], package["sha256"])
    if locked["pip"]:
        yield from map(_wheel, _pylock_packages(locked["pip"]))


def _pylock_packages(pylock: str) -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = tomllib.loads(pylock).get("packages", [])
    return packages


def _wheel(package: Mapping[str, Any]) -> Part:
    """Take the wheel of a package: uv locks the one that fits."""
    wheels = package.get("wheels") or [{}]
    wheel = wheels[0]
    return _part(package["name"], wheel.get("url"), wheel.get("hashes", {}).get("sha256"))


def _part(name: object, url: object, sha256: object) -> Part:
    if not (isinstance(url, str) and isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise InvalidEnvironment(f"The lock does not say address and SHA-256 of {name}.")
    file_name = unquote(urlsplit(url).path.rpartition("/")[2])
    if _FILE_NAME.fullmatch(file_name) is None:
        raise InvalidEnvironment(f"{file_name!a} is no name of a wheel or a conda package.")
    return Part(url=url, sha256=sha256, file_name=file_name)


def at_hand(kind: str, lock: str, places: Mapping[str, Path]) -> str:
    """Write a lock anew that names files on this disk, and nothing else.

    Args:
        places: SHA-256 of a file → where it lies, absolute.
    """
    if kind == "venv":
        return f"{lock.partition(chr(10))[0]}\n{_pylock(lock, places)}"
    locked = json.loads(lock)
    for package in locked["conda"]:
        place = places[package["sha256"]]
        package |= {"url": place.as_uri(), "file_name": place.name}
    if locked["pip"]:
        locked["pip"] = _pylock(locked["pip"], places)
    return json.dumps(locked)


def _pylock(pylock: str, places: Mapping[str, Path]) -> str:
    lines = ['lock-version = "1.0"', 'created-by = "fanfold"']
    for package in _pylock_packages(pylock):
        part = _wheel(package)
        where = f"url = {_toml(places[part.sha256].as_uri())}"
        lines += ["[[packages]]", f"name = {_toml(package['name'])}"]
        lines += [
            f"{key} = {_toml(package[key])}" for key in ("version", "marker") if key in package
        ]
        lines += [f"wheels = [{{ {where}, hashes = {{ sha256 = {_toml(part.sha256)} }} }}]"]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """Write a basic string of TOML; but for surrogate pairs, JSON's are the same."""
    return json.dumps(text, ensure_ascii=False)


def without_secrets(text: str) -> str:
    """Take passwords and tokens out of every address in a text."""
    return _TOKEN.sub(r"\1/", _PASSWORD.sub(r"\1", text))
