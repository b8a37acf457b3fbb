"""What was installed is compiled by several programs: every file by one, and all end together."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fanfold_server.environments.compiling import compile_all
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import BuildFailed
from tests.runtime.bench import wait_until

FILES = 40


async def openly(_environment: Environment, command: Sequence[str]) -> list[str]:
    return list(command)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(sys.executable)
    for number in range(FILES):
        folder = prefix / "lib" / f"package{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"module{number}.py").write_text(f"x = {number}\n")
    return Environment(name="made", prefix=prefix, kind="venv")


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("processors", [1, 2, 5])
async def test_every_file_is_compiled_whatever_the_number_of_programs(
    environment: Environment,
    guard: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    await compile_all(environment, openly, tmp_path / "log", guard)
    compiled = {path.name.partition(".")[0] for path in environment.prefix.rglob("*.pyc")}
    assert compiled == {f"module{number}" for number in range(FILES)}


async def test_what_cannot_be_compiled_is_named_in_the_log_and_stops_nothing(
    environment: Environment, guard: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    for name in ("first", "second", "third"):
        (environment.prefix / "lib" / f"{name}.py").write_text("def f(:\n")
    await compile_all(environment, openly, log, guard)
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith("$ compile ")
    for name in ("first", "second", "third"):
        assert sum(f"{name}.py" in line for line in lines) >= 1
    assert len(list(environment.prefix.rglob("*.pyc"))) == FILES


async def test_one_that_fails_ends_the_build(
    environment: Environment, guard: int, tmp_path: Path
) -> None:
    python = environment.prefix / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\necho broken\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(BuildFailed, match="ended with 3: broken"):
        await compile_all(environment, openly, tmp_path / "log", guard)
    assert "broken" in (tmp_path / "log").read_text()


async def test_cancelling_ends_all_of_them(
    environment: Environment, guard: int, tmp_path: Path
) -> None:
    python = environment.prefix / "bin" / "python"
    python.unlink()
    begun = tmp_path / "begun"
    python.write_text(f"#!/bin/sh\necho $$ >> {begun}\nexec sleep 600\n")
    python.chmod(0o755)
    task = asyncio.create_task(compile_all(environment, openly, tmp_path / "log", guard))
    shares = min(8, len(os.sched_getaffinity(0)))
    await asyncio.to_thread(
        wait_until,
        lambda: begun.exists() and len(begun.read_text().split()) == shares,
        "all have begun",
    )
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for pid in begun.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
