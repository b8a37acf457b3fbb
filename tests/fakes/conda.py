"""Packages of conda that tests make: a channel of files, so that environments are really solved.

The interpreters are this machine's own, repackaged with what they have compiled, as conda's are: an
installation does not compile the standard library anew. Source of the format: the documentation of
conda packages ("info/index.json", "info/paths.json", "info/link.json").
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
from typing import Any, NamedTuple


class File(NamedTuple):
    """A file of a package; what is compiled names the time of its source, which is kept."""

    content: bytes
    mode: int = 0o644
    mtime: int = 0

    @classmethod
    def of(cls, path: Path, mode: int = 0o644) -> File:
        """Take a file of this machine."""
        return cls(path.read_bytes(), mode, int(path.stat().st_mtime))


Files = Mapping[str, File]
"""By path in the prefix."""

PLACEHOLDER = "/placeholder/" + "x" * 200
SUBDIR = "linux-64"
_LEFT_OUT = {
    *("test", "tests", "idlelib", "lib2to3", "tkinter", "ensurepip", "turtledemo"),
    *("site-packages", "dist-packages", "pydoc_data", "distutils", "xmlrpc"),
    *("wsgiref", "dbm", "curses", "sqlite3", "venv"),
}
"""Folders of the standard library that tests can do without: each takes time to unpack."""
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
    for place, file in files.items():
        entry = {
            "_path": place,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(file.content).hexdigest(),
            "size_in_bytes": len(file.content),
        }
        if PLACEHOLDER.encode() in file.content:
            kind = "binary" if b"\0" in file.content else "text"
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
            _add(package, place, File(json.dumps(document).encode()))
        for place, file in files.items():
            _add(package, place, file)
        for place, target in links.items():
            link = tarfile.TarInfo(place)
            link.type, link.linkname = tarfile.SYMTYPE, target
            package.addfile(link)
    return path


def _add(package: tarfile.TarFile, place: str, file: File) -> None:
    member = tarfile.TarInfo(place)
    member.size, member.mode, member.mtime = len(file.content), file.mode, file.mtime
    package.addfile(member, io.BytesIO(file.content))


def write_python(channel: Path, interpreter: Path | None = None) -> str:
    """Repackage an interpreter of this machine; gives its version, "3.11.2".

    Debian's is linked statically; its `site` looks in `dist-packages`, whence the link. Another may
    have a library of its own, and is told to find it beside itself, as conda's tools tell theirs.

    Args:
        interpreter: None: the system's, else the one that runs this.
    """
    if interpreter is None:
        own = (Path("/usr/bin/python3"), Path(sys.executable))
        interpreter = next(path for path in own if path.exists())
    asked = (
        "import os, sys, sysconfig as s, platform; print(platform.python_version(), "
        "os.path.realpath(sys.executable), os.path.dirname(os.__file__), "
        "s.get_config_var('LIBDIR'), s.get_config_var('INSTSONAME'))"
    )
    said = subprocess.run(
        [interpreter, "-I", "-c", asked], capture_output=True, text=True, check=True, timeout=120
    )
    version, executable, library, libraries, shared = said.stdout.split()
    minor = ".".join(version.split(".")[:2])
    program = File.of(Path(executable), 0o755)
    files = {f"lib/python{minor}/site-packages/README.txt": File(b"")}
    if shared.encode() + b"\0" in program.content:  # it needs its library
        files[f"lib/{shared}"] = File.of(Path(libraries) / shared, 0o755)
        program = _relocated(program, libraries)
    files[f"bin/python{minor}"] = program
    root = Path(library)
    for folder, names, found in os.walk(root):
        names[:] = [name for name in names if name not in _LEFT_OUT and "config-" not in name]
        for name in found:
            path = Path(folder, name)
            if _is_wanted(path):
                files[f"lib/python{minor}/{path.relative_to(root)}"] = File.of(path)
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


def _relocated(program: File, libraries: str) -> File:
    """Let a program look for its library beside itself, by a path that is no longer than it was."""
    was, beside = libraries.encode() + b"\0", b"$ORIGIN/../lib"
    assert len(beside) < len(was)
    return program._replace(content=program.content.replace(was, beside.ljust(len(was), b"\0")))


def _is_wanted(path: Path) -> bool:
    """Take sources, what is compiled of them, and libraries; but not most encodings."""
    is_compiled = path.suffix == ".pyc" and ".opt-" not in path.name
    if not (path.is_file() and (is_compiled or path.suffix in {".py", ".so"})):
        return False
    package = path.parent.parent if path.parent.name == "__pycache__" else path.parent
    return package.name != "encodings" or path.stem.startswith(_ENCODINGS)


def write_unpacked(channel: Path, site: Path, name: str, *, depends: Iterable[str] = ()) -> None:
    """Repackage a package that is installed in a directory of packages, with what it brings."""
    record = next(site.glob(f"{name}-*.dist-info"))
    version = record.name.removesuffix(".dist-info").rpartition("-")[2]
    folders = [site / name, record, site / f"{name}.libs"]
    files = {
        f"lib/{site.parent.name}/site-packages/{path.relative_to(site)}": File.of(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "tests" not in path.parts
    }
    write_package(channel, name, version, files, depends=depends)
