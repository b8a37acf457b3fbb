"""What is drawn ahead is given once, and is what was asked for."""

from __future__ import annotations

import uuid

from fanfold_server.service.drawing import Stock

DRAWS = 2000
BITS = 53


def test_no_id_is_given_twice_and_each_is_a_random_uuid() -> None:
    """Also across the end of what was drawn at once."""
    stock = Stock()
    ids = [stock.uuid() for _ in range(DRAWS)]
    assert len(set(ids)) == DRAWS
    assert {uuid.UUID(text).version for text in ids} == {4}
    assert all(str(uuid.UUID(text)) == text for text in ids)


def test_every_bit_of_a_number_may_be_set_and_none_beyond() -> None:
    stock = Stock()
    seen = 0
    for _ in range(DRAWS):
        number = stock.bits(BITS)
        assert 0 <= number < 1 << BITS
        seen |= number
    assert seen == (1 << BITS) - 1


def test_bytes_are_given_once_whatever_the_sizes() -> None:
    """Eight random bytes are never met twice; what is given twice is."""
    stock = Stock()
    taken = [stock.take(size) for _ in range(DRAWS) for size in (8, 16)]
    starts = [part[:8] for part in taken] + [part[8:] for part in taken if len(part) > 8]
    assert len(set(starts)) == len(starts)
