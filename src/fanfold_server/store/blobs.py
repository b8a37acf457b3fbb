"""`Blobs` in a folder. Agents on several machines need one that all of them mount."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from fanfold_server.model.errors import DiskFull
from fanfold_server.store.port import BlobMissing

INCOMING = "incoming"
"""Where blobs are written before they get their names."""

_LEFT_BEHIND_S = 3600
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_NO_LINKS = frozenset((errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP))


class FolderBlobs:
    """`Blobs` in a folder: a blob's key is its path.

    Args:
        root: is made if need be, for its owner alone; its parent is there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / INCOMING
        for folder in (root, self._incoming):
            folder.mkdir(mode=0o700, exist_ok=True)
        self._remove_left_behind()

    async def write(self, blobs: Mapping[str, bytes]) -> None:
        await asyncio.to_thread(self._write, blobs)

    async def read(self, key: str) -> bytes:
        try:
            return await asyncio.to_thread(self._path(key).read_bytes)
        except FileNotFoundError as exc:
            raise BlobMissing(key) from exc

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self._path(key).open, "rb", buffering=0)
        except FileNotFoundError as exc:
            raise BlobMissing(key) from exc
        with file:
            while piece := await asyncio.to_thread(file.read, chunk_bytes):
                yield piece

    async def copy(self, source: str, target: str) -> None:
        await asyncio.to_thread(self._copy, source, target)

    async def remove(self, prefix: str) -> None:
        await asyncio.to_thread(self._remove, prefix)

    async def free_bytes(self) -> int | None:
        return (await asyncio.to_thread(shutil.disk_usage, self._root)).free

    # ------------------------------------------------------------------ in a thread

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        assert parts[0] in {"jobs", "datastores"}
        assert not {"", ".", ".."} & set(parts)
        return self._root.joinpath(*parts)

    def _write(self, blobs: Mapping[str, bytes]) -> None:
        temporary: dict[Path, Path] = {}
        try:
            with _told_when_full():
                for key, content in blobs.items():
                    temporary[self._path(key)] = self._write_one(content)
                self._name(temporary)
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)

    def _write_one(self, content: bytes) -> Path:
        path = self._incoming / uuid4().hex
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        return path

    def _name(self, temporary: Mapping[Path, Path]) -> None:
        """Give blobs their names, and put the names on disk."""
        changed: set[Path] = set()
        for path, content in temporary.items():
            while True:
                changed.update(self._make_folder(path.parent))
                try:
                    content.rename(path)
                    break
                except FileNotFoundError:
                    # Another job's removal took the folder that they would have shared.
                    assert content.exists()
        for folder in changed:
            _sync(folder)

    def _make_folder(self, folder: Path) -> Iterator[Path]:
        """Make a folder; yield what has to be synchronised for a name in it to last."""
        yield folder
        while not folder.exists():
            try:
                folder.mkdir(mode=0o700)
            except FileNotFoundError:
                yield from self._make_folder(folder.parent)
            except FileExistsError:
                break
            else:
                yield folder.parent

    def _copy(self, source: str, target: str) -> None:
        path = self._path(target)
        with _told_when_full():
            link = self._incoming / uuid4().hex
            try:
                link.hardlink_to(self._path(source))
            except FileNotFoundError as exc:
                raise BlobMissing(source) from exc
            except OSError as exc:
                if exc.errno not in _NO_LINKS:
                    raise
                self._write({target: self._path(source).read_bytes()})
                return
            self._name({path: link})
            # Two names of one file: then a rename does nothing.
            link.unlink(missing_ok=True)

    def _remove(self, prefix: str) -> None:
        folder = self._path(prefix.rstrip("/"))
        # A stale agent may be writing into it: what is left is removed the next time.
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()

    def _remove_left_behind(self) -> None:
        """Remove what writers left that were killed; those of other processes may be at work."""
        long_ago = time.time() - _LEFT_BEHIND_S
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < long_ago:
                    path.unlink()


def _sync(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # removed meanwhile
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told_when_full() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise DiskFull from exc
        raise
