"""What import-linter cannot say: which code may use the standard library and nothing more."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.imports import STANDARD_LIBRARY, imports_of
from tests.architecture.repository import ROOT, python_files, shown

# The runtime uses these when the user's environment happens to have them, and does without else.
OPTIONAL_IN_RUNTIME = {"matplotlib", "numpy", "orjson", "pandas", "pyarrow", "torch"}

RUNTIME = python_files("src/fanfold_runtime")
MODEL = python_files("src/fanfold_server/model")
# A port that grows too long for one file has a part beside it, `jobs_port.py`, and exports it.
PORTS = sorted((ROOT / "src" / "fanfold_server").glob("*/*port.py"))
PART_OF_A_PORT = re.compile(r"fanfold_server\.\w+\.\w+_port\.")


def faults_of_runtime(source: str) -> list[str]:
    """Return the modules that a runtime file imports and may not."""
    return [
        found.module
        for found in imports_of(source)
        if found.package not in {*STANDARD_LIBRARY, "fanfold_runtime"}
        and not (found.is_guarded and found.package in OPTIONAL_IN_RUNTIME)
    ]


def faults_of_words(source: str) -> list[str]:
    """Return the modules that a file of the model, or a port, imports and may not."""
    return [
        found.module
        for found in imports_of(source)
        if found.package not in STANDARD_LIBRARY
        and not f"{found.module}.".startswith("fanfold_server.model.")
        and not PART_OF_A_PORT.match(f"{found.module}.")
    ]


@pytest.mark.parametrize("path", RUNTIME, ids=shown)
def test_the_runtime_needs_nothing_but_the_standard_library(path: Path) -> None:
    """It is started inside users' environments, where nothing of ours is installed."""
    assert faults_of_runtime(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", RUNTIME, ids=shown)
def test_the_runtime_is_readable_by_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), filename=shown(path), feature_version=(3, 9))


@pytest.mark.parametrize("path", [*MODEL, *PORTS], ids=shown)
def test_the_model_and_the_ports_know_no_library(path: Path) -> None:
    """They are the words of every floor; a port that named a library would be a backend."""
    assert faults_of_words(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ("import json, os.path\nfrom fanfold_runtime import protocol", []),
        ("import numpy", ["numpy"]),
        ("try:\n    import numpy.random\nexcept ImportError:\n    pass", []),
        ("def f():\n    from pandas import DataFrame", []),
        ("def f():\n    import requests", ["requests"]),
        ("class C:\n    import pandas", ["pandas"]),
        ("import tomllib", ["tomllib"]),
        ("from fanfold_server import model", ["fanfold_server.model"]),
    ],
)
def test_a_forbidden_import_of_the_runtime_is_seen(source: str, faults: list[str]) -> None:
    assert faults_of_runtime(source) == faults


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ("from fanfold_server.model import Job\nimport fanfold_server.model.job", []),
        ("from fanfold_server import model", []),
        ("from fanfold_server.modelling import Job", ["fanfold_server.modelling.Job"]),
        ("from fanfold_server.store.jobs_port import JobStore", []),
        ("from fanfold_server.store.jobs import SqlJobs", ["fanfold_server.store.jobs.SqlJobs"]),
        ("import orjson", ["orjson"]),
        ("from fanfold_runtime import protocol", ["fanfold_runtime.protocol"]),
    ],
)
def test_a_forbidden_import_of_the_words_is_seen(source: str, faults: list[str]) -> None:
    assert faults_of_words(source) == faults
