"""Arrays and tables as JSON, in the environment that has them."""

from __future__ import annotations

import json

import pytest

from fanfold_server.model.outcome import FailureKind
from tests.runtime.bench import Engine

PROLOGUE = """
import enum
from decimal import Decimal
from fractions import Fraction
import numpy as np
import pandas as pd
"""

EXAMPLES = {
    "np.float64(1.5)": "1.5",
    "np.float32(0.5)": "0.5",
    "np.int8(-3)": "-3",
    "np.bool_(True)": "true",
    "np.str_('x')": '"x"',
    "np.bytes_(b'x')": '"eA=="',
    "np.array(2.0)": "2",
    "np.arange(4).reshape(2, 2)": "[[0,1],[2,3]]",
    "np.array([1.5, np.nan, np.inf])": "[1.5,null,null]",
    "np.array(['a', None, 1], dtype=object)": '["a",null,1]',
    "np.ma.masked_array([1, 2], [False, True])": "[1,null]",
    "np.longdouble(1.5)": "1.5",
    "np.longdouble(2) ** 1100 == 2**1100 and np.longdouble(2) ** 1100": str(2**1100),
    "[np.longdouble('nan'), -np.longdouble('inf')]": "[null,null]",
    "np.array([1.5, np.longdouble(2) ** 1100], dtype=np.longdouble)": f"[1.5,{2**1100}]",
    "pd.DataFrame({'a': np.array([1 / 3, 2.0], dtype=np.longdouble)})": '[{"a":0.3333333333},'
    '{"a":2}]',
    "pd.Series(np.array([np.longdouble(2) ** 1100]))": f"[{2**1100}]",
    "pd.DataFrame({'a': [Decimal(10) ** 400, Decimal('0.1')]})": f'[{{"a":{10**400}}},{{"a":0.1}}]',
    "np.datetime64('2026-01-02')": '"2026-01-02"',
    "np.array(['2026-01-02', 'NaT'], dtype='M8[D]')": '["2026-01-02",null]',
    "np.timedelta64(90, 's')": "90",
    "np.array([(1, 2.5)], dtype=[('a', int), ('b', float)])": '[{"a":1,"b":2.5}]',
    "np.rec.array([(1, 2.5)], dtype=[('a', int), ('b', float)])[0]": '{"a":1,"b":2.5}',
    "type('Mine', (np.ndarray,), {})((2,), int, np.array([1, 2]))": "[1,2]",
    "{'a': np.arange(2), 'b': (np.float64(0.5),)}": '{"a":[0,1],"b":[0.5]}',
    "{np.int64(1): 2}": '{"1":2}',
    "pd.Series([1, 2], index=['a', 'b'])": "[1,2]",
    "pd.Index(['a', 'b'])": '["a","b"]',
    "pd.Timestamp('2026-01-02 03:04')": '"2026-01-02T03:04:00"',
    "pd.Timestamp('2026-01-02', tz='UTC')": '"2026-01-02T00:00:00+00:00"',
    "pd.Timedelta('90s')": "90",
    "pd.Period('2026-01')": '"2026-01"',
    "[pd.NaT, pd.NA, None]": "[null,null,null]",
    "pd.array([1, None], dtype='Int64')": "[1,null]",
    "pd.Categorical(['a', None])": '["a",null]',
    "pd.DataFrame({'a': [1, 2], 'b': ['x', None]})": '[{"a":1,"b":"x"},{"a":2,"b":null}]',
    "pd.DataFrame({'a': [1.0, 2.5]}, index=['r', 's'])": '[{"a":1},{"a":2.5}]',
    "pd.DataFrame({'z': [1], 'a': [2]})": '[{"z":1,"a":2}]',
    "pd.DataFrame({1: [1], None: [2]})": '[{"1":1,"null":2}]',
    "pd.DataFrame({('a', 'x'): [1], ('a', 'y'): [2]})": '[{"a_x":1,"a_y":2}]',
    "pd.DataFrame({'t': pd.to_datetime(['2026-01-02', None])})": '[{"t":"2026-01-02T00:00:00"},'
    '{"t":null}]',
    "pd.DataFrame({'c': pd.Categorical(['u', 'v'])})": '[{"c":"u"},{"c":"v"}]',
    "pd.DataFrame({'b': [True, False]})": '[{"b":true},{"b":false}]',
    "pd.DataFrame({'n': pd.array([1, None], dtype='Int64')})": '[{"n":1},{"n":null}]',
    "pd.DataFrame({'o': [[1, 2], {'k': 1.5}]})": '[{"o":[1,2]},{"o":{"k":1.5}}]',
    "pd.DataFrame(index=[1, 2])": "[{},{}]",
    "pd.DataFrame({'a': []})": "[]",
    "pd.DataFrame({'a': [1 / 15, 1e-12, 4.79684669349]})": '[{"a":0.0666666667},{"a":0},'
    '{"a":4.7968466935}]',
    "pd.DataFrame({'a': [123456789.12345679]})": '[{"a":123456789.12345679}]',
    "pd.DataFrame({'a': [np.inf, -np.inf, np.nan, -0.0, 1e16, -3.0]})": '[{"a":null},{"a":null},'
    '{"a":null},{"a":0},{"a":1e+16},{"a":-3}]',
    "{'inside': pd.DataFrame({'a': [1 / 3]})}": '{"inside":[{"a":0.3333333333}]}',
    "[1 / 3]": "[0.3333333333333333]",
    "type('Mine', (pd.DataFrame,), {})({'a': [1]})": '[{"a":1}]',
}


