from __future__ import annotations

import pytest

from fanfold_server.store.job_rows import SPEC_COLUMNS, clean, pattern_of, place_of
from fanfold_server.store.schema import job


def test_every_member_of_a_spec_has_a_column() -> None:
    """A member that is added without one would be lost with the process."""
    assert set(SPEC_COLUMNS) <= set(job.c.keys())


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("no 12 of -3.50", "no # of -#"),
        ("object at 0x7f2A", "object at #"),
        ("x1y", "x#y"),
        ("", ""),
    ],
)
def test_a_pattern_is_a_message_without_its_numbers(message: str, pattern: str) -> None:
    assert pattern_of(message) == pattern


def test_a_place_is_the_innermost_frame() -> None:
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "f", line 7, in f\n    g()\n'
        '  File "f", line 3, in g\n    1/0\n'
        "ZeroDivisionError: division by zero"
    )
    assert place_of(traceback) == "line 3, in g"
    assert place_of('  File "f", line 2\n    def\nSyntaxError') == "line 2"
    assert place_of("") == ""


def test_what_no_database_takes_is_replaced() -> None:
    assert clean("a\0b\ud800é") == "a\ufffdb?é"
