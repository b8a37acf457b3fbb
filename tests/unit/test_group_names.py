"""Groups have the same names with a server and without one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fanfold_runtime import datafile
from fanfold_server.rows import cutting

KEYS = st.lists(st.sampled_from(["a", "a (2)", "a (2) (2)", "a (3)", "b", "null", ""]), max_size=12)


@given(keys=KEYS)
def test_keys_that_read_alike_are_told_apart_alike(keys: list[str]) -> None:
    """The rule stands twice, as server and runtime import nothing of one another."""
    named = cutting._unique(keys)
    assert named == datafile._unique(keys)
    assert len(set(named)) == len(keys)


@given(keys=KEYS)
def test_a_key_that_is_alone_keeps_its_name(keys: list[str]) -> None:
    named = cutting._unique(keys)
    assert [
        new for old, new in zip(keys, named, strict=True) if keys.count(old) == 1 and new != old
    ] == []
