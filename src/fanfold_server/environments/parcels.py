"""Moving locked environments: everything that one is made of, in one file.

A parcel is a tar file of plain files, in this order:

    environment.json    what it is: recipe, description, tags, Python, the machine it is for
    lock                as it was saved, without passwords and tokens
    packages/SHA256     each wheel and conda package that the lock names, by what it hashes to

Nothing but these names is read, and a package that does not hash to its name is refused: what is
installed is what was locked. The environment is then built from these files, as ever, and of
nothing else: no network is needed.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import io
import json
import os
import platform
import re
import secrets
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from fanfold_server.environments.fetching import Fetcher
from fanfold_server.environments.locks import (
    Part,
    at_hand,
    parts_of,
    without_secrets,
)
from fanfold_server.environments.places import FULL, Places, remove_tree, try_lock
from fanfold_server.environments.records import recipe_from
from fanfold_server.model.environment import Made, Maker, Parcel, Recipe
from fanfold_server.model.errors import DiskFull, InvalidEnvironment

DOCUMENT = "environment.json"
LOCK = "lock"
PACKAGES = "packages/"
FORM = 1

_CHUNK_BYTES = 1 << 20
_MOST_DOCUMENT_BYTES = 1 << 20
_MOST_LOCK_BYTES = 64 << 20
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Parcels:
    """Packs environments and unpacks them; the `Carrier` of the port.

    Args:
        places: on the disk of the environments there is room for them.
    """

    def __init__(self, places: Places) -> None:
        self._places = places

    @asynccontextmanager
    async def room(self) -> AsyncIterator[Path]:
        await asyncio.to_thread(self._places.prepare)
        folder, descriptor = await asyncio.to_thread(self._take_room)
        try:
            yield folder
        finally:
            await asyncio.shield(asyncio.to_thread(remove_tree, folder))
            os.close(descriptor)

    def _take_room(self) -> tuple[Path, int]:
        """Make a directory that is locked for as long as we live; remove those of the dead."""
        with _opened(self._places.parcels) as guard:  # so that none is swept before it is locked
            fcntl.flock(guard, fcntl.LOCK_EX)
            for other in self._places.parcels.iterdir():
                with suppress(FileNotFoundError), _opened(other) as descriptor:
                    if try_lock(descriptor):
                        remove_tree(other)
            folder = self._places.parcels / secrets.token_hex(8)
            folder.mkdir(mode=0o700)
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try_lock(descriptor)
        return folder, descriptor

    async def pack(self, made: Made, lock: str, room: Path) -> Path:
        with _unless_full():
            return await self._pack(made, lock, room)

    @staticmethod
    async def _pack(made: Made, lock: str, room: Path) -> Path:
        document = {
            "form": FORM,
            "name": made.name,
            "recipe": asdict(replace(made.recipe, options=())),
            "description": made.description,
            "tags": dict(made.tags),
            "python": made.python,
            "platform": this_platform(),
        }
        target = room / f"{made.name}-{made.version}.tar"
        with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as file:
            texts = {DOCUMENT: json.dumps(document, indent=1), LOCK: lock}
            for name, text in texts.items():
                _add(file, name, without_secrets(text).encode())
            fetcher = Fetcher([*made.recipe.options, *made.recipe.channels])
            for part in parts_of(made.recipe.kind, lock):
                await asyncio.to_thread(_add_package, file, part, fetcher, room / "package")
        return target

    async def unpack(self, source: Path, room: Path) -> Parcel:
        with _unless_full():
            return await asyncio.to_thread(_unpack, source, room)


def this_platform() -> str:
    """Say for which machines packages are that are locked here: `linux-x86_64`."""
    return f"{sys.platform}-{platform.machine()}"


@contextmanager
def _unless_full() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno not in FULL:
            raise
        raise DiskFull("The disk of the environments has no room for the parcel.") from exc


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------ packing


def _add(file: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    file.addfile(member, io.BytesIO(content))


def _add_package(file: tarfile.TarFile, part: Part, fetcher: Fetcher, scratch: Path) -> None:
    fetcher.fetch(part, scratch)
    member = tarfile.TarInfo(PACKAGES + part.sha256)
    member.size = scratch.stat().st_size
    with scratch.open("rb") as copy:
        file.addfile(member, copy)


# ------------------------------------------------------------------ unpacking


class _Members:
    """Reads members one after another; knows the headers of plain files and no others.

    What a general reader of tar files does for links, sparse files and long names is not done.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.name = ""
        self._left = 0
        self._padding = 0

    def next(self) -> bool:
        """Go to the next member; False: there is none."""
        self._exactly(self._padding)
        header = self._exactly(tarfile.BLOCKSIZE)
        if not any(header):
            return False
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.TarError, UnicodeError) as exc:
            raise InvalidEnvironment(f"It holds no exported environment: {exc}.") from exc
        if member.type != tarfile.REGTYPE or member.size < 0:
            raise InvalidEnvironment(f"The parcel holds {member.name!a}, which is no plain file.")
        self.name, self._left = member.name, member.size
        self._padding = -member.size % tarfile.BLOCKSIZE
        return True

    def text(self, name: str, most_bytes: int) -> str:
        """Read the next member whole, which has to be this one."""
        if not self.next() or self.name != name:
            raise InvalidEnvironment(f'It holds no exported environment: "{name}" is not there.')
        if self._left > most_bytes:
            raise InvalidEnvironment(
                f'"{name}" has {self._left} bytes; it may have {most_bytes} at most.'
            )
        content = b"".join(self.chunks())
        try:
            return content.decode()
        except UnicodeError as exc:
            raise InvalidEnvironment(f'"{name}" is no text: {exc}.') from exc

    def chunks(self) -> Iterator[bytes]:
        """Read what is left of the member."""
        while self._left:
            chunk = self._exactly(min(self._left, _CHUNK_BYTES))
            self._left -= len(chunk)
            yield chunk

    def _exactly(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise InvalidEnvironment("The parcel ends too early: it has not come whole.")
        return found


def _unpack(source: Path, room: Path) -> Parcel:
    with source.open("rb") as file:
        members = _Members(file)
        document = _read_document(members.text(DOCUMENT, _MOST_DOCUMENT_BYTES))
        lock = members.text(LOCK, _MOST_LOCK_BYTES)
        recipe = _recipe(document.get("recipe"))
        wanted = {part.sha256: part for part in parts_of(recipe.kind, lock)}
        places: dict[str, Path] = {}
        while members.next():
            sha256 = members.name.removeprefix(PACKAGES)
            part = wanted.get(sha256)
            if part is None or sha256 in places or members.name != PACKAGES + sha256:
                raise InvalidEnvironment(
                    f"The parcel holds {members.name!a}, which its lock does not name, or twice."
                )
            places[sha256] = _take(members, part, room / sha256)
    missing = [part.file_name for sha256, part in wanted.items() if sha256 not in places]
    if missing:
        raise InvalidEnvironment(f"The parcel lacks {missing[0]}, which its lock names.")
    return Parcel(
        name=document["name"],
        recipe=recipe,
        description=document["description"],
        tags=document["tags"],
        lock=lock,
        at_hand=at_hand(recipe.kind, lock, places),
    )


def _take(members: _Members, part: Part, folder: Path) -> Path:
    folder.mkdir()
    path = folder / part.file_name
    digest = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in members.chunks():
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != part.sha256:
        raise InvalidEnvironment(f"{part.file_name} is not what its lock says: another SHA-256.")
    return path


def _read_document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (RecursionError, ValueError) as exc:
        raise InvalidEnvironment(f'"{DOCUMENT}" is not JSON: {exc}.') from exc
    if not isinstance(document, dict) or document.get("form") != FORM:
        raise InvalidEnvironment(
            f'"{DOCUMENT}" is not of the form {FORM}: another version of fanfold has written it.'
        )
    texts = [document.get("name"), document.get("description"), document.get("platform")]
    tags = document.get("tags")
    if not (_are_texts(texts) and isinstance(tags, dict) and _are_texts([*tags, *tags.values()])):
        raise InvalidEnvironment(
            f'"{DOCUMENT}" has to say name, description and platform, and tags: all of them texts.'
        )
    if document["platform"] != this_platform():
        raise InvalidEnvironment(
            f"The environment is for {document['platform']}, and this is {this_platform()}: its "
            "packages do not run here."
        )
    return document


def _recipe(values: object) -> Recipe:
    """Read a recipe that may be anybody's; what conda has locked, py-rattler installs."""
    try:
        if not isinstance(values, dict):
            raise TypeError("it is no object")
        recipe = recipe_from(values)
        lists = (recipe.channels, recipe.packages, recipe.requirements)
        words = [word for each in lists for word in each]
        variables = [*recipe.variables, *recipe.variables.values()]
        if not _are_texts([*words, *variables]) or not isinstance(recipe.python, str | None):
            raise TypeError("it holds more than texts")
        if not all(map(_VARIABLE.fullmatch, recipe.variables)):
            raise ValueError("a variable's name is none")
        maker = {"venv": Maker.UV, "conda": Maker.RATTLER}[recipe.kind]
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise InvalidEnvironment(f'The recipe in "{DOCUMENT}" cannot be read: {exc!r}.') from exc
    return replace(recipe, maker=maker, options=())


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) and "\0" not in value for value in values)