@pytest.mark.parametrize("value", EXAMPLES)
def test_a_value_of_a_library_is_plain_json(engine: Engine, value: str) -> None:
    record = engine.run(PROLOGUE + f"def f(i): return {value}")
    assert not record.failures, record.failures
    assert record.texts[1].decode() == EXAMPLES[value]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("np.array([1j])", "real and the imaginary part"),
        ("np.complex128(1j)", "real and the imaginary part"),
        ("1j", "real and the imaginary part"),
        ("Fraction(10**400, 3)", "float(...) of it"),
        ("Decimal('1E+5000')", "a Decimal of 5001 digits"),
        ("pd.DataFrame([[1, 2]], columns=['a', 'a'])", "two columns named 'a'"),
        ("pd.DataFrame({'a': [{1}]})", "result.'a'..0. an object of type set"),
        ("pd.DataFrame({'a': [1]}).groupby('a')", "DataFrameGroupBy"),
        ("np.random.default_rng()", "Generator"),
    ],
)
def test_what_has_no_json_form_is_told(engine: Engine, value: str, message: str) -> None:
    failure = engine.run(PROLOGUE + f"def f(i): return {value}").failure
    assert failure.kind is FailureKind.NOT_JSON
    assert message in failure.message.replace("[", ".").replace("]", ".") or (
        message in failure.message
    )


def test_floats_of_a_frame_are_rounded_as_python_rounds(engine: Engine) -> None:
    """Of any size: numpy's own rounding overflows, or loses digits, where numbers are large."""
    source = (
        PROLOGUE
        + """
import random
from fanfold_runtime.plain import to_plain
def f(i):
    numbers = [random.uniform(-1, 1) * 10 ** random.uniform(-15, 20) for _ in range(2_000)]
    numbers += [524288 + k / 1e10 for k in range(100)] + [1e16, 1e300, 0.1, 0.5 / 1e10, -0.0]
    rounded = [row["a"] for row in to_plain(pd.DataFrame({"a": numbers}), True)]
    return [(x, r) for x, r in zip(numbers, rounded) if r != round(x, 10)]
"""
    )
    assert engine.run(source, count=4).returned == {i: [] for i in (1, 2, 3, 4)}


