"""How many calls an agent takes at once."""

from __future__ import annotations

import struct
from dataclasses import replace

from fanfold_server.service.joining import REMEMBERED, TARGET_US, Costs
from fanfold_server.service.planning import MAX_BATCH
from tests.contract.jobs import SPEC


def _elapsed(*us: int) -> bytes:
    return struct.pack(f"<{len(us)}I", *us)


def test_unknown_calls_run_batch_by_batch() -> None:
    assert Costs().calls_at_once(SPEC) == 1


def test_a_work_takes_about_as_long_as_it_may() -> None:
    costs = Costs()
    costs.note(SPEC, _elapsed(900, 1098))
    assert costs.calls_at_once(SPEC) == TARGET_US // 1000
    costs.note(SPEC, _elapsed(10 * TARGET_US))
    assert costs.calls_at_once(SPEC) == 1, "what has become slow is believed at once"


def test_trivial_calls_are_no_more_than_a_process_holds() -> None:
    costs = Costs()
    costs.note(SPEC, _elapsed(0, 0, 0))
    assert costs.calls_at_once(SPEC) == MAX_BATCH
    assert costs.calls_at_once(replace(SPEC, graphics=True)) == 1, "figures are large"
    assert costs.calls_at_once(replace(SPEC, environment="other")) == 1


def test_what_was_not_seen_for_long_is_forgotten() -> None:
    costs = Costs()
    for n in range(REMEMBERED + 1):
        costs.note(replace(SPEC, digest=str(n)), _elapsed(1))
    assert costs.calls_at_once(replace(SPEC, digest="0")) == 1
    assert costs.calls_at_once(replace(SPEC, digest="1")) > 1
