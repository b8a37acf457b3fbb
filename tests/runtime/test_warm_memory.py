"""Interpreters that are idle share a budget of memory; those used least recently make room."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold_server.engine.memory import family_kib
from fanfold_server.model.environment import Environment
from tests.acceptance.processes import until
from tests.folders import reachable_folder
from tests.runtime.bench import Engine, opened

BIG_MIB = 96
"""What each zygote holds by itself: so much more than an interpreter that the rest is noise."""

BUDGET_MIB = 270
"""Room for two of them, and not for three."""

WITHIN_S = 100.0
PID = "import os\ndef f(i): return os.getpid()"
SLEEP = "import time\ndef f(i, pause_s): time.sleep(pause_s)"


def test_any_process_may_be_called_anything() -> None:
    """A name is bytes, and its process's own: what others take is known all the same."""
    rename = 'import ctypes; ctypes.CDLL(None).prctl(15, b"\\xff) \\xfe"); input("named")'
    started = subprocess.Popen(
        [sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with started:
        assert started.stdout is not None
        assert started.stdout.read(5) == b"named"
        assert family_kib([started.pid])[started.pid] > 0
        started.kill()


@pytest.fixture(scope="module")
def big() -> Iterator[Environment]:
    """An environment whose package takes its memory when it is imported, before any run."""
    with reachable_folder() as folder:
        command = [sys.executable, "-m", "venv", "--without-pip", str(folder / "env")]
        subprocess.run(command, check=True, timeout=200)
        (site,) = (folder / "env").glob("lib/python3*/site-packages")
        (site / "big.py").write_text(f"HELD = b'x' * ({BIG_MIB} << 20)\n")
        yield Environment(name="big", prefix=folder / "env", kind="venv")


@pytest.fixture(params=["auto", "confined", "none"])
def engine(
    request: pytest.FixtureRequest,
    big: Environment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Engine]:
    monkeypatch.setattr("fanfold_server.engine.pools.MEASURE_S", 0.1)
    options = {"preload": ("big",), "warm_memory_mib": BUDGET_MIB, "isolation": request.param}
    with opened(big, tmp_path, **options) as opened_engine:
        yield opened_engine


def warm(engine: Engine) -> list[str]:
    """List who has interpreters started."""
    return sorted(one.owner for one in engine.call(engine.engine.pools.warm))


def test_the_one_that_was_used_least_recently_makes_room(engine: Engine) -> None:
    """And what is asked for again comes back, at the cost of the next."""
    zygotes = {}
    for owner in ("ANN", "BOB"):
        engine.run(PID, owner=owner)
        zygotes[owner] = engine.zygote_pid(owner)
    assert warm(engine) == ["ANN", "BOB"]
    engine.run(PID, owner="CARL")
    until(lambda: warm(engine) == ["BOB", "CARL"], WITHIN_S, "ANN has made room")
    gone = Path(f"/proc/{zygotes['ANN']}")
    until(lambda: not gone.exists(), WITHIN_S, "its process has ended")
    assert Path(f"/proc/{zygotes['BOB']}").exists()
    assert engine.run(PID, owner="ANN").value > 0
    until(lambda: warm(engine) == ["ANN", "CARL"], WITHIN_S, "BOB has made room")


def test_what_is_busy_or_kept_stays(engine: Engine, big: Environment) -> None:
    engine.call(lambda: engine.engine.pools.keep("ANN", big))
    engine.run(PID, owner="ANN")
    busy = engine.start(SLEEP, owner="BOB", parameters={"pause_s": 600})
    for owner in ("CARL", "DORA", "EVA"):
        engine.run(PID, owner=owner)
    until(lambda: warm(engine) == ["ANN", "BOB", "DORA", "EVA"], WITHIN_S, "CARL has made room")
    assert busy.pids
    busy.cancel()
    until(lambda: warm(engine) == ["ANN", "DORA", "EVA"], WITHIN_S, "so has BOB, when idle")
    engine.call(lambda: engine.engine.pools.release("ANN", big))
    until(lambda: warm(engine) == ["DORA", "EVA"], WITHIN_S, "and ANN, when let go")
