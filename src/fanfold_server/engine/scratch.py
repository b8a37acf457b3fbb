"""The engine's own directory of files that nobody needs after it.

A lock tells those of engines that live from those of engines that were killed: the latter are
removed when the next engine of the same account starts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
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
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(PREFIX + "*"):
        try:
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # another's, or none of ours
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # its engine lives
            continue
        finally:
            os.close(lock)