def test_floats_of_a_series_are_those_of_a_list(engine: Engine) -> None:
    """The one is written by NumPy's rules for all at once, the other by Python's for each."""
    record = engine.run(
        PROLOGUE + "def f(i):\n"
        "    rng = np.random.default_rng(i)\n"
        "    bits = rng.integers(0, 2**64, 3000, dtype=np.uint64).view(float)\n"
        "    whole = np.rint(rng.normal(size=1000) * 10.0 ** rng.integers(0, 19, 1000))\n"
        "    edges = [np.nan, np.inf, -np.inf, -0.0, 1e16, -1e16, 1e16 - 2, 5e-324]\n"
        "    values = np.concatenate([bits, whole, edges])\n"
        "    return [pd.Series(values), values.tolist()]\n"
    )
    assert not record.failures, record.failures
    series, listed = json.loads(record.texts[1], parse_float=str, parse_int=str)
    assert len(series) == 4008
    assert series == listed


def test_a_frame_of_many_columns_has_them_all(engine: Engine) -> None:
    for columns in (256, 257):
        record = engine.run(
            PROLOGUE + "def f(i):\n"
            f"    return pd.DataFrame([range({columns})] * 2, columns=range({columns}))\n"
        )
        wanted = {str(i): i for i in range(columns)}
        assert json.loads(record.texts[1]) == [wanted, wanted]


def test_the_limit_of_length_counts_rows(engine: Engine) -> None:
    source = PROLOGUE + "def f(i): return pd.DataFrame({'a': range(i), 'b': 1})"
    assert len(engine.run(source, start=5_000).value) == 5_000
    assert engine.run(source, start=5_001).failure.kind is FailureKind.TOO_LONG


LARGE = """
def f(index):
    n = 5_000
    rng = np.random.default_rng(1)
    columns = {
        "f": rng.random(n) * 10.0 ** rng.integers(-12, 9, n),
        "w": rng.integers(-5, 5, n) * 0.5,
        "i": np.arange(n),
        "b": rng.random(n) < 0.5,
        "t": pd.date_range("2026-01-02", periods=n, freq="s"),
        "s": ['"a",%d\u00e9\\n' % k if k % 3 else None for k in range(n)],
        "o": [[k, 0.5, None] if k % 2 else k * 0.25 for k in range(n)],
    }
    for name, values in (("f", [np.nan, np.inf, -0.0, 1e300, 1e16, -7.0]),):
        columns[name][: len(values)] = values
    df = pd.DataFrame(columns)
    LAST
    return df if index == 1 else [df]
"""


@pytest.mark.parametrize("last", ["", "df.loc[4_999, 'o'] = 10**30", "df = df[:0]"])
def test_a_large_frame_has_the_text_that_it_has_inside_of_something(
    engine: Engine, last: str
) -> None:
    """It is written in stretches and comes in parts; what those cannot hold is written at once."""
    texts = engine.run(PROLOGUE + LARGE.replace("LAST", last), count=2).texts
    assert texts[2] == b"[" + texts[1] + b"]"
    assert len(json.loads(texts[1])) in {0, 5_000}


@pytest.mark.parametrize("is_told", [False, True])
def test_a_large_frame_comes_also_with_what_was_printed(engine: Engine, *, is_told: bool) -> None:
    source = PROLOGUE + LARGE.replace("LAST", "print('so')" if is_told else "")
    record = engine.run(source, count=2, keep_logs=True)
    assert record.texts[2] == b"[" + record.texts[1] + b"]"
    assert record.logs == ({1: "so\n", 2: "so\n"} if is_told else {})


def test_a_large_frame_that_fails_at_its_end_leaves_nothing(engine: Engine) -> None:
    last = "df['o'] = pd.Series(['x'] * (n - 1) + ['\\ud800' if index == 2 else 'x'], dtype=object)"
    source = PROLOGUE + LARGE.replace("LAST", last).replace("if index == 1 ", "if index ")
    record = engine.run(source, count=3)
    assert record.failure.kind is FailureKind.NOT_JSON
    assert {index: len(rows) for index, rows in record.returned.items()} == {1: 5_000, 3: 5_000}


def test_a_large_frame_over_the_limit_is_told_with_its_size(engine: Engine) -> None:
    source = PROLOGUE + "def f(i): return pd.DataFrame({'a': ['x' * 14_000] * 5_000})"
    failure = engine.run(source).failure
    assert failure.kind is FailureKind.TOO_LARGE
    assert f"{5_000 * 14_009 + 1} bytes" in failure.message
