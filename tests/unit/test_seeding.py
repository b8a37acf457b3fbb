"""What the legacy generators are seeded with differs from call to call."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fanfold_runtime.seeding import Seeder, permuted

_u32 = st.integers(0, 2**32 - 1)


@given(a=_u32, b=_u32)
def test_different_indexes_never_share_a_state(a: int, b: int) -> None:
    """A 32-bit hash would: the birthday problem strikes from about 65,000 calls on."""
    assert (permuted(a) == permuted(b)) is (a == b)


def test_the_first_indexes_are_permuted_not_hashed() -> None:
    assert len({permuted(i) for i in range(300_000)}) == 300_000


@given(seed=st.integers(0, 2**64 - 1), index=st.integers(0, 2**31 - 1))
def test_random_is_set_to_the_same_state_for_the_same_seed_and_index(seed: int, index: int) -> None:
    seeder = Seeder(seed)
    seeder.reseed(index)
    first = random.random()
    random.random()
    Seeder(seed).reseed(index)
    assert random.random() == first
