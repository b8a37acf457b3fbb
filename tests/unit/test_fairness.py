from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.store.fairness import Line, share_out

# For each line: jobs with the number of batches of each that may be claimed.
queues = st.dictionaries(
    st.tuples(st.integers(0, 2), st.sampled_from("ABCD")),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    max_size=8,
)
held = st.dictionaries(st.sampled_from("ABCD"), st.integers(0, 5))


def lines_of(
    jobs: dict[tuple[int, str], list[int]],
) -> dict[Line, list[tuple[int, int]]]:
    """Number the jobs in the order in which they come."""
    lines: dict[Line, list[tuple[int, int]]] = {}
    number = 0
    for (rank, owner), counts in jobs.items():
        numbered = [(number + n, count) for n, count in enumerate(counts, 1)]
        number += len(counts)
        lines[Line(rank, owner, numbered[0][0])] = numbered
    return lines


@given(queues, held, st.integers(0, 12), st.integers(1, 6))
def test_nothing_is_left_that_could_be_claimed(
    jobs: dict[tuple[int, str], list[int]], live: dict[str, int], wanted: int, per_owner: int
) -> None:
    lines = lines_of(jobs)
    picked = share_out(
        lines, live=live, wanted=wanted, per_owner=per_owner,
        candidates=lambda line, most: lines[line][:most],
    )  # fmt: skip
    there = {job: count for found in lines.values() for job, count in found}
    assert all(0 < count <= there[job] for job, count in picked.items())
    claimed: dict[str, int] = {}
    for line, found in lines.items():
        taken = sum(picked.get(job, 0) for job, _ in found)
        claimed[line.owner] = claimed.get(line.owner, 0) + taken
    able = 0
    for owner, taken in claimed.items():
        room = max(per_owner - live.get(owner, 0), 0)
        assert taken <= room
        mine = sum(there[job] for line in lines if line.owner == owner for job, _ in lines[line])
        able += min(room, mine)
    assert sum(picked.values()) == min(wanted, able)


@given(queues, st.integers(1, 12))
def test_a_lower_level_gets_what_a_higher_one_leaves(
    jobs: dict[tuple[int, str], list[int]], wanted: int
) -> None:
    lines = lines_of(jobs)
    picked = share_out(
        lines, live={}, wanted=wanted, per_owner=99,
        candidates=lambda line, most: lines[line][:most],
    )  # fmt: skip
    ranks = {job: line.rank for line, found in lines.items() for job, _ in found}
    left = [ranks[job] for found in lines.values() for job, n in found if picked.get(job, 0) < n]
    assert max((ranks[job] for job in picked), default=0) <= min(left, default=9)


def test_the_owner_with_the_fewest_leases_is_next() -> None:
    lines = lines_of({(0, "A"): [9], (0, "B"): [9]})
    picked = share_out(
        lines, live={"A": 3}, wanted=5, per_owner=9,
        candidates=lambda line, most: lines[line][:most],
    )  # fmt: skip
    assert picked == {1: 1, 2: 4}


def test_only_the_jobs_of_a_line_whose_turn_it_is_are_looked_up() -> None:
    """With a thousand owners waiting, a claim of four looks at four lines."""
    lines = lines_of({(0, chr(0x4E00 + n)): [1] for n in range(1000)})
    asked: list[Line] = []

    def candidates(line: Line, most: int) -> list[tuple[int, int]]:
        asked.append(line)
        return lines[line][:most]

    picked = share_out(lines, live={}, wanted=4, per_owner=9, candidates=candidates)
    assert picked == {1: 1, 2: 1, 3: 1, 4: 1}
    assert len(asked) == 4
