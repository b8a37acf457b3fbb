"""The zoo, in the environment with the libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold_server.model.environment import Environment
from tests.runtime.animals import ZOO, enclosed, prove
from tests.runtime.bench import Engine


@pytest.fixture(scope="module")
def enclosure(libraries: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with enclosed(libraries, tmp_path_factory.mktemp("cache")) as engine:
        yield engine


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_a_misbehaving_call_harms_nobody_else(enclosure: Engine, path: Path) -> None:
    prove(enclosure, path)
