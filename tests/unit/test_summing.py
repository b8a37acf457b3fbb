"""Mean, variance, interval and quantiles, from one look at each number."""

from __future__ import annotations

import random
import statistics
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.service.summing import ACCURACY, Summary, number_in, value_of

NUMBERS = st.lists(st.floats(-1e9, 1e9, allow_subnormal=False), min_size=2, max_size=200)


def _summary(numbers: list[float]) -> Summary:
    summary = Summary()
    for number in numbers:
        summary.add(number)
    return summary


@given(NUMBERS)
def test_moments_are_those_of_the_textbook(numbers: list[float]) -> None:
    summary = _summary(numbers)
    scale = max(map(abs, numbers)) or 1
    assert summary.mean == pytest.approx(statistics.fmean(numbers), abs=1e-9 * scale)
    assert summary.variance == pytest.approx(
        statistics.variance(numbers), rel=1e-6, abs=1e-9 * scale**2
    )
    assert (summary.low, summary.high) == (min(numbers), max(numbers))


def test_digits_are_not_lost_to_a_large_mean() -> None:
    assert _summary([1e9 + x for x in (4, 7, 13, 16)]).variance == 30


@given(NUMBERS, st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0]))
def test_a_quantile_is_right_to_its_accuracy(numbers: list[float], share: float) -> None:
    found = _summary(numbers).quantile(share)
    exact = sorted(numbers)[int(share * (len(numbers) - 1))]
    assert found == pytest.approx(exact, rel=ACCURACY * 1.01)


def test_memory_does_not_grow_with_the_numbers() -> None:
    summary = Summary()
    drawn = random.Random(1)
    for _ in range(100_000):
        summary.add(drawn.gauss(0, 1) * 10 ** drawn.uniform(-6, 6))
    bins = len(summary._positive) + len(summary._negative)
    assert bins < 10_000
    assert summary.quantile(0.5) == pytest.approx(0, abs=0.1)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    drawn = random.Random(2)
    held = 0
    for _ in range(1000):
        interval = _summary([drawn.gauss(3, 2) for _ in range(100)]).interval()
        assert interval is not None
        held += interval[0] <= 3 <= interval[1]
    assert 925 <= held <= 975


def test_of_nothing_and_of_one_number_little_is_said() -> None:
    nothing = Summary()
    assert (nothing.variance, nothing.interval(), nothing.quantile(0.5)) == (None, None, None)
    one = _summary([5.0])
    assert (one.mean, one.variance, one.interval(), one.quantile(0.5)) == (5, None, None, 5)


@pytest.mark.parametrize(
    ("value", "member", "number"),
    [
        (3, None, 3.0),
        (2.5, None, 2.5),
        (True, None, None),
        ("3", None, None),
        (None, None, None),
        (10**400, None, None),
        (inf, None, None),
        (nan, None, None),
        ({"x": 1}, None, None),
        ({"x": 1}, "x", 1.0),
        ({"x": "1"}, "x", None),
        ({"x": 1}, "y", None),
        (3, "x", None),
        ([1], "x", None),
    ],
)
def test_what_is_a_number(value: object, member: str | None, number: float | None) -> None:
    assert number_in(value, member) == number


def test_a_number_that_no_double_holds_is_none() -> None:
    """JSON knows no limit, and a function may return 10**400, or more digits than Python reads."""
    for text in (b"1" + b"0" * 400, b"9" * 5000, b'{"x":1e999}'):
        assert number_in(value_of(text), "x" if text.startswith(b"{") else None) is None
    assert number_in(value_of(b'{"x":2,"y":1e999}'), "x") == 2
