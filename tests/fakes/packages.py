"""Packages that tests make: wheels for uv, so that environments are really solved and built."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path


def write_wheel(
    folder: Path, name: str, version: str, source: str, *, requires: Iterable[str] = ()
) -> Path:
    """Write a wheel of one module that has the package's name; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    records = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {other}" for other in requires]
    files = {
        f"{name}.py": source,
        f"{records}/METADATA": "\n".join(metadata) + "\n",
        f"{records}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listed = "".join(f"{name},,\n" for name in [*files, f"{records}/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in {**files, f"{records}/RECORD": listed}.items():
            wheel.writestr(member, text)
    return path


def requirements(folder: Path, *wanted: str) -> str:
    """Write a requirements.txt that takes packages from this folder alone."""
    return "\n".join(["--no-index", f"--find-links {folder.as_uri()}", *wanted]) + "\n"
