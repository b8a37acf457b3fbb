"""Where environments that are built here lie, and the locks that keep processes from one another.

ROOT/seaborn                   link to the current version
ROOT/.versions/seaborn/3/      a version: the prefix itself, never moved, never changed
                       3.json  its manifest, written last: without it there is no version
                       3.lock  every package by address and hash
                       3.use   locked, shared, while processes run there; its time: when last
ROOT/.builds/ID.json, ID.log   a build as it stands, and what it says
ROOT/.locks/seaborn            locked by whoever builds, drops or repoints
ROOT/.parcels/ID/              one that is packed or unpacked; locked by whoever does it
ROOT/.trash/                   what is being removed
ROOT/.cache/                   of uv and rattler
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_POLL_S = 0.1
FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
"""How the system says that a disk, or somebody's part of it, has no room."""


class Places:
    """Names paths below a root; makes nothing but directories.

    Args:
        root: the directory of environments, absolute.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.versions = root / ".versions"
        self.builds = root / ".builds"
        self.locks = root / ".locks"
        self.parcels = root / ".parcels"
        self.trash = root / ".trash"
        self.cache = root / ".cache"

    def prepare(self) -> None:
        """Make what is not there. Workers pass through; logs and caches are our own matter."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder, mode in (
            (self.versions, 0o755),
            (self.builds, 0o700),
            (self.locks, 0o700),
            (self.parcels, 0o700),
            (self.trash, 0o700),
            (self.cache, 0o700),
        ):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)

    def link(self, name: str) -> Path:
        """Return the link that says which version is the current one."""
        return self.root / name

    def folder(self, name: str) -> Path:
        """Return the directory of an environment's versions."""
        return self.versions / name

    def prefix(self, name: str, version: int) -> Path:
        return self.folder(name) / str(version)

    def manifest(self, name: str, version: int) -> Path:
        return self.folder(name) / f"{version}.json"

    def lock(self, name: str, version: int) -> Path:
        return self.folder(name) / f"{version}.lock"

    def use(self, name: str, version: int) -> Path:
        return self.folder(name) / f"{version}.use"

    def point(self, name: str, version: int) -> None:
        """Make a version the current one: whoever looks finds the old one or the new one."""
        fresh = self.root / f".{name}.{secrets.token_hex(4)}"
        fresh.symlink_to(Path(".versions") / name / str(version))
        fresh.replace(self.link(name))

    def discard(self, path: Path) -> None:
        """Remove a directory whole: out of sight at once, from the disk in its time."""
        aside = self.trash / secrets.token_hex(8)
        with suppress(FileNotFoundError):
            _make_writable(path)
            path.rename(aside)
            remove_tree(aside)

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[int]:
        """Hold an environment's lock; gives its descriptor, which a program may inherit.

        The kernel gives it back when the last process that has it ends, however it ends.
        """
        descriptor = os.open(self.locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not try_lock(descriptor):  # noqa: ASYNC110  # other processes have it
                await asyncio.sleep(_POLL_S)
            yield descriptor
        finally:
            os.close(descriptor)

    def is_held(self, name: str) -> bool:
        """Tell whether somebody builds, drops or repoints this environment now."""
        try:
            descriptor = os.open(self.locks / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not try_lock(descriptor)
        finally:
            os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock a file for us alone if nobody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held_by_any(path: Path) -> bool:
    """Tell whether a process has locked a file, without touching the lock.

    To try the lock would keep others from it for a moment: a run would not find its environment.
    """
    try:
        inode = f":{path.stat().st_ino} "
        locks = Path("/proc/locks").read_text()
    except OSError:
        return False
    # Devices are numbered otherwise there on some file systems.
    return any(" FLOCK " in line and inode in line for line in locks.splitlines())


def make_read_only(prefix: Path) -> None:
    """Take from everybody the right to change anything below; all may read it."""
    for folder, _, files in os.walk(prefix):
        for name in files:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                path.chmod((mode | 0o444 | (0o111 if mode & 0o100 else 0)) & 0o555)
        Path(folder).chmod(0o555)


def _make_writable(prefix: Path) -> None:
    """Let directories be emptied again."""
    for folder, _, _ in os.walk(prefix):
        Path(folder).chmod(0o755)


def remove_tree(path: Path) -> None:
    """Remove a directory that nobody else knows of."""
    _make_writable(path)
    shutil.rmtree(path)


def bytes_below(directory: Path) -> int:
    """Count the bytes of all files below a directory."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with suppress(OSError):  # removed meanwhile
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
    return total
