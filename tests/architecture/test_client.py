"""What the client may cost its users: an old Python will do, and importing it brings little."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fanfold import errors
from fanfold.faults import BY_CODE
from fanfold_server.model import errors as server_errors
from fanfold_server.model.outcome import FailureKind
from tests.architecture.imports import STANDARD_LIBRARY, imports_of
from tests.architecture.repository import ROOT, python_files, shown

CLIENT = python_files("src/fanfold")
LIBRARIES = {"click", "fanfold", "httpx2", "rich"}
OPTIONAL = {"typing_extensions"}
"""For type checkers alone."""

MOST_MODULES = 200
"""That importing the client may load; 160 of them take 60 ms."""


@pytest.mark.parametrize("path", CLIENT, ids=shown)
def test_the_client_is_readable_by_python_3_10(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), filename=shown(path), feature_version=(3, 10))


@pytest.mark.parametrize("path", CLIENT, ids=shown)
def test_the_client_needs_its_three_libraries_alone(path: Path) -> None:
    found = {name.package for name in imports_of(path.read_text(encoding="utf-8"))}
    assert found - STANDARD_LIBRARY - LIBRARIES - OPTIONAL == set()


def test_importing_the_client_brings_neither_http_nor_anything_of_the_server() -> None:
    """Milliseconds, as modules: what would cost them is not there."""
    loaded = _modules("import fanfold; fanfold.Client, fanfold.AsyncClient")
    heavy = {
        "click",
        "httpx2",
        "pandas",
        "pyarrow",
        "numpy",
        "rich",
        "pydantic",
        "fanfold_server",
    } | {"typing_extensions"}
    assert loaded & heavy == set()
    assert len(loaded - _modules("pass")) < MOST_MODULES
    assert {name for name in _modules("import fanfold") if name.startswith("fanfold")} == {
        "fanfold"
    }


def test_the_client_brings_no_dependency_of_the_server() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {re.match(r"[\w-]+", dependency)[0] for dependency in project["dependencies"]}  # type: ignore[index]  # each has a name
    assert found == LIBRARIES - {"fanfold"}
    assert project["requires-python"] == ">=3.10"


def test_no_two_errors_of_the_server_share_a_code() -> None:
    """But for the two families that stand for what has no class of its own."""
    classes = [
        cls
        for cls in vars(server_errors).values()
        if isinstance(cls, type)
        and issubclass(cls, server_errors.FanfoldError)
        and cls is not server_errors.FanfoldError
    ]
    codes = [cls.code for cls in classes]
    assert sorted(codes) == sorted(set(codes))


def test_every_code_of_the_server_has_its_class() -> None:
    codes = {
        cls.code
        for cls in vars(server_errors).values()
        if isinstance(cls, type) and issubclass(cls, server_errors.FanfoldError)
    } | {int(kind) for kind in FailureKind}
    assert set(BY_CODE) == codes
    assert all(getattr(errors, kind.__name__) is kind for kind in BY_CODE.values())
    assert {kind.code for kind in BY_CODE.values()} == codes


def _modules(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())
