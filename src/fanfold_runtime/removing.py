"""Removes the directory of a worker, whatever its scripts have made of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress


def remove_empty(*paths: str) -> bool:
    """Remove directories, those within others first, if they hold nothing; say whether so.

    It is a tenth of the work of looking through them, and most workers leave nothing behind.
    """
    try:
        for path in paths:
            os.rmdir(path)
    except OSError:
        return False
    return True


def remove(path: str) -> None:
    """Remove a directory; what cannot be removed stays, without a word.

    Directories that were closed are opened, and those that lie deeper than Python's recursion or
    its descriptors reach are left to `rm`.
    """
    with suppress(OSError, RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        for command in (("chmod", "-R", "u+rwX"), ("rm", "-rf")):
            with suppress(OSError):
                subprocess.run(
                    [*command, "--", path], stderr=subprocess.DEVNULL, check=False, cwd="/"
                )
