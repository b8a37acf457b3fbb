"""A worker that takes too much memory is told apart from one that dies, and so are its calls."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fanfold_server.model.environment import Environment
from fanfold_server.model.outcome import FailureKind
from tests.runtime.bench import Engine, opened

LIMIT_MIB = 320
TOLD = rf"^out of memory: peak (\d+) MiB of {LIMIT_MIB} MiB at index 2"
TOO_MUCH = {
    "by itself": "held = [bytearray(b'x') * (16 << 20) for _ in range(40)]",
    "shared with nobody": """
import mmap
        held = mmap.mmap(-1, 600 << 20)
        for at in range(0, 600 << 20, 1 << 20): held[at:at + (1 << 20)] = b'x' * (1 << 20)
        time.sleep(20)""",
    "in children": """
for _ in range(4):
            if os.fork() == 0:
                held = bytearray(b'x') * (150 << 20)
                time.sleep(20)
                os._exit(0)
        for _ in range(4): os.wait()
        time.sleep(20)""",
    "in daemons": """
for _ in range(4):
            if os.fork() == 0:
                os.setsid()
                held = bytearray(b'x') * (150 << 20)
                time.sleep(20)
                os._exit(0)
        time.sleep(20)""",
    "under a name that is no text": """
import ctypes, mmap
        ctypes.CDLL(None).prctl(15, b"\\xff) \\xfe")
        held = mmap.mmap(-1, 600 << 20)
        for at in range(0, 600 << 20, 1 << 20): held[at:at + (1 << 20)] = b'x' * (1 << 20)
        time.sleep(20)""",
}


@pytest.fixture(scope="module")
def small(libraries: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    cache = tmp_path_factory.mktemp("cache")
    with opened(libraries, cache, preload=("numpy",), memory_mib=LIMIT_MIB) as engine:
        yield engine


@pytest.mark.parametrize("how", TOO_MUCH)
def test_a_call_that_takes_too_much_is_told_how_much(small: Engine, how: str) -> None:
    body = TOO_MUCH[how].strip()
    source = f"import os, time\ndef f(i):\n    if i == 2:\n        {body}\n    return i\n"
    record = small.run(source, count=4)
    assert record.error is None
    assert record.returned == {1: 1, 3: 3, 4: 4}
    failure = record.failures[2]
    assert failure.kind is FailureKind.OUT_OF_MEMORY
    assert failure.type == "MemoryError"
    told = re.search(TOLD, failure.message)
    assert told is not None, failure.message
    if how != "by itself":  # what was refused was never taken
        assert int(told[1]) > LIMIT_MIB


def test_pages_that_a_fork_has_not_copied_count_once(small: Engine) -> None:
    """Ten children of a process with 100 MiB take little, though each is shown with 100 MiB."""
    source = """
        import os, time
        def f(i):
            held = bytearray(b'x') * (100 << 20)
            for _ in range(10):
                if os.fork() == 0:
                    time.sleep(1)
                    os._exit(0)
            for _ in range(10): os.wait()
            return len(held) >> 20
    """
    assert small.run(source).value == 100
