"""The runtime as one archive that any interpreter can start."""

from __future__ import annotations

import hashlib
import io
import zipfile
from importlib import resources
from pathlib import Path

_START = "__main__.py"
_ENTER = "import sys; sys.path.append({!r}); from fanfold_runtime.entrance import main; main()"


def bundle_bytes() -> bytes:
    """Return the archive: `fanfold_runtime` and its start; equal sources give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for source in sorted(resources.files("fanfold_runtime").iterdir(), key=lambda p: p.name):
            if source.name.endswith(".py"):
                folder = "" if source.name == _START else "fanfold_runtime/"
                _add(archive, folder + source.name, source.read_text("utf-8"))
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, text)


def write_bundle(directory: Path) -> Path:
    """Write the archive into the directory, readable by all, and return its path."""
    content = bundle_bytes()
    path = directory / f"runtime-{hashlib.sha256(content).hexdigest()[:12]}.pyz"
    path.write_bytes(content)
    path.chmod(0o644)
    return path


def entered(interpreter: str, bundle: Path) -> list[str]:
    """Return the command that starts an entrance, but for what it is given.

    No code of an environment's runs in it: no site, no variables of Python's.
    """
    return [interpreter, "-I", "-S", str(bundle), "enter"]


def entered_without_bundle(interpreter: str) -> list[str]:
    """Return the same for an interpreter of the server's account, which can read our sources."""
    with resources.as_file(resources.files("fanfold_runtime")) as folder:
        return [interpreter, "-I", "-S", "-c", _ENTER.format(str(folder.parent))]
