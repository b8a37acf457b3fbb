"""Folders that tests make outside pytest's own, which other user ids cannot enter."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Make a folder that the user ids of workers can pass through, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="reachable-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        # A built environment is read-only, and `rmtree` of anybody but root stops there.
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        shutil.rmtree(folder)
