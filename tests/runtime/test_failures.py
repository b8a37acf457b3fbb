"""What is told of an exception beside its own frames: what led to it, notes, members of a group."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.bench import Engine

CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
HEAD = "Traceback (most recent call last):\n"


def told(engine: Engine, source: str) -> str:
    text = engine.run(source).failure.traceback
    assert isinstance(text, str)
    return "".join(line for line in text.splitlines(True) if "^" not in line and "~" not in line)


@pytest.mark.parametrize(
    ("end", "word"),
    [("from exc", CAUSE), ("", CONTEXT), ("from None", None)],
    ids=["cause", "context", "neither"],
)
def test_what_led_to_an_exception_is_told_before_it(
    anywhere: Engine, end: str, word: str | None
) -> None:
    """The cause is what a user has to mend: "training failed" alone helps nobody."""
    source = f"""
        import json
        def f(i):
            try:
                json.loads("{{")
            except ValueError as exc:
                raise RuntimeError("no settings") {end}
    """
    after = f'{HEAD}  File "<f>", line 7, in f\n    raise RuntimeError("no settings") {end}'
    after = f"{after.rstrip()}\nRuntimeError: no settings\n"
    before = f'{HEAD}  File "<f>", line 5, in f\n    json.loads("{{")\njson.decoder.JSONDecode'
    text = told(anywhere, source)
    if word is None:
        assert text == after
    else:
        assert text.startswith(before)
        assert text.endswith(word + after)


def test_what_a_library_has_caught_is_its_own_affair(anywhere: Engine) -> None:
    """Here `urllib` catches an OSError; pandas, a KeyError of an index."""
    source = """
        from urllib.request import urlopen
        def f(i):
            try:
                urlopen("http://127.0.0.1:1")
            except OSError as exc:
                assert exc.__context__ is not None
                raise
    """
    text = told(anywhere, source)
    assert "urllib.error.URLError" in text
    assert text.count(HEAD) == 1


def test_a_chain_is_told_to_a_limit_also_where_it_is_a_ring(anywhere: Engine) -> None:
    source = """
        def f(i):
            def deep(n):
                try:
                    raise KeyError(n)
                except KeyError:
                    if n:
                        deep(n - 1)
                    else:
                        raise
            deep(30)
    """
    assert told(anywhere, source).count("KeyError: ") == 6
    ring = """
        def f(i):
            one, two = ValueError("one"), ValueError("two")
            try:
                raise one
            except ValueError:
                pass
            one.__cause__, two.__cause__ = two, one
            raise two
    """
    assert told(anywhere, ring).count(": two\n") == 1


def test_notes_are_told(anywhere: Engine) -> None:
    source = """
        def f(i):
            exc = ValueError("wrong")
            exc.__notes__ = ["in row 3", 5, "of the table"]
            raise exc
    """
    assert told(anywhere, source).endswith("ValueError: wrong\nin row 3\nof the table\n")


def test_the_members_of_a_group_are_told(anywhere: Engine) -> None:
    source = """
        def f(i):
            try:
                {}["fold"]
            except KeyError as exc:
                kind = __builtins__["ExceptionGroup"]
                raise kind("two folds", [kind("in", [exc]), ValueError("other")]) from None
    """
    text = told(anywhere, source)
    if "two folds" not in text:
        pytest.skip("ExceptionGroup is new in Python 3.11")
    assert "ExceptionGroup: two folds (2 sub-exceptions)\n" in text
    assert '  |   | Traceback (most recent call last):\n  |   |   File "<f>", line 4' in text
    assert text.endswith("  |   | KeyError: 'fold'\n  | ValueError: other\n")


def test_an_exception_that_will_not_be_told_is_named(anywhere: Engine) -> None:
    source = """
        class Stubborn(Exception):
            @property
            def __cause__(self):
                raise SystemExit
        def f(i):
            raise Stubborn("no")
    """
    assert told(anywhere, source) == "Stubborn: no\n"


def test_a_traceback_is_told_to_a_limit(anywhere: Engine) -> None:
    """A line of a generated source may be as long as the source."""
    call = "f(i + 1)" + " " * 100_000 + "or 1"
    text = told(anywhere, f"def f(i):\n    if i == 30: [].fold\n    return {call}")
    assert 200_000 < len(text) < 201_000
    assert "characters more)" in text
    assert text.endswith("AttributeError: 'list' object has no attribute 'fold'\n")


@pytest.mark.parametrize("parameters", [{}, {"k": 7}])
def test_a_generator_that_has_no_more_is_a_failure_like_any_other(
    engine: Engine, parameters: dict[str, Any]
) -> None:
    """StopIteration means an end to whoever iterates over calls: such a run went on for ever."""
    source = "def f(i, k=7): return next(x for x in (k, i) if x != k)"
    record = engine.run(source, count=40, parameters=parameters, degree=1)
    assert record.returned == {i: i for i in range(1, 41) if i != 7}
    assert record.failures.keys() == {7}
    assert record.failure.type == "StopIteration"
