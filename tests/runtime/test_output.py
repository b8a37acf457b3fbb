"""What a call writes is captured with that call, whoever writes it, and never breaks its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from fanfold_server.model.environment import Environment
from fanfold_server.model.outcome import FailureKind
from tests.runtime.bench import Engine, opened, run_limits

WRITERS = {
    "print": "print('word', i)",
    "stderr": "import sys; print('word', i, file=sys.stderr)",
    "write": "import os; os.write(1, b'word %d\\n' % i)",
    "buffer": "import sys; sys.stdout.buffer.write(b'word %d\\n' % i)",
    "C puts": "import ctypes; ctypes.CDLL(None).puts(b'word %d' % i)",
    "C printf": "import ctypes; ctypes.CDLL(None).printf(b'word %d\\n', i)",
    "C write": "import ctypes; t = b'word %d\\n' % i; ctypes.CDLL(None).write(1, t, len(t))",
    "subprocess": "import subprocess; subprocess.run(['echo', 'word', str(i)])",
    "shell": "import os; os.system('echo word %d' % i)",
    "fork": "import os; p = os.fork() or (os.write(1, b'word %d\\n' % i), os._exit(0))\n"
    "    os.waitpid(p, 0)",
    "buffered": "import sys, io; sys.stdout = io.TextIOWrapper(open(1, 'wb', 8192, closefd=False))"
    "; print('word', i)",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_output_belongs_to_the_call_that_wrote_it(anywhere: Engine, writer: str) -> None:
    source = f"def f(i):\n    {WRITERS[writer]}\n    return i"
    record = anywhere.run(source, count=5, keep_logs=True)
    assert record.returned == {i: i for i in range(1, 6)}
    assert record.logs == {i: f"word {i}\n" for i in range(1, 6)}


def test_output_of_python_and_of_c_keeps_its_order(anywhere: Engine) -> None:
    source = """
        import ctypes, os
        def f(i):
            print("a")
            os.write(1, b"b\\n")
            print("c", end="")
            os.system("echo d")
            return i
    """
    assert anywhere.run(source, keep_logs=True).logs == {1: "a\nb\ncd\n"}


def test_a_hundred_megabytes_are_cut_with_a_visible_mark(anywhere: Engine) -> None:
    """100 MB would be the engine's memory, then the answer's."""
    source = """
        import os
        def f(i):
            block = b"x" * (1 << 20)
            for _ in range(100):
                os.write(1, block)
            return i
    """
    record = anywhere.run(source, keep_logs=True)
    assert record.value == 1
    log = record.logs[1]
    assert log.startswith("x" * 4_000)
    left_out = 100 * (1 << 20) - 4_000
    assert log[4_000:] == f"\n… [{left_out} bytes more were written and not kept]\n"


def test_more_output_than_a_file_may_hold_fails_the_call_alone(anywhere: Engine) -> None:
    source = """
        import os
        def f(i):
            block = b"x" * (1 << 20)
            while i == 2:
                os.write(1, block)
            return i
    """
    record = anywhere.run(source, count=3)
    assert record.returned == {1: 1, 3: 3}
    assert record.failure.type == "OSError"


def test_a_cut_inside_a_character_is_no_error(anywhere: Engine) -> None:
    source = "import sys\ndef f(i):\n    print('é' * 4000)\n    return i"
    log = anywhere.run(source, keep_logs=True, parameters={}).logs[1]
    assert log.startswith("é" * 2_000)
    source = "import sys\ndef f(i):\n    print('x' + 'é' * 4000)\n    return i"
    log = anywhere.run(source, keep_logs=True).logs[1]
    assert log.startswith("x" + "é" * 1_999)


@pytest.mark.parametrize("text", ["\\ud800", "\\x00", "\\u2028"])
def test_any_character_may_be_printed(anywhere: Engine, text: str) -> None:
    record = anywhere.run(f"def f(i):\n    print('{text}')\n    return i", keep_logs=True)
    assert record.value == 1


def test_a_failed_call_keeps_its_output(anywhere: Engine) -> None:
    record = anywhere.run("def f(i):\n    print('before')\n    return 1 / 0", count=2)
    assert {i: o.log for i, o in record.outcomes.items()} == {1: "before\n", 2: "before\n"}


def test_a_lost_call_shows_its_last_words(anywhere: Engine) -> None:
    record = anywhere.run("import os\ndef f(i):\n    print('before')\n    os._exit(3)")
    assert record.failure.kind is FailureKind.LOST
    assert record.failure.message.endswith("its last words: before")


def test_without_logs_a_call_that_prints_is_a_plain_value(anywhere: Engine) -> None:
    record = anywhere.run("def f(i):\n    print('x')\n    return i", count=3)
    assert record.returned == {1: 1, 2: 2, 3: 3}
    assert not record.outcomes


WARNS = """
import json, os, warnings
def f(i):
    told = vars(json).setdefault("__warningregistry__", {})
    warnings.warn_explicit("word", RuntimeWarning, "library.py", 5, registry=told)
    return os.getpid()
"""


def test_each_run_is_told_the_warnings_of_libraries(anywhere: Engine) -> None:
    """Python tells each once for a place in the code, and the code of a library stays."""
    runs = [anywhere.run(WARNS, keep_logs=True) for _ in range(4)]
    assert len({run.value for run in runs}) < 4, "a worker was used again"
    assert ["RuntimeWarning: word" in run.logs[1] for run in runs] == [True] * 4


def test_no_call_fails_or_not_by_what_others_have_told(
    libraries: Environment, tmp_path: Path
) -> None:
    """Where output is refused, a warning is a failure."""
    with opened(libraries, tmp_path, limits=run_limits(refuse_output=True)) as engine:
        for degree in (1, 2):
            record = engine.run(WARNS, count=4, degree=degree)
            assert [failure.kind for failure in record.failures.values()] == [
                FailureKind.PRINTED
            ] * 4
