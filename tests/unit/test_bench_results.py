from pathlib import Path

import pytest

from bench.report import BEGIN, END, number, write_between_markers
from bench.results import Measured, Results
from bench.targets import TARGETS, Target, judge
from bench.workloads import FANS, WORKLOADS


def results(metric: str, **rounds: list[float]) -> Results:
    """Numbers of one metric of W1, by peer and round."""
    kept = Results()
    for peer, values in rounds.items():
        for at, value in enumerate(values):
            name = peer.replace("_", "-")
            kept.add(Measured(round=at, workload="W1", metric=metric, peer=name, value=value))
    return kept


def target(metric: str, bound: float) -> Target:
    return Target(workload="W1", metric=metric, other="tabpy", bound=bound)


def test_a_ratio_is_taken_within_a_round() -> None:
    """A round that the machine slowed down slows both sides down, and changes nothing."""
    kept = results("c1_p50_ms", ours=[1.0, 10.0, 1.0], tabpy=[2.0, 20.0, 2.0])
    assert kept.ratios("W1", "c1_p50_ms", "ours", "tabpy") == [0.5, 0.5, 0.5]


def test_a_round_that_only_one_side_has_is_no_ratio() -> None:
    kept = results("c1_p50_ms", ours=[1.0, 1.0], tabpy=[2.0])
    assert kept.ratios("W1", "c1_p50_ms", "ours", "tabpy") == [0.5]


@pytest.mark.parametrize(
    ("metric", "bound", "word"),
    [
        ("c1_p50_ms", 0.5, "met"),
        ("c1_p50_ms", 0.49, "**missed**"),
        ("c16_rps", 0.5, "met"),
        ("c16_rps", 0.51, "**missed**"),
    ],
)
def test_a_target_is_a_ceiling_for_times_and_a_floor_for_rates(
    metric: str, bound: float, word: str
) -> None:
    kept = results(metric, ours=[1.0], tabpy=[2.0])
    (verdict,) = judge(kept, [target(metric, bound)])
    assert (verdict.ratio, verdict.word) == (0.5, word)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    (verdict,) = judge(results("c1_p50_ms", ours=[1.0]), [target("c1_p50_ms", 1.0)])
    assert (verdict.ratio, verdict.word) == (None, "not measured")


def test_every_target_is_about_something_that_is_measured() -> None:
    metrics = {(name, fan.metric) for name, fans in FANS.items() for fan in fans}
    metrics |= {("W1", name) for name in ("c1_p50_ms", "c16_rps", "c16_p99_ms")}
    metrics |= {("W6", "by_k_ms"), ("W6", "by_10000_ms"), ("W9", "ms")}
    metrics |= {("W7", "jobs_rps"), ("W7", "submit_p50_ms")}
    metrics |= {("W8", f"{which}_first_ms") for which in ("default", "cold", "preloaded")}
    asked = {(t.workload, t.metric) for t in TARGETS}
    asked |= {(t.workload, t.other_metric) for t in TARGETS if t.other_metric}
    assert asked <= metrics
    assert {workload for workload, _ in asked} == set(WORKLOADS) - {"W7m"}  # that one has no peer


def test_the_best_has_the_least_time_or_the_highest_rate() -> None:
    times = results("c1_p50_ms", tabpy=[2.0], mp_pool=[1.0])
    rates = results("c16_rps", tabpy=[2.0], mp_pool=[1.0])
    names = ["tabpy", "mp-pool", "dask"]
    assert times.best("W1", "c1_p50_ms", names) == "mp-pool"
    assert rates.best("W1", "c16_rps", names) == "tabpy"
    assert rates.best("W1", "c16_rps", ["dask"]) is None


def test_numbers_survive_their_file(tmp_path: Path) -> None:
    """The rounds of a second file follow those of the first: none takes another's place."""
    file = tmp_path / "results.jsonl"
    written = Results(path=file)
    for at in (0, 1):
        written.add(Measured(round=at, workload="W1", metric="c16_rps", peer="ours", value=at + 1))
    assert Results.read(file).numbers == written.numbers
    twice = Results.read(file, file).numbers["W1", "c16_rps"]["ours"]
    assert twice == {0: 1.0, 1: 2.0, 2: 1.0, 3: 2.0}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.03444, "0.0344"), (2.5, "2.5"), (99.44, "99.4"), (12345.6, "12346"), (None, "")],
)
def test_numbers_have_three_digits_that_count(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_report_replaces_the_last_one(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\nafter\n")
    for _ in range(2):
        write_between_markers(readme, "new\n")
    assert readme.read_text() == f"before\n\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_a_file_without_markers_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("text\n")
    with pytest.raises(ValueError, match="lacks the line"):
        write_between_markers(readme, "new\n")
    assert readme.read_text() == "text\n"
