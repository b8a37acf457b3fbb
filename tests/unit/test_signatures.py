"""What a function takes, read from its text; refused is only what Python itself would refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_runtime.placing import placed
from fanfold_server.model.errors import InvalidArguments
from fanfold_server.service.signatures import Signatures, schema_of, signature_of
from tests.fakes.words import script_of

NAMES = ["a", "b", "c", "d", "e"]


def check(source: str, positional: int = 0, *, types: bool = False, **arguments: Any) -> str | None:
    """Give what is said against the arguments; None if nothing is."""
    try:
        Signatures().check(
            script_of(source), positional, json.dumps(arguments).encode(), types=types
        )
    except InvalidArguments as exc:
        return exc.message
    return None


@st.composite
def heads(draw: st.DrawFn) -> str:
    """Draw the head of a function: every kind of parameter, with and without defaults."""
    names = draw(st.permutations(NAMES))
    kinds = [draw(st.integers(0, 2)) for _ in names[: draw(st.integers(0, 5))]]
    groups: list[list[str]] = [[], [], []]
    for name, kind in zip(names, sorted(kinds), strict=False):
        groups[kind].append(name)
    only, both, keyword = groups
    plain = [*only, *both]
    first_default = draw(st.integers(0, len(plain)))
    written = [name if at < first_default else f"{name}=0" for at, name in enumerate(plain)]
    parts = written[: len(only)] + (["/"] if only else []) + written[len(only) :]
    has_args = draw(st.booleans())
    parts += ["*args"] if has_args else ["*"] if keyword else []
    parts += [f"{name}=0" if draw(st.booleans()) else name for name in keyword]
    parts += ["**kwargs"] if draw(st.booleans()) else []
    return ", ".join(parts)


@given(heads(), st.sets(st.sampled_from([*NAMES, "other"])), st.integers(0, 1))
def test_refused_is_what_the_runtime_refuses_and_nothing_else(
    head: str, names: set[str], positional: int
) -> None:
    """The law on which the check stands: it may not forbid a call that would have worked."""
    source = f"def f({head}):\n    return 0\n"
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102  # the model is Python itself
    arguments: dict[str, Any] = dict.fromkeys(names, 1)
    said = check(source, positional, **arguments)
    first, named = placed(namespace["f"], (7,) * positional, arguments)
    try:
        namespace["f"](*first, **named)
    except TypeError:
        assert said is not None
    else:
        assert said is None


@given(heads(), st.sets(st.sampled_from(NAMES)), st.integers(0, 1))
def test_how_a_parameter_is_taken_is_no_matter_of_the_caller(
    head: str, names: set[str], positional: int
) -> None:
    """A function means the same with and without the `/` among its parameters."""
    namespace: dict[str, Any] = {}
    strict = head.replace(", **kwargs", "").replace("**kwargs", "")
    exec(f"def f({strict}):\n    return locals()\n", namespace)  # noqa: S102
    lenient = strict.replace("/, ", "").replace("/", "")
    exec(f"def g({lenient}):\n    return locals()\n", namespace)  # noqa: S102
    arguments: dict[str, Any] = dict.fromkeys(names, 1)
    first, named = placed(namespace["f"], (7,) * positional, arguments)
    try:
        expected = namespace["g"](*[7] * positional, **arguments)
    except TypeError:
        with pytest.raises(TypeError):
            namespace["f"](*first, **named)
    else:
        assert namespace["f"](*first, **named) == expected


@pytest.mark.parametrize(
    ("head", "positional", "arguments", "words"),
    [
        ("i, points=10", 1, {"point": 1}, "got an unexpected keyword argument 'point'"),
        ("i, x", 1, {}, "missing 1 required positional argument: 'x'"),
        ("i, x, y, z", 1, {"y": 1}, "missing 2 required positional arguments: 'x' and 'z'"),
        ("*, k", 0, {}, "missing 1 required keyword-only argument: 'k'"),
        ("i", 1, {"i": 3}, "got multiple values for argument 'i'"),
        ("", 1, {}, "takes 0 positional arguments but 1 was given"),
    ],
)
def test_the_words_are_pythons_and_the_arguments_are_named(
    head: str, positional: int, arguments: dict[str, Any], words: str
) -> None:
    source = f"def f({head}):\n    return 0\n"
    said = check(source, positional, **arguments)
    assert said is not None
    assert said.startswith(f"TypeError: f() {words}")
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102  # the model is Python itself
    with pytest.raises(TypeError) as raised:
        namespace["f"](*[7] * positional, **arguments)
    assert said.startswith(f"TypeError: {raised.value}")


@pytest.mark.parametrize(
    ("head", "arguments", "told"),
    [
        ("i, points=1000, rng=None", {"point": 3}, "its arguments: points=1000"),
        ("i", {"point": 3}, "it has no arguments to give"),
        ("", {}, "the run itself gives the first, its index or its rows"),
        ("*, x", {}, "the run itself gives the first, its index or its rows; its arguments: x"),
        ("i", {"i": 3}, "the run itself gives the first, its index or its rows"),
        (
            "i, **k",
            {"i": 3},
            "the run itself gives the first, its index or its rows; its arguments: any",
        ),
        ("i, x, **k", {}, "its arguments: x, any other"),
    ],
)
def test_what_would_be_right_stands_beside_it(
    head: str, arguments: dict[str, Any], told: str
) -> None:
    said = check(f"def f({head}):\n    return 0\n", 1, **arguments)
    assert said is not None
    assert said.endswith(f" ({told})")


def test_the_generator_need_not_be_given() -> None:
    assert check("def f(i, rng):\n    return 0\n", 1) is None


@pytest.mark.parametrize(
    "source",
    [
        "import functools\n@functools.cache\ndef f(x):\n    return 0\n",
        "def f(x):\n    return 0\nf = print\n",
        "def f(x):\n    return 0\ndef f(*a, **k):\n    return 0\n",
        "def f(x):\n    return 0\nif True:\n    def f(**k):\n        return 0\n",
        "def f(x):\n    return 0\nfor f in [print]:\n    pass\n",
        "def f(x):\n    return 0\nglobals()['f'] = print\n",
        "def g():\n    global f\n    f = print\ndef f(x):\n    return 0\n",
        "from os import *\ndef f(x):\n    return 0\n",
    ],
)
def test_nothing_is_said_where_the_name_may_mean_something_else(source: str) -> None:
    assert signature_of(source, "f") is None
    assert check(source, 0, anything=1) is None


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        ("int", [1, 1.0, True], ["1", 1.5, None, [1]]),
        ("float", [1, 1.5], ["1.5", None]),
        ("str", ["x"], [1, None]),
        ("bool", [True], [1, "true"]),
        ("int | None", [1, None], ["x"]),
        ("Optional[str]", ["x", None], [1]),
        ("list[int]", [[], [1, 2]], [["x"], 1, {}]),
        ("dict[str, int]", [{}, {"a": "b"}], [[]]),
        ("Literal['a', 'b']", ["a"], ["c"]),
        ("'int'", [1], ["x"]),
        ("np.ndarray", [[1], "x", None], []),
        ("typing.List[float]", [[1.5]], [[None]]),
    ],
)
def test_types_are_compared_where_that_is_asked_for(
    annotation: str, right: list[object], wrong: list[object]
) -> None:
    source = f"def f(x: {annotation}):\n    return 0\n"
    for value in right:
        assert check(source, types=True, x=value) is None
    for value in wrong:
        said = check(source, types=True, x=value)
        assert said is not None
        assert "argument 'x' should be " in said
        assert check(source, types=False, x=value) is None


def test_a_default_of_none_may_be_given() -> None:
    assert check("def f(x: int = None):\n    return 0\n", types=True, x=None) is None


def test_an_annotation_becomes_a_schema() -> None:
    assert schema_of(None) == {}
    found = signature_of('def f(x: list[int] | None = None):\n    """Say."""\n', "f")
    assert found is not None
    assert found.doc == "Say."
    (parameter,) = found.parameters
    assert parameter.schema == {
        "anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]
    }
    assert (parameter.default, parameter.written) == ((None,), "None")
