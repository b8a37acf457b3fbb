"""The engine's own directory of files that nobody needs after it.

A lock tells those of engines that live from those of engines that were killed: the latter are
removed when the next engine of the same account starts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "fanfold-"
_LOCK = "lock"


class Scratch:
    """A directory below the system's temporary one, made when this is made."""

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        # It gets its name once it is locked: until then, nobody takes it for an abandoned one.
        unnamed = Path(tempfile.mkdtemp(prefix="." + PREFIX))
        self._lock = os.open(unnamed / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = unnamed.rename(unnamed.with_name(unnamed.name[1:]))
        self.path.chmod(0o711)  # others may pass through, to directories of their own

    def close(self) -> None:
        """Remove it."""
        remove_tree(self.path)
        os.close(self._lock)


def remove_tree(path: Path) -> None:
    """Remove a directory that users' code has filled; what cannot be removed stays.

    Directories that were closed are opened, and those that lie deeper than Python's recursion or
    its descriptors reach are left to `rm`.
    """
    with suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        for command in (("chmod", "-R", "u+rwX"), ("rm", "-rf")):
            subprocess.run([*command, "--", path], stderr=subprocess.DEVNULL, check=False)


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(PREFIX + "*"):
        try:
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # another's, or none of ours
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
        except OSError:  # its engine lives
            continue
        finally:
            os.close(lock)
