"""Engines on the interpreters of this machine: the one with the libraries, and bare ones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fanfold_server.model.environment import Environment
from tests.folders import reachable_folder
from tests.runtime.bench import Engine, opened

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")

MakeEnvironment = Callable[[str], Environment]


@pytest.fixture(scope="session")
def libraries() -> Environment:
    """The environment with numpy, pandas and matplotlib that `make setup` makes."""
    prefix = ROOT / ".environments" / "default"
    assert (prefix / "bin" / "python").exists(), "run `make setup` first"
    return Environment(name="default", prefix=prefix, kind="venv")


@pytest.fixture(scope="session")
def bare() -> Iterator[MakeEnvironment]:
    """Makes bare environments by version; skips where the machine has no such CPython."""
    made: dict[str, Environment] = {}
    with reachable_folder() as folder:

        def make(version: str) -> Environment:
            if version not in made:
                interpreter = find_interpreter(version)
                if interpreter is None:
                    pytest.skip(f"this machine has no CPython {version}")
                prefix = folder / version
                subprocess.run(
                    [interpreter, "-m", "venv", "--without-pip", prefix], check=True, timeout=200
                )
                made[version] = Environment(name=f"bare-{version}", prefix=prefix, kind="venv")
            return made[version]

        yield make


def find_interpreter(version: str) -> Path | None:
    """Return a CPython of this version: on PATH, in /usr/bin, or one of pyenv's."""
    candidates = [
        *Path("/usr/bin").glob(f"python{version}"),
        *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")),
    ]
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        candidates.append(Path(on_path))
    return next(filter(_is_cpython, candidates), None)


def _is_cpython(interpreter: Path) -> bool:
    asked = "import sys, ensurepip; print(sys.implementation.name)"
    done = subprocess.run(
        [interpreter, "-c", asked], capture_output=True, text=True, timeout=200, check=False
    )
    return done.stdout.strip() == "cpython"


@pytest.fixture(scope="module", params=["libraries", *VERSIONS])
def environment(
    request: pytest.FixtureRequest, libraries: Environment, bare: MakeEnvironment
) -> Environment:
    """Each environment in turn: what is promised, is promised in all."""
    return libraries if request.param == "libraries" else bare(request.param)


@pytest.fixture(scope="module")
def anywhere(
    environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """An engine in each environment in turn."""
    with opened(environment, tmp_path_factory.mktemp("cache")) as engine:
        yield engine


@pytest.fixture(scope="module")
def engine(libraries: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine in the environment with the libraries."""
    with opened(libraries, tmp_path_factory.mktemp("cache")) as opened_engine:
        yield opened_engine
