"""Values as JSON: whatever the shortcut and the library, the bytes are the reference's."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import re
import string
import types
import uuid
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanfold_runtime.jsontext import make_encoder
from fanfold_runtime.plain import MAX_DEPTH, NotJson, to_plain
from fanfold_runtime.values import Encoder, TooLong


class Colour(enum.Enum):
    RED = "red"
    TWO = 2
    BOTH = ("red", 2.0)


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    """A str with a mind of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "lie"


floats = st.floats() | st.sampled_from([0.0, -0.0, 6.0, 1e15, 1e16, -1e16, 1e300, 5e-324, 1e-5])
numbers = st.none() | st.booleans() | st.integers() | floats | st.integers(-(10**40), 10**40)
scalars = (
    numbers
    | st.text()
    | st.binary()
    | st.sampled_from([*Colour, *Level, Text("truth")])
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
keys = st.text() | st.integers() | floats | st.booleans() | st.none() | st.uuids()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)
encoders = st.builds(
    Encoder,
    st.booleans(),
    st.booleans(),
    st.just(0),
    st.sampled_from([None, orjson]),
)


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*')


def reference(encoder: Encoder, values: list[Any]) -> bytes:
    plain = [to_plain(v, encoder.keep_point_zero, encoder.round_frames) for v in values]
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def spelled_alike(text: bytes) -> str:
    """Write floats in one way: libraries spell exponents differently."""

    def alike(found: re.Match[str]) -> str:
        token = found[0]
        return token if token[0] == '"' or token.lstrip("-").isdigit() else repr(float(token))

    return _TOKEN.sub(alike, text.decode())


@given(encoder=encoders, values=st.lists(values, max_size=8))
def test_many_values_are_the_references_bytes(encoder: Encoder, values: list[Any]) -> None:
    try:
        wanted = reference(encoder, values)
    except NotJson:
        with pytest.raises(NotJson):
            encoder.many(values)
        return
    text = encoder.many(values)
    assert repr(json.loads(text)) == repr(json.loads(wanted))
    assert spelled_alike(text) == spelled_alike(wanted)


@given(encoder=encoders, values=st.lists(numbers, max_size=30))
@example(encoder=Encoder(False, False, 0, orjson), values=[-0.0, 10.0, -10.0, 100.05, 0.0])
@example(encoder=Encoder(False, False, 0, orjson), values=[1 << 64, 1.0, float("nan")])
def test_many_numbers_are_the_references_bytes(encoder: Encoder, values: list[Any]) -> None:
    """Numbers take a shortcut of their own."""
    text, wanted = encoder.many(values), reference(encoder, values)
    assert repr(json.loads(text)) == repr(json.loads(wanted))
    assert spelled_alike(text) == spelled_alike(wanted)


@given(encoder=encoders, values=st.lists(values, max_size=5))
@example(encoder=Encoder(False, False, 0, orjson), values=[1 << 64, 1e-07])
@example(encoder=Encoder(False, False, 0, orjson), values=["text", 1 << 64, 1e-07])
def test_one_and_many_agree(encoder: Encoder, values: list[Any]) -> None:
    try:
        single = [encoder.one(v) for v in values]
    except NotJson:
        return
    assert encoder.many(values) == b"[" + b",".join(single) + b"]"


@given(value=floats)
def test_a_whole_float_loses_its_point_or_keeps_it_as_asked(value: float) -> None:
    """The compatible wire writes 6, our own writes 6.0; no other number changes."""
    for library in (None, orjson):
        short, exact = (Encoder(keep, False, 0, library).one(value) for keep in (False, True))
        if not math.isfinite(value):
            assert short == exact == b"null"
        else:
            assert float(short) == float(exact) == value
            assert not short.endswith(b".0")
            assert short.lstrip(b"-").isdigit() or not value.is_integer() or abs(value) >= 1e16
            assert b"." in exact or b"e" in exact


@given(encoder=encoders, value=st.decimals() | st.integers().map(decimal.Decimal))
def test_a_decimal_is_the_same_number_or_the_nearest(
    encoder: Encoder, value: decimal.Decimal
) -> None:
    """Whole numbers keep all digits, as ints do; of fractions, JSON's readers make floats."""
    if value.is_snan():
        return
    text = encoder.one(value)
    if not value.is_finite():
        assert text == b"null"
    elif value == value.to_integral_value():
        assert decimal.Decimal(text.decode()) == value
    else:
        assert float(text) == float(value)


@pytest.mark.parametrize("library", [None, orjson])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (Level.LOW, "1"),
        (Colour.BOTH, '["red",2]'),
        ((1, [2, ()]), "[1,[2,[]]]"),
        ({"a": {1: None, 2.5: True, None: 0}}, '{"a":{"1":null,"2.5":true,"null":0}}'),
        (b"\x00\xff", '"AP8="'),
        (memoryview(b"x"), '"eA=="'),
        (datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), '"2026-01-02T03:00:00+00:00"'),
        (datetime.timedelta(seconds=90), "90"),
        (decimal.Decimal("1.50"), "1.5"),
        (decimal.Decimal("0.1"), "0.1"),
        (decimal.Decimal(1) / 3, "0.3333333333333333"),
        (decimal.Decimal("NaN"), "null"),
        (decimal.Decimal("-Infinity"), "null"),
        (decimal.Decimal("1E-400"), "0"),
        (decimal.Decimal(-12345678901234567890), "-12345678901234567890"),
        (decimal.Decimal("1E+400"), "1" + "0" * 400),
        ([decimal.Decimal("1E+400")], "[1" + "0" * 400 + "]"),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Text("truth"), '"truth"'),
        ("é\u2028\x7f\x1f", '"é\u2028\x7f\\u001f"'),
    ],
)
def test_examples(library: Any, value: object, text: str) -> None:
    assert Encoder(False, True, 0, library).one(value) == text.encode()


