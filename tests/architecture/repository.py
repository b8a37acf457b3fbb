"""Reads this repository as text, for the tests that guard its shape."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked_files() -> list[Path]:
    """Return the files that git tracks or, being new and not ignored, soon will."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = {ROOT / name for name in listing.split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below the folders, which need not be there yet."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def shown(path: Path) -> str:
    """Return a path as a person would name it in this repository."""
    return path.relative_to(ROOT).as_posix()


def required_name(requirement: str) -> str:
    """Return a requirement's package in the normal spelling: `Foo_bar[x]>=1` is `foo-bar`."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def project_dependencies() -> set[str]:
    """Return all that pyproject.toml asks for directly: base, extras and groups."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *document["dependency-groups"].values(),
    ]
    return {required_name(requirement) for one in lists for requirement in one}


def engine_dependencies() -> set[str]:
    """Return what requirements/engine.in asks for."""
    lines = (ROOT / "requirements" / "engine.in").read_text(encoding="utf-8").splitlines()
    return {required_name(line) for line in lines if line and not line.startswith("#")}


def locked(lock: str) -> set[str]:
    """Return the packages that a lock file of requirements/ pins."""
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    return {required_name(pin) for pin in re.findall(r"^[A-Za-z0-9][^\s;]*", text, re.MULTILINE)}
