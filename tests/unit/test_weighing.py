"""Where a job that may end early ends, as a law of its values alone."""

from __future__ import annotations

import dataclasses
import statistics
from math import sqrt

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.model.apply import OnError
from fanfold_server.model.job import JobSpec
from fanfold_server.model.stopping import StopWhen
from fanfold_server.service.reading import Stretch
from fanfold_server.service.weighing import Verdict, Weighing
from tests.contract.jobs import SPEC

VALUES: st.SearchStrategy[object] = st.one_of(
    st.integers(-100, 100),
    st.floats(-1e6, 1e6),
    st.sampled_from([None, "text", True, {"x": 1}, [], 10**400]),
)


def _spec(stop: StopWhen, **changes: object) -> JobSpec:
    return dataclasses.replace(SPEC, stop_when=stop, times=1000, **changes)  # type: ignore[arg-type]


def _weighed(spec: JobSpec, values: list[object], sizes: list[int], failed: set[int]) -> Weighing:
    """Weigh values that come in stretches of such sizes."""
    weighing = Weighing(spec)
    start = 0
    kept: list[bytes] = []
    while start < len(values) and weighing.verdict is None:
        size = sizes.pop(0) if sizes else len(values)
        part = values[start : start + size]
        lines = b"".join(
            (b"1" + b"0" * 400 if v == 10**400 else orjson.dumps(v)) + b"\n" for v in part
        )
        stretch = Stretch(start=start + 1, count=len(part), ndjson=lines)
        counts = weighing.add(stretch, failed)
        kept += counts.ndjson.splitlines()
        assert counts.count == counts.ndjson.count(b"\n")
        start += size
    assert len(kept) == (weighing.verdict.at if weighing.verdict else len(values))
    return weighing


@given(
    values=st.lists(VALUES, max_size=60),
    sizes=st.lists(st.integers(1, 20), max_size=20),
    se=st.floats(1e-3, 1e3),
    least=st.integers(2, 10),
    failed=st.sets(st.integers(1, 60)),
    allowed=st.none() | st.integers(0, 5),
    on_error=st.sampled_from(OnError),
)
def test_the_end_depends_on_the_values_and_not_on_how_they_came(
    *, values: list[object], sizes: list[int], se: float, least: int, failed: set[int],
    allowed: int | None, on_error: OnError,
) -> None:  # fmt: skip
    values = [None if i in failed else value for i, value in enumerate(values, 1)]
    stop = StopWhen(se=se, min_calls=least)
    spec = _spec(stop, on_error=on_error, max_failures=allowed)
    whole = _weighed(spec, values, [], failed)
    assert _weighed(spec, values, sizes, failed).verdict == whole.verdict
    # And more values change nothing.
    if whole.verdict is not None:
        shorter = values[: whole.verdict.at]
        assert _weighed(spec, shorter, [], failed).verdict == whole.verdict


@given(
    values=st.lists(st.integers(-1000, 1000), min_size=2, max_size=80),
    se=st.integers(1, 300),
    least=st.integers(2, 20),
)
def test_the_end_is_the_first_index_at_which_the_mean_is_known_well_enough(
    values: list[int], se: int, least: int
) -> None:
    spec = _spec(StopWhen(se=float(se), min_calls=least))
    verdict = _weighed(spec, list(values), [], set()).verdict
    end = len(values) if verdict is None else verdict.at
    for count in range(least, end + 1):
        error = statistics.stdev(values[:count]) / sqrt(count)
        if verdict is not None and count == end:
            assert error <= se * (1 + 1e-9)
        else:
            assert error > se * (1 - 1e-9)


@pytest.mark.parametrize(
    ("stop", "values", "end"),
    [
        (StopWhen(se=1, min_calls=3), [5, 5, 5, 5], 3),
        (StopWhen(se=1, min_calls=3), [5, None, "x", True, 5, 5, 5], 6),
        (StopWhen(relative_se=0.5, min_calls=2), [10, 30, 20], 2),
        (StopWhen(relative_se=0.5, min_calls=2), [-10, -30], 2),
        (StopWhen(relative_se=0.5, min_calls=2), [-10, 10], None),
        (StopWhen(se=100, relative_se=0.1, min_calls=2), [10, 30, 20], None),
        (StopWhen(se=1, min_calls=2, member="x"), [{"x": 1}, {"y": 1}, {"x": 1.5}], 3),
        (StopWhen(se=1), [1] * 40, 30),
        (StopWhen(se=1), [], None),
    ],
)
def test_what_counts_is_numbers(stop: StopWhen, values: list[object], end: int | None) -> None:
    verdict = _weighed(_spec(stop), values, [], set()).verdict
    assert verdict == (None if end is None else Verdict(at=end, failed=False))


def test_a_failed_call_ends_it_only_if_it_comes_before_the_end() -> None:
    """Calls beyond the end may have been run, or not: that must not matter."""
    stop = StopWhen(se=1, min_calls=3)
    fails = _spec(stop, on_error=OnError.FAIL)
    assert _weighed(fails, [1, 1, 1, None], [], {4}).verdict == Verdict(at=3, failed=False)
    assert _weighed(fails, [1, 1, None, 1], [], {3}).verdict == Verdict(at=3, failed=True)
    some = _spec(stop, max_failures=1)
    assert _weighed(some, [1, None, 1, None, 1], [], {2, 4}).verdict == Verdict(at=4, failed=True)
    assert _weighed(some, [1, None, 1, 1, None], [], {2, 5}).verdict == Verdict(at=4, failed=False)
