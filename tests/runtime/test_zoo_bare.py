"""The zoo on bare interpreters: without orjson, and perhaps without a user id of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.animals import ZOO, enclosed, prove
from tests.runtime.bench import Engine
from tests.runtime.conftest import MakeEnvironment


@pytest.fixture(scope="module", params=["3.9", "3.13"])
def enclosure(
    request: pytest.FixtureRequest, bare: MakeEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    with enclosed(bare(request.param), tmp_path_factory.mktemp("cache")) as engine:
        yield engine


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_a_misbehaving_call_harms_nobody_else(enclosure: Engine, path: Path) -> None:
    prove(enclosure, path)
