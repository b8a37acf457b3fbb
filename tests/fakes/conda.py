"""Packages of conda that tests make: a channel of files, so that environments are really solved.

The interpreter is this machine's own, repackaged. Source of the format: the documentation of conda
packages ("info/index.json", "info/paths.json", "info/link.json").
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Files = Mapping[str, tuple[bytes, int]]
"""Path in the prefix → content and mode."""

PLACEHOLDER = "/placeholder/" + "x" * 200
SUBDIR = "linux-64"
_LEFT_OUT = {
    *("test", "__pycache__", "idlelib", "lib2to3", "tkinter", "ensurepip", "turtledemo"),
    *("site-packages", "dist-packages", "pydoc_data", "distutils", "xmlrpc"),
    *("wsgiref", "dbm", "curses", "sqlite3", "venv"),
}
"""Folders of the standard library that tests can do without: each takes time to compile."""
_ENCODINGS = ("__init__", "aliases", "utf_8", "ascii", "latin_1", "cp437", "idna", "mac", "utf_16")


def write_package(
    channel: Path,
    name: str,
    version: str,
    files: Files,
    *,
    depends: Iterable[str] = (),
    noarch: str | None = None,
    links: Mapping[str, str] | None = None,
    index: Mapping[str, Any] | None = None,
    entry_points: Iterable[str] = (),
) -> Path:
    """Write a package into a channel; gives its path.

    Args:
        files: those that hold PLACEHOLDER are told to, and get the prefix at installation.
        noarch: "python": its files lie below `site-packages/`.
        links: symbolic links, path → target.
        index: further members of its index.
    """
    subdir = "noarch" if noarch else SUBDIR
    path = channel / subdir / f"{name}-{version}-0.tar.bz2"
    path.parent.mkdir(parents=True, exist_ok=True)
    links = links or {}
    listed: list[dict[str, Any]] = []
    for place, (content, _) in files.items():
        entry = {
            "_path": place,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_in_bytes": len(content),
        }
        if PLACEHOLDER.encode() in content:
            kind = "binary" if b"\0" in content else "text"
            entry |= {"prefix_placeholder": PLACEHOLDER, "file_mode": kind}
        listed.append(entry)
    empty = hashlib.sha256(b"").hexdigest()
    listed += [
        {"_path": place, "path_type": "softlink", "sha256": empty, "size_in_bytes": 0}
        for place in links
    ]
    described = {
        "name": name,
        "version": version,
        "build": "0",
        "build_number": 0,
        "depends": list(depends),
        "subdir": subdir,
        "license": "LicenseRef-test",
        "timestamp": 1_700_000_000_000,
        **({"noarch": noarch} if noarch else {}),
        **(index or {}),
    }
    info = {
        "info/index.json": described,
        "info/paths.json": {"paths": listed, "paths_version": 1},
        "info/about.json": {},
    }
    if noarch == "python":
        info["info/link.json"] = {
            "noarch": {"type": "python", "entry_points": list(entry_points)},
            "package_metadata_version": 1,
        }
    with tarfile.open(path, "w:bz2", compresslevel=1) as package:
        for place, document in info.items():
            _add(package, place, json.dumps(document).encode(), 0o644)
        for place, (content, mode) in files.items():
            _add(package, place, content, mode)
        for place, target in links.items():
            link = tarfile.TarInfo(place)
            link.type, link.linkname = tarfile.SYMTYPE, target
            package.addfile(link)
    return path


def _add(package: tarfile.TarFile, place: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(place)
    member.size, member.mode = len(content), mode
    package.addfile(member, io.BytesIO(content))


def write_python(channel: Path) -> str:
    """Repackage an interpreter that needs no library of its own; gives its version, "3.11.2".

    Debian's is linked statically; its `site` looks in `dist-packages`, whence the link.
    """
    interpreter = next(p for p in (Path("/usr/bin/python3"), Path(sys.executable)) if p.exists())
    asked = (
        "import os, sys, platform; print(platform.python_version(), "
        "os.path.realpath(sys.executable), os.path.dirname(os.__file__))"
    )
    said = subprocess.run(
        [interpreter, "-I", "-c", asked], capture_output=True, text=True, check=True, timeout=30
    )
    version, executable, library = said.stdout.split()
    minor = ".".join(version.split(".")[:2])
    files: dict[str, tuple[bytes, int]] = {
        f"bin/python{minor}": (Path(executable).read_bytes(), 0o755),
        f"lib/python{minor}/site-packages/README.txt": (b"", 0o644),
    }
    root = Path(library)
    for folder, names, found in os.walk(root):
        names[:] = [name for name in names if name not in _LEFT_OUT and "config-" not in name]
        for name in found:
            path = Path(folder, name)
            if path.suffix in {".py", ".so"} and path.is_file() and _is_wanted(path):
                place = f"lib/python{minor}/{path.relative_to(root)}"
                files[place] = (path.read_bytes(), 0o644)
    write_package(
        channel,
        "python",
        version,
        files,
        links={
            "bin/python": f"python{minor}",
            "bin/python3": f"python{minor}",
            "lib/python3/dist-packages": f"../python{minor}/site-packages",
        },
        index={"python_site_packages_path": f"lib/python{minor}/site-packages"},
    )
    return version


def _is_wanted(path: Path) -> bool:
    """Leave out most encodings: what is compiled for each environment takes the time of tests."""
    return path.parent.name != "encodings" or path.stem.startswith(_ENCODINGS)


def write_unpacked(channel: Path, site: Path, name: str, *, depends: Iterable[str] = ()) -> None:
    """Repackage a package that is installed in a directory of packages, with what it brings."""
    record = next(site.glob(f"{name}-*.dist-info"))
    version = record.name.removesuffix(".dist-info").rpartition("-")[2]
    folders = [site / name, record, site / f"{name}.libs"]
    files = {
        f"lib/{site.parent.name}/site-packages/{path.relative_to(site)}": (path.read_bytes(), 0o644)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "tests" not in path.parts and path.suffix != ".pyc"
    }
    write_package(channel, name, version, files, depends=depends)
