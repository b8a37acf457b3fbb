"""Every limit is hit for real, on every rung, with and without control groups, and is said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanfold_server.engine.cgroup import Groups, Tree
from fanfold_server.engine.delegation import GroupsMissing, find_groups
from fanfold_server.engine.ladder import Rung, climb
from fanfold_server.engine.limits import Limits
from fanfold_server.engine.sandbox import FIRST_UID
from fanfold_server.model.apply import ServiceLevel
from fanfold_server.model.environment import Environment
from fanfold_server.model.outcome import FailureKind
from tests.calm import Stopwatch
from tests.runtime.bench import Engine, opened, run_limits, wait_until

LIMITS: dict[str, Any] = {
    "memory_mib": 256,
    "files": 64,
    "processes": 24,
    "file_mib": 8,
    "tmp_mib": 32,
    "output_mib": 1,
    "cpu_s": 0.5,
}
RUNGS = ("none", "basic", "confined", "bwrap")
GROUPED = ("none", "bwrap")
WHO = "import os\ndef f(i): return os.getuid()"

HITS: dict[str, tuple[str, FailureKind, str]] = {
    # What takes memory takes little more than the limit, and as little processor time as may be:
    # on a slow machine, more would hit the limit of that first.
    "memory in one process": (
        "held = [bytearray(b'x') * (16 << 20) for _ in range(40)]",
        FailureKind.OUT_OF_MEMORY,
        r"^out of memory: peak \d+ MiB of 256 MiB at index 2",
    ),
    "memory in all processes": (
        """
        for _ in range(4):
            if os.fork() == 0:
                held = bytearray(b'x') * (80 << 20)
                time.sleep(100)
                os._exit(0)
        time.sleep(100)""",
        FailureKind.OUT_OF_MEMORY,
        r"^out of memory: peak \d+ MiB of 256 MiB at index 2",
    ),
    "processor time": (
        "while True: pass",
        FailureKind.OUT_OF_CPU_TIME,
        r"^out of processor time: \d+\.\d s of 0.5 s at index 2",
    ),
    "processor time of children": (
        """
        if os.fork() == 0:
            while True: pass
        os.wait()""",
        FailureKind.OUT_OF_CPU_TIME,
        r"^out of processor time: \d+\.\d s of 0.5 s at index 2",
    ),
    "threads": (
        """
        go = threading.Event()
        for _ in range(100): threading.Thread(target=go.wait, args=(100,), daemon=True).start()""",
        FailureKind.OUT_OF_PROCESSES,
        r"^out of processes: all 24 processes and threads are taken at index 2; can't start new",
    ),
    "processes": (
        """
        for _ in range(100):
            if os.fork() == 0:
                time.sleep(100)
                os._exit(0)""",
        FailureKind.OUT_OF_PROCESSES,
        r"^out of processes: all 24 processes and threads are taken at index 2; \[Errno 11\]",
    ),
    "programs": (
        "held = [subprocess.Popen(['/bin/sleep', '100']) for _ in range(100)]",
        FailureKind.OUT_OF_PROCESSES,
        r"^out of processes: all 24 processes and threads are taken at index 2; \[Errno 11\]",
    ),
    "open files": (
        "held = [open('/dev/null') for _ in range(100)]",
        FailureKind.OUT_OF_FILES,
        r"^out of open files: all 64 are taken at index 2; \[Errno 24\]",
    ),
    "one file": (
        "open('large', 'wb').write(b'x' * (9 << 20))",
        FailureKind.FILE_TOO_LARGE,
        r"^too large a file: a file may have 8 MiB at index 2; \[Errno 27\]",
    ),
    "many files": (
        """
        for n in range(8): open('f%d' % n, 'wb').write(b'x' * (7 << 20))
        time.sleep(100)""",
        FailureKind.OUT_OF_SPACE,
        r"^out of (temporary space: \d+ MiB of|space: temporary files may take) 32 MiB at index 2",
    ),
    "output": (
        """
        while True:
            print('x' * 100_000)
            time.sleep(0.01)""",
        FailureKind.TOO_MUCH_OUTPUT,
        r"^too much output: \d+ MiB of 1 MiB were printed at index 2",
    ),
}
HITS["memory of a child that the kernel kills"] = (
    """
        pid = os.fork()
        if pid == 0:
            held = mmap.mmap(-1, 320 << 20)
            held[:: 4 << 10] = bytes(320 << 8)
            time.sleep(100)
            os._exit(0)
        if os.waitpid(pid, 0)[1]: raise RuntimeError('the child has ended')""",
    FailureKind.OUT_OF_MEMORY,
    r"^out of memory: peak \d+ MiB of 256 MiB at index 2",
)
HITS["memory of a child that nobody waits for"] = (
    """
        if os.fork() == 0:
            held = mmap.mmap(-1, 320 << 20)
            held[:: 4 << 10] = bytes(320 << 8)
            time.sleep(100)
            os._exit(0)
        time.sleep(100)""",
    FailureKind.OUT_OF_MEMORY,
    r"^out of memory: peak \d+ MiB of 256 MiB at index 2",
)
NEEDS_OWN_COUNT = frozenset(("threads", "processes", "programs"))


@pytest.fixture(scope="module", params=[*RUNGS, *(f"{rung} in groups" for rung in GROUPED)])
def where(request: pytest.FixtureRequest) -> tuple[str, Groups | None]:
    """A rung, and whether workers have control groups there."""
    rung, _, grouped = str(request.param).partition(" ")
    if rung in {rung.word for rung in climb(try_all=True).why_not}:
        pytest.skip(f"{rung} does not work here")
    if not grouped:
        return rung, None
    try:
        return rung, find_groups(Limits(**LIMITS))
    except GroupsMissing as exc:
        pytest.skip(f"no control groups here: {exc}")


@pytest.fixture
def groups(where: tuple[str, Groups | None]) -> Groups | None:
    return where[1]


@pytest.fixture(scope="module")
def tight(
    where: tuple[str, Groups | None],
    libraries: Environment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:
    """An engine with little of everything, on each rung in turn."""
    rung, groups = where
    cache = tmp_path_factory.mktemp("cache")
    with opened(libraries, cache, isolation=rung, preload=(), groups=groups, **LIMITS) as engine:
        yield engine


@pytest.mark.parametrize("what", HITS)
def test_a_limit_that_is_hit_is_said_and_harms_no_neighbour(
    tight: Engine, groups: Groups | None, what: str
) -> None:
    if what in NEEDS_OWN_COUNT and groups is None and not is_counted(tight):
        pytest.skip("nothing counts processes here")
    body, kind, told = HITS[what]
    source = (
        "import mmap, os, subprocess, threading, time\n"
        f"def f(i):\n    if i == 2:\n        {body.strip()}\n    return i\n"
    )
    other = tight.start("import time\ndef f(i):\n    time.sleep(0.5)\n    return i", owner="BOB")
    record = tight.run(source, count=4)
    assert record.error is None
    assert record.returned == {1: 1, 3: 3, 4: 4}
    assert record.failures[2].kind is kind, record.failures[2]
    assert re.search(told, record.failures[2].message), record.failures[2].message
    assert other.wait().value == 1
    assert tight.run("import os\ndef f(i): return [i, os.listdir()]").value == [1, []]


def is_counted(engine: Engine) -> bool:
    """Say whether the processes of a user id are those of one owner."""
    return engine.rung is Rung.BWRAP or engine.run(WHO).value >= FIRST_UID


def test_only_the_kernel_is_asked_of_what_would_not_wait(tight: Engine) -> None:
    """The same error number, and no limit was hit."""
    source = """
        import os
        def f(i):
            ours, _ = os.pipe()
            os.set_blocking(ours, False)
            os.read(ours, 1)
    """
    failure = tight.run(source).failure
    assert failure.kind is FailureKind.RAISED
    assert failure.type == "BlockingIOError"


def test_time_is_counted_for_each_call_anew(tight: Engine) -> None:
    """Each takes less than the limit, all together more; sleeping takes none."""
    source = """
        import time
        def f(i):
            until = time.process_time() + 0.2
            while time.process_time() < until: pass
            return i
    """
    assert tight.run(source, count=6, degree=1).returned == {i: i for i in range(1, 7)}
    assert tight.run("import time\ndef f(i):\n    time.sleep(1)\n    return i").value == 1


def test_every_call_of_a_run_may_hit_a_limit(tight: Engine) -> None:
    """The run is not given up, as it is when workers die of what nobody knows."""
    record = tight.run("def f(i):\n    while True: print('x' * 100_000)", count=25, degree=2)
    assert {failure.kind for failure in record.failures.values()} == {FailureKind.TOO_MUCH_OUTPUT}
    assert len(record.failures) == 25


# ------------------------------------------------------------------ service levels


def test_a_level_has_limits_of_its_own(libraries: Environment, tmp_path: Path) -> None:
    source = "def f(i): return len(bytearray(200 << 20)) >> 20"
    levels = {ServiceLevel.LOW: {"memory_mib": 128}, ServiceLevel.HIGH: {"call_s": 3.0}}
    with opened(libraries, tmp_path, preload=(), levels=levels) as engine:
        low = engine.run(source, level=ServiceLevel.LOW).failure
        assert low.message.startswith("out of memory: peak ")
        assert "of 128 MiB at index 1" in low.message
        for level in (ServiceLevel.MEDIUM, ServiceLevel.HIGH):
            assert engine.run(source, level=level).value == 200
        slow = "import time\ndef f(i):\n    time.sleep(4)\n    return i"
        assert engine.run(slow, level=ServiceLevel.MEDIUM).value == 1
        late = engine.run(slow, level=ServiceLevel.HIGH)
        assert late.failure.kind is FailureKind.TIMED_OUT
        own = engine.run(slow, level=ServiceLevel.HIGH, call_timeout_s=0.2).failure
        assert "after 0.2 s, the limit of one call" in own.message


def test_levels_with_the_same_limits_share_workers(libraries: Environment, tmp_path: Path) -> None:
    levels = {ServiceLevel.LOW: {"memory_mib": 128}}
    with opened(libraries, tmp_path, preload=(), levels=levels) as engine:
        source = "import os\ndef f(i): return os.getppid()"
        zygotes = {level: engine.run(source, level=level).value for level in ServiceLevel}
        pools = len(engine.call(lambda: list(engine.engine.pools)))
    assert pools == 2
    if climb().rung is not Rung.BWRAP:  # there, each has numbers of its own
        assert len(set(zygotes.values())) == 2


# ------------------------------------------------------------------ control groups


def test_each_worker_is_in_a_group_that_goes_with_it(
    libraries: Environment, tmp_path: Path
) -> None:
    """Also what it has started, what has left its session, and what its owner's zygote outlives."""
    try:
        groups = find_groups(Limits(**LIMITS))
    except GroupsMissing as exc:
        pytest.skip(f"no control groups here: {exc}")
    with opened(libraries, tmp_path, preload=(), groups=groups, memory_mib=256) as engine:
        source = """
            import os, time
            def f(i):
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(30)
                time.sleep(30)
        """
        running = engine.start(source)
        wait_until(
            lambda: {len(found) for found in members(groups)} == {2}, "both are in each of them"
        )
        running.cancel()
        running.wait()
        wait_until(lambda: not any(members(groups)), "they are gone")
    assert not ours(groups)


