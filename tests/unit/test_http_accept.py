"""Which form an answer has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.http.accept import chosen
from fanfold_server.model.errors import NotAcceptable

OFFERED = ("application/x-ndjson", "application/json", "text/csv")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, 0),
        ("", 0),
        (" ", 0),
        ("*/*", 0),
        ("application/*", 0),
        ("APPLICATION/JSON", 1),
        ("text/csv", 2),
        ("text/*", 2),
        ("application/json, text/csv", 1),
        ("text/csv;q=0.9, application/json;q=0.8", 2),
        ("application/x-ndjson;q=0, */*", 1),
        ("application/json;q=nonsense, */*;q=0.1", 0),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 0),
        ("text/csv; header=present; q=1, */*;q=0.5", 2),
    ],
)
def test_the_heaviest_wins_and_among_equals_the_first_offered(
    accept: str | None, form: int
) -> None:
    assert chosen(accept, OFFERED) == OFFERED[form]


@pytest.mark.parametrize("accept", ["image/png", "text/html", "*/*;q=0", "text/csv;q=0", "json"])
def test_what_nobody_offers_is_refused_with_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/csv"):
        chosen(accept, OFFERED)


@given(st.text())
def test_any_header_is_answered_or_refused(accept: str) -> None:
    try:
        assert chosen(accept, OFFERED) in OFFERED
    except NotAcceptable:
        assert accept.strip()
