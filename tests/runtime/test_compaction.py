"""What is preloaded lies in large pages, and room that was made for it is given back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fanfold_server.model.environment import Environment

SRC = Path(__file__).parents[2] / "src"
TELL = """
import ctypes, gc, json, mmap, os, resource, sys
sys.path.insert(0, {src!r})
from fanfold_runtime import compaction, kernel

def kib(name):
    with open('/proc/self/smaps_rollup') as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(name + ':'))
def tell(**what):
    print(json.dumps(what))
"""


def told(environment: Environment, body: str) -> Any:
    """Return what a program of the environment's interpreter tells."""
    command = [str(environment.prefix / "bin" / "python"), "-I", "-c"]
    text = TELL.format(src=str(SRC)) + body
    done = subprocess.run([*command, text], capture_output=True, check=True, timeout=120)
    return json.loads(done.stdout)


@pytest.fixture
def large(libraries: Environment) -> Environment:
    """The environment, where this kernel puts memory into large pages when it is told."""
    body = """
memory = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.write(b'x' * len(memory))
compaction.compact()
tell(large=kib('AnonHugePages'))
"""
    if not told(libraries, body)["large"]:
        pytest.skip("this kernel has no large pages, or none are free")
    return libraries


def test_what_is_loaded_lies_in_large_pages(large: Environment) -> None:
    """Else a fork copies an entry for each of 20,000 small ones."""
    body = """
room = compaction.reserve()
import pandas, matplotlib.pyplot
room.clear()
gc.collect()
before = kib('Anonymous')
compaction.compact()
tell(before=before, after=kib('Anonymous'), large=kib('AnonHugePages'))
"""
    found = told(large, body)
    assert found["large"] > found["before"] / 2
    assert found["after"] < found["before"] * 1.15


def test_a_child_writes_to_pages_of_its_own(large: Environment) -> None:
    body = """
room = compaction.reserve()
here = [bytearray(400) for _ in range(20_000)]
room.clear()
compaction.compact()
before = kib('AnonHugePages')
pid = os.fork()
if not pid:
    for each in here:
        each[:] = b'x' * 400
    os._exit(0)
os.waitpid(pid, 0)
tell(before=before, unharmed=all(each == bytes(400) for each in here))
"""
    found = told(large, body)
    assert found["before"]
    assert found["unharmed"]


def test_room_that_nothing_needs_is_given_back(libraries: Environment) -> None:
    body = """
before = kib('Anonymous')
room = compaction.reserve()
made = kib('Anonymous')
room.clear()
tell(before=before, made=made, after=kib('Anonymous'))
"""
    found = told(libraries, body)
    assert found["made"] > found["before"] + (30 << 10)
    assert found["after"] < found["before"] + (4 << 10)


def test_where_there_is_no_room_none_is_made(libraries: Environment) -> None:
    """An interpreter with little memory may load what it is to load all the same."""
    body = """
resource.setrlimit(resource.RLIMIT_DATA, (30 << 20, 30 << 20))
tell(room=len(compaction.reserve()))
"""
    assert told(libraries, body) == {"room": 0}
