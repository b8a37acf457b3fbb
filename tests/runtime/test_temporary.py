"""Behind bubblewrap, every worker has its own /tmp and /dev/shm, empty again after each run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold_server.engine.ladder import IsolationMissing
from fanfold_server.engine.sandbox import Openings
from fanfold_server.model.environment import Environment
from tests.attacks.field import make_environment
from tests.runtime.bench import Engine, ladder, opened, wait_until

TMP_MIB = 32

WHO = """
import os, time
def f(i, folder='/tmp'):
    before = os.listdir(folder)
    with open(folder + '/mine', 'w') as file:
        file.write(str(i))
    os.makedirs(folder + '/a/b')
    os.chmod(folder + '/a', 0o500)
    time.sleep(0.05)
    return before, open(folder + '/mine').read(), os.getpid()
"""


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    """An environment that does not lie below /tmp itself."""
    folder = Path(tempfile.mkdtemp(prefix="temporary-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield make_environment(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def engine(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    try:
        ladder("bwrap", environment.prefix)
    except IsolationMissing as exc:
        pytest.skip(str(exc))
    cache = tmp_path_factory.mktemp("cache")
    with opened(
        environment,
        cache,
        isolation="bwrap",
        preload=(),
        openings=Openings(),
        tmp_mib=TMP_MIB,
    ) as engine:
        yield engine


PLACES = pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])


@PLACES
def test_what_is_left_is_gone_at_the_next_run_of_the_same_worker(
    engine: Engine, place: str
) -> None:
    first = engine.run(WHO, parameters={"folder": place}).value
    again = engine.run(WHO, parameters={"folder": place}).value
    assert first[:2] == again[:2] == [[], "1"]
    assert first[2] == again[2]


@PLACES
def test_workers_of_one_run_do_not_see_each_others(engine: Engine, place: str) -> None:
    source = f"""
    import os, time
    def f(i):
        with open('{place}/mine', 'a') as file:
            file.write('%d,' % os.getpid())
        time.sleep(0.2)
        found = set(open('{place}/mine').read().split(',')) - {{''}}
        return found == {{str(os.getpid())}}, os.getpid()
    """
    wait_until(lambda: _has_several(engine), "there are workers for several calls at once")
    found = engine.run(source, count=4, degree=4).returned.values()
    assert all(alone for alone, _ in found)
    assert len({pid for _, pid in found}) > 1


def _has_several(engine: Engine) -> bool:
    """Ask for several, which do not start within any given time."""
    source = "import os, time\ndef f(i):\n    time.sleep(0.05)\n    return os.getpid()"
    return len(set(engine.run(source, count=4, degree=4).returned.values())) > 1


@PLACES
def test_a_script_of_another_author_sees_nothing_of_the_callers(engine: Engine, place: str) -> None:
    hold = f"import time\ndef f(i):\n    open('{place}/mine', 'w').close()\n    time.sleep(60)\n"
    going = engine.start(hold, owner="ANN")
    look = f"import os\ndef f(i): return os.listdir('{place}')"
    seen = engine.run(look, owner="BOB", caller="ANN")
    going.cancel()
    assert seen.value == []


def test_programs_and_children_share_it_with_their_worker(engine: Engine) -> None:
    source = """
    import multiprocessing, os, subprocess, sys
    def child(i):
        return open('/tmp/mine').read()
    def f(i):
        open('/tmp/mine', 'w').write('here')
        said = subprocess.run(['cat', '/tmp/mine'], stdout=subprocess.PIPE).stdout.decode()
        with multiprocessing.get_context('fork').Pool(1) as pool:
            return said, pool.map(child, [1]), os.path.realpath('/tmp').startswith('/fanfold/')
    """
    assert engine.run(source).value == ["here", ["here"], True]


@PLACES
def test_a_granted_script_leaves_its_owner_nothing_of_its_callers(
    engine: Engine, place: str
) -> None:
    leave = f"def f(i):\n    open('{place}/taken', 'w').write('of the caller')\n"
    look = f"import os\ndef f(i): return os.listdir('{place}')"
    assert engine.run(leave, owner="BOB", caller="ANN").error is None
    assert engine.run(look, owner="BOB").value == []
    assert engine.run(look, owner="BOB", caller="CAROL").value == []


def test_what_shares_memory_by_name_finds_it_in_processes_of_every_kind(engine: Engine) -> None:
    source = """
    import multiprocessing, multiprocessing.shared_memory as memory, os, subprocess, sys
    READ = "import sys; print(open('/dev/shm/' + sys.argv[1], 'rb').read(2).decode())"
    def f(i):
        block = memory.SharedMemory(create=True, size=64)
        block.buf[:2] = b'ab'
        again = memory.SharedMemory(block.name)
        said = subprocess.run([sys.executable, '-c', READ, block.name], stdout=subprocess.PIPE)
        with multiprocessing.get_context('spawn').Pool(1) as pool:
            number = pool.apply(os.getpid) != os.getpid()
        found = bytes(again.buf[:2]).decode(), said.stdout.decode().strip(), number
        again.close()
        block.close()
        block.unlink()
        return found
    """
    assert engine.run(source).value == ["ab", "ab", True]


@PLACES
def test_it_counts_for_the_limit_of_temporary_files(engine: Engine, place: str) -> None:
    source = f"""
    def f(i):
        with open('{place}/large', 'wb') as file:
            for _ in range({TMP_MIB + 8}):
                file.write(bytes(1 << 20))
    """
    record = engine.run(source)
    assert "No space left" in record.failure.message
    assert engine.run(WHO, parameters={"folder": place}).value[:2] == [[], "1"]


@pytest.mark.parametrize(
    "spoiling",
    [
        "os.closerange(3, 4)",
        "os.chmod('/tmp', 0o500)",
        "os.dup2(os.open('.', os.O_RDONLY), 3)",
    ],
)
def test_a_worker_that_has_lost_it_is_not_used_again(engine: Engine, spoiling: str) -> None:
    source = f"import os\ndef f(i):\n    {spoiling}\n    return os.getpid()\n"
    spoiled = engine.run(source).value
    fresh = engine.run(WHO).value
    assert fresh[:2] == [[], "1"]
    assert fresh[2] != spoiled


def test_what_a_program_is_started_with_survives_a_closed_descriptor(engine: Engine) -> None:
    source = """
    import os, subprocess
    def f(i):
        os.closerange(3, 10)
        return subprocess.run(['echo', 'ran'], stdout=subprocess.PIPE).stdout.decode()
    """
    assert engine.run(source).value == "ran\n"


def test_an_environment_below_tmp_leaves_no_room_for_one(
    tmp_path: Path, environment: Environment
) -> None:
    if not tmp_path.is_relative_to("/tmp"):
        pytest.skip("temporary files are elsewhere here")
    try:
        ladder("bwrap", environment.prefix)
    except IsolationMissing as exc:
        pytest.skip(str(exc))
    folder = Path(tempfile.mkdtemp(prefix="below-"))
    folder.chmod(0o755)
    try:
        below = make_environment(folder)
        with opened(below, tmp_path / "cache", isolation="bwrap", preload=()) as engine:
            assert engine.run(WHO).failure.type == "PermissionError"
            assert engine.run(WHO, parameters={"folder": "/dev/shm"}).value[0] == []
    finally:
        shutil.rmtree(folder)