def members(groups: Groups) -> list[set[int]]:
    return [
        {int(word) for word in (place / "cgroup.procs").read_text().split()}
        for place in ours(groups)
    ]


def ours(groups: Groups) -> list[Path]:
    """Return the directories of these groups."""
    trees: tuple[Tree, ...] = groups._trees
    return [place for tree in trees for place in tree.own.glob(f"{groups.prefix}*")]


def test_a_share_of_the_processors_is_kept(libraries: Environment, tmp_path: Path) -> None:
    try:
        groups = find_groups(Limits(**LIMITS))
    except GroupsMissing as exc:
        pytest.skip(f"no control groups here: {exc}")
    if "cpu" not in groups.controllers:
        pytest.skip("no share of the processors can be set here")
    source = """
        import time
        def f(i):
            wall, cpu = time.monotonic(), time.process_time()
            while time.monotonic() < wall + 1.0: pass
            return (time.process_time() - cpu) / (time.monotonic() - wall)
    """
    with opened(libraries, tmp_path, preload=(), groups=groups, cpus=0.25) as engine:
        assert engine.run(source).value < 0.45


def test_a_worker_that_cannot_have_its_group_does_not_start(
    libraries: Environment, tmp_path: Path
) -> None:
    """Nothing goes on with less than was promised, and the run says why it does not begin."""
    gone = Groups([Tree(version=1, own=tmp_path / "gone", controllers=("memory",))])
    with opened(libraries, tmp_path, preload=(), groups=gone) as engine:
        error = engine.run("def f(i): return i").error
    assert "no control group can be made" in str(error)


# ------------------------------------------------------------------ frames


def test_a_frame_is_no_longer_than_values_may_be(libraries: Environment, tmp_path: Path) -> None:
    """What a worker forges makes the server hold no more than an honest one does."""
    source = """
        import os, socket, struct, time
        def f(i):
            for n in range(3, 60):
                try:
                    found = socket.socket(fileno=os.dup(n))
                    if found.type == socket.SOCK_STREAM:
                        found.sendall(struct.pack('<IB', %d, 66))
                except OSError:
                    pass
            time.sleep(1000)
            return i
    """
    limits = run_limits(max_value_bytes=1 << 20)
    with opened(libraries, tmp_path, preload=(), limits=limits) as engine:
        assert engine.run("def f(i): return i").value == 1  # what has to start has started
        watch = Stopwatch()
        failure = engine.run(source % (limits.max_frame_bytes + 1)).failure
        assert failure.kind is FailureKind.LOST
        assert "having written to the channel" in failure.message
        assert watch.counted_s() < 3
        assert limits.max_frame_bytes < 20 << 20
