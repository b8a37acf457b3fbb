"""The runtime as one archive that any interpreter can start."""

from __future__ import annotations

import hashlib
import io
import zipfile
from importlib import resources
from pathlib import Path

_START = "from fanfold_runtime.zygote import main\n\nmain()\n"


def bundle_bytes() -> bytes:
    """Return the archive: `fanfold_runtime` and a `__main__.py`; equal sources give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _START)
        for source in sorted(resources.files("fanfold_runtime").iterdir(), key=lambda p: p.name):
            if source.name.endswith(".py") and source.name != "__main__.py":
                _add(archive, f"fanfold_runtime/{source.name}", source.read_text("utf-8"))
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
