"""What a function is given, and which function it is."""

from __future__ import annotations

import pytest

from fanfold_server.model.outcome import FailureKind
from tests.runtime.bench import Engine


def test_parameters_are_keyword_arguments_with_their_own_types(anywhere: Engine) -> None:
    source = "def f(i, **given): return [[k, type(v).__name__] for k, v in given.items()]"
    given = {"a": 1, "b": 1.5, "c": "x", "d": True, "e": None, "f": [1], "g": {"x": 1}}
    found = anywhere.run(source, parameters=given).value
    kinds = ["int", "float", "str", "bool", "NoneType", "list", "dict"]
    assert found == [[name, kind] for name, kind in zip(given, kinds, strict=True)]


def test_a_default_stands_where_no_parameter_is_given(anywhere: Engine) -> None:
    assert anywhere.run("def f(i, scale=3): return i * scale", start=5).value == 15


@pytest.mark.parametrize("plain", [True, False])
def test_a_call_that_changes_its_parameter_does_not_reach_the_next(
    anywhere: Engine, *, plain: bool
) -> None:
    source = "def f(i, words):\n    words.append(i)\n    return words"
    if not plain:
        source = "import os\n" + source
    record = anywhere.run(source, count=6, parameters={"words": [0]})
    assert record.returned == {i: [0, i] for i in range(1, 7)}


def test_a_nested_parameter_is_fresh_for_each_call(anywhere: Engine) -> None:
    source = "def f(i, table):\n    table['a'].append(i)\n    return table"
    record = anywhere.run(source, count=6, parameters={"table": {"a": []}})
    assert record.returned == {i: {"a": [i]} for i in range(1, 7)}


def test_a_changed_default_does_not_reach_the_next_run(anywhere: Engine) -> None:
    """Within a run, a worker's calls share the namespace; a run begins with a fresh one."""
    source = "def f(i, seen=[]):\n    seen.append(i)\n    return len(seen)"
    assert [anywhere.run(source).value for _ in range(4)] == [1, 1, 1, 1]


def test_globals_do_not_reach_the_next_run(anywhere: Engine) -> None:
    source = "count = 0\ndef f(i):\n    global count\n    count += 1\n    return count"
    assert [anywhere.run(source).value for _ in range(4)] == [1, 1, 1, 1]


def test_a_parameter_that_the_function_lacks_is_its_own_type_error(anywhere: Engine) -> None:
    failure = anywhere.run("def f(i): return i", parameters={"scale": 1}).failure
    assert failure.kind is FailureKind.RAISED
    assert failure.type == "TypeError"
    assert "scale" in failure.message


def test_what_is_taken_by_position_alone_is_given_so(anywhere: Engine) -> None:
    """The caller names his arguments, and need not know how the function is written."""
    given = {"x": 2, "z": 4}
    for source in (
        "def f(i, x, y=3, z=0, /): return [i, x, y, z]",
        "def f(i, x, /, y=3, *, z): return [i, x, y, z]",
        "import os\ndef f(i, x, y=3, z=0, /, *more): return [i, x, y, z, *more]",
    ):
        record = anywhere.run(source, count=3, parameters=given)
        assert record.returned == {i: [i, 2, 3, 4] for i in range(1, 4)}
    alone = "def f(x, z, /, **more): return [x, z, more]"
    assert anywhere.run(alone, indexed=False, start=0, parameters=given).value == [2, 4, {}]


def test_what_is_missing_by_position_is_told_by_python(anywhere: Engine) -> None:
    failure = anywhere.run("def f(i, x, /): return x").failure
    assert failure.type == "TypeError"
    assert "missing 1 required positional argument: 'x'" in failure.message


def test_without_an_index_the_function_gets_parameters_alone(anywhere: Engine) -> None:
    record = anywhere.run(
        "def f(a, b=2): return [a, b]", indexed=False, start=0, parameters={"a": 1}
    )
    assert record.value == [1, 2]


def test_the_entry_is_the_function_that_was_chosen(anywhere: Engine) -> None:
    source = "def helper(i): return -i\ndef main(i): return helper(i) * 2\ndef f(i): return 0"
    assert anywhere.run(source, entry="main", start=3).value == -6


@pytest.mark.parametrize(
    "source", ["def g(i): return i", "f = 5", "def f(i): return i\ndel f", ""], ids=repr
)
def test_a_script_that_makes_no_such_function_is_told_so(anywhere: Engine, source: str) -> None:
    record = anywhere.run(source, count=3)
    assert record.failure.kind is FailureKind.LOAD
    assert "defines no function named 'f'" in record.failure.message


def test_anything_that_can_be_called_is_a_function(anywhere: Engine) -> None:
    source = "import functools\nf = functools.partial(pow, 2)"
    assert anywhere.run(source, start=10).value == 1024


def test_a_class_of_the_script_can_be_pickled(anywhere: Engine) -> None:
    source = """
        import pickle
        from dataclasses import dataclass
        @dataclass
        class Point:
            x: int
        def f(i): return pickle.loads(pickle.dumps(Point(i))).x
    """
    assert anywhere.run(source, start=4).value == 4


def test_a_script_does_not_see_ours_on_its_path(anywhere: Engine) -> None:
    source = "import sys\ndef f(i): return [p for p in sys.path if p.endswith('.pyz')]"
    assert anywhere.run(source).value == []


def test_a_traceback_shows_the_lines_of_the_script_and_no_others(anywhere: Engine) -> None:
    source = """
        import json
        def inner(text):
            return json.loads(text)
        def f(i):
            return inner('{')
    """
    failure = anywhere.run(source).failure
    assert failure.type == "json.decoder.JSONDecodeError"
    lines = failure.traceback.splitlines()
    assert [line.strip() for line in lines if "File" in line] == [
        'File "<f>", line 6, in f',
        'File "<f>", line 4, in inner',
    ]
    assert "return inner('{')" in failure.traceback


def test_what_needs_a_library_that_is_not_there_says_so(anywhere: Engine) -> None:
    if anywhere.environment.name == "default":
        pytest.skip("this environment has them")
    drawing = anywhere.run("def f(i): return i", graphics=True, count=3)
    assert drawing.failure.kind is FailureKind.NO_FIGURES
    drawn = anywhere.run("def f(i, rng): return i", count=3)
    assert drawn.failure.kind is FailureKind.NO_GENERATOR
    assert "rng" in drawn.failure.message