class Liar:
    """An object whose every answer is something else."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    @property
    def __class__(self) -> Any:
        return self._kind

    @__class__.setter
    def __class__(self, kind: Any) -> None:
        raise AttributeError

    def __len__(self) -> int:
        raise ValueError

    def __iter__(self) -> Any:
        raise RuntimeError

    def __repr__(self) -> str:
        raise KeyError


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


odd = (
    st.sampled_from(
        [
            object(),
            len,
            1j,
            range(3),
            iter(()),
            {1},
            frozenset(),
            Ellipsis,
            decimal.Decimal("sNaN"),
            decimal.Decimal("1E+5000"),
            decimal.Decimal("1E+999999999999"),
            decimal.Decimal("1" * 400 + ".5"),
            fractions.Fraction(10**400, 3),
            10**5000,
            {(1, 2): 3},
            {1: "a", "1": "b"},
            {True: "a", "true": "b"},
            nested(MAX_DEPTH + 2),
            Liar,
        ]
    )
    | st.builds(Liar, st.sampled_from([int, str, list, dict, enum.Enum, bytes, type(None)]))
    | st.text(st.characters(categories=["Cs"]), min_size=1)
)


@given(encoder=encoders, value=odd, inside=st.integers(0, 3))
def test_what_has_no_json_form_is_refused_and_nothing_else_comes(
    encoder: Encoder, value: object, inside: int
) -> None:
    for wrap in ((lambda v: [1.5, v]), (lambda v: {"a": v}), (lambda v: (v, "x")))[:inside]:
        value = wrap(value)
    with pytest.raises(NotJson) as refused:
        encoder.one(value)
    assert str(refused.value)
    with pytest.raises(NotJson):
        encoder.many([1, value])


@given(value=odd)
def test_a_refusal_is_valid_unicode_of_bounded_length(value: object) -> None:
    """It is sent to the caller."""
    for held in (value, {"k" * 10_000: value}):
        with pytest.raises(NotJson) as refused:
            Encoder(False, False, 0, None).one(held)
        assert len(str(refused.value).encode()) < 1_500


def test_a_refusal_tells_the_place_and_the_cure() -> None:
    with pytest.raises(NotJson, match=r"result\['a'\]\[1\]\['b'\] an object of type set.*sorted"):
        to_plain({"a": [0, {"b": {1}}]})


@dataclasses.dataclass
class Point:
    x: int


class Estimator:
    """As scikit-learn's are."""

    def get_params(self) -> dict[str, int]:
        return {}

    def __call__(self) -> None:
        """A model can often be called, too."""


async def later() -> int:
    return 1


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        ({1}, "sorted(...)"),
        (1j, "the real and the imaginary part"),
        (range(3), "list(...)"),
        (iter([1]), "list(...)"),
        (collections.deque([1]), "list(...)"),
        ({}.keys(), "list(...)"),
        (types.MappingProxyType({}), "dict(...)"),
        (array.array("i"), ".tolist()"),
        (Path("x"), "str(...)"),
        (ValueError(), "raise it"),
        (Point(1), "dataclasses.asdict(...)"),
        (Point, "what it computes"),
        (len, "what it computes"),
        (Estimator(), "what is wanted of the model"),
        (object(), "return a bool, int, float"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_says_what_to_return_instead(value: object, cure: str) -> None:
    with pytest.raises(NotJson) as refused:
        to_plain(value)
    assert cure in str(refused.value).partition(";")[2]


def test_a_coroutine_that_is_returned_has_not_run() -> None:
    value = later()
    with pytest.raises(NotJson, match=r"asyncio\.run"):
        to_plain(value)
    value.close()


@pytest.mark.parametrize("library", [None, orjson])
def test_depth_has_a_limit_that_is_below_every_encoders(library: Any) -> None:
    encoder = Encoder(False, False, 0, library)
    assert encoder.one(nested(MAX_DEPTH)).count(b"[") == MAX_DEPTH + 1
    with pytest.raises(NotJson, match="nested deeper than 200 levels"):
        encoder.one(nested(MAX_DEPTH + 1))


@given(
    value=st.text(max_size=9) | st.lists(st.none(), max_size=9) | st.binary(max_size=9),
    limit=st.integers(1, 9),
)
def test_length_is_limited_for_the_value_itself_alone(value: Any, limit: int) -> None:
    encoder = Encoder(False, False, limit, None)
    encoder.one([value])
    if len(value) > limit:
        with pytest.raises(TooLong):
            encoder.one(value)
        with pytest.raises(TooLong):
            encoder.many([1, value])
    else:
        encoder.one(value)


@given(
    value=st.recursive(
        st.integers()
        | st.booleans()
        | st.none()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(string.printable),
        st.lists,
    )
)
def test_our_encoder_writes_what_json_writes(value: Any) -> None:
    for ascii_only in (False, True):
        wanted = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
        assert make_encoder(ascii_only)(value) == wanted
    with pytest.raises(ValueError, match="not JSON compliant"):
        make_encoder(True)([float("nan")])
