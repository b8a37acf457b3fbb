"""Which functions can be sent, and what is said about those that cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from json import decoder
from math import floor
from math import floor as down
from typing import Any

import pytest

from fanfold.faults import NotPortable
from fanfold.functions import is_source, source_of
from fanfold.options import Options
from tests import folders

FACTOR = 3


def run(func: Callable[..., Any], *args: object) -> object:
    """Run the text that would be sent, with nothing but builtins around it."""
    source = source_of(func)
    namespace: dict[str, Any] = {}
    exec(source.text, namespace)  # noqa: S102  # what the server's workers do
    return namespace[source.name](*args)


def test_a_function_goes_by_its_text() -> None:
    def area(r: float) -> float:
        import math as m  # noqa: PLC0415  # what it uses is inside

        def square(x: float) -> float:
            return x * x

        return m.floor(m.pi * square(r))

    assert run(area, 2.0) == 12


def test_a_function_may_call_itself_and_use_builtins() -> None:
    def count(n: int) -> int:
        return n if n <= 0 else max(n, count(n - 1))

    assert run(count, 4) == 4


def test_a_lambda_that_stands_alone_becomes_a_function() -> None:
    double, triple = (lambda x: 2 * x), (lambda x: 3 * x)
    assert run(lambda x, y=2: [x**y for _ in range(1)], 3) == [9]
    assert run(triple, 2) == 6
    assert run(double, 2) == 4


def test_a_lambda_is_found_wherever_it_stands() -> None:
    """Lines that are no statements by themselves, and lambdas that go on over several."""
    # fmt: off
    try: assert run(lambda x: x + 10, 1) == 11  # noqa: E701
    finally: pass  # noqa: E701
    assert [run(lambda x: x + 1, n) for n in range(2)] == [1, 2]
    assert run(
        lambda x: (
            x
            + 2), 5,
    ) == 7
    same, again = (lambda x: x - 1), (lambda x: x - 1)
    assert run(same, 3) == run(again, 3) == 2
    # fmt: on


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: lambda x: x * FACTOR, ["FACTOR"]),
        (lambda: _closure(5), ["bound"]),
        (lambda: _uses_module, ["math"]),
        (lambda: _nested, ["FACTOR", "math"]),
        (lambda: _default, ["FACTOR"]),
    ],
)
def test_what_cannot_stand_alone_is_refused_with_the_names_that_it_lacks(
    make: Callable[[], Callable[..., Any]], names: list[str]
) -> None:
    with pytest.raises(NotPortable) as refused:
        source_of(make())
    assert refused.value.details["names"] == names
    for name in names:
        assert name in refused.value.message


def test_annotations_need_not_stand_alone() -> None:
    def first(values: Sequence[Any]) -> Any:
        return values[0]

    assert run(first, [3, 4]) == 3


def test_a_module_is_to_be_imported_inside() -> None:
    with pytest.raises(NotPortable, match='write "import math" inside it'):
        source_of(_uses_module)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: _uses_a_function, 'write "from math import floor" inside it'),
        (lambda: _uses_another_name, 'write "from math import floor as down" inside it'),
        (lambda: _uses_a_submodule, 'write "import json.decoder as decoder" inside it'),
        (
            lambda: _uses_own_function,
            "define _default, run inside it, or send the text of a file that has it all",
        ),
        (lambda: _uses_own_file, "define folders inside it, or send the text of a file"),
        (lambda: _default, "define FACTOR inside it, or pass FACTOR as arguments"),
    ],
)
def test_what_is_lacking_is_told_with_what_would_be_right(
    make: Callable[[], Callable[..., Any]], advice: str
) -> None:
    """A function cannot be passed as an argument, and one's own files are not on the server."""
    with pytest.raises(NotPortable) as refused:
        source_of(make())
    assert advice in refused.value.message


@pytest.mark.parametrize("func", [print, str.upper, int, [].append])
def test_what_has_no_text_of_its_own_is_refused(func: Callable[..., Any]) -> None:
    with pytest.raises(NotPortable, match="not a plain Python function"):
        source_of(func)


def test_a_decorated_function_is_refused() -> None:
    with pytest.raises(NotPortable, match="decorat"):
        source_of(_decorated)


def test_a_function_of_an_unknown_file_is_refused() -> None:
    namespace: dict[str, Any] = {}
    exec("def f(x):\n    return x\n", namespace)  # noqa: S102  # as a REPL does
    with pytest.raises(NotPortable, match="send the source as a string"):
        source_of(namespace["f"])


def test_the_same_text_has_the_same_name_and_another_text_another() -> None:
    first, second = (source_of(f"def f(i):\n    return i + {n}\n") for n in (1, 2))
    assert first.adhoc_name == source_of(first.text).adhoc_name != second.adhoc_name
    assert first.adhoc_name.isidentifier()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my script", False),
        ("defender", False),
        ("def f(): return 1", True),
        ("import os\ndef f(): pass", True),
        ("x\n", True),
    ],
)
def test_a_text_is_told_from_a_name(text: str, expected: bool) -> None:
    assert is_source(text) is expected


def _closure(bound: int) -> Callable[[int], int]:
    def inner(x: int) -> int:
        return x + bound

    return inner


def _uses_module(x: float) -> float:
    return math.sqrt(x)


def _uses_a_function(x: float) -> int:
    return floor(x)


def _uses_another_name(x: float) -> int:
    return down(x)


def _uses_a_submodule(text: str) -> object:
    return decoder.JSONDecoder().decode(text)


def _uses_own_function(x: int) -> object:
    return run(_default, x)


def _uses_own_file() -> object:
    return folders.__doc__


def _nested(x: float) -> float:
    def inner() -> float:
        return math.sqrt(x) * FACTOR

    return inner()


def _default(x: int = FACTOR) -> int:
    return x


def _keep(func: Callable[..., Any]) -> Callable[..., Any]:
    return func


@_keep
def _decorated(x: int) -> int:
    return x


def test_an_option_that_is_none_names_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match='no option "sed": did you mean "seed"'):
        Options().changed({"sed": 7})
    with pytest.raises(TypeError, match="there are environment, service, seed"):
        Options().changed({"initializer": print})
    assert Options(seed=1).changed({"service": "HIGH"}) == Options(seed=1, service="HIGH")
