"""Whose batch is next. Pure; the jobs of a line are looked up when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import groupby


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """The jobs of one owner at one service level that have batches to claim.

    Attributes:
        rank: of the level; 0 is first.
        oldest: the lowest id of its jobs.
    """

    rank: int
    owner: str
    oldest: int


def share_out(
    lines: Iterable[Line],
    *,
    live: Mapping[str, int],
    wanted: int,
    per_owner: int,
    candidates: Callable[[Line, int], Iterable[tuple[int, int]]],
) -> dict[int, int]:
    """Say how many batches of which jobs are claimed.

    Levels strictly in their order. Within one, each batch goes to the owner with the fewest live
    leases then, the oldest job deciding between equals; of an owner, to the oldest job.

    Args:
        lines: in any order.
        live: leases of each owner.
        wanted: at most so many batches, ≥ 0.
        per_owner: an owner may have so many leases at once, ≥ 1.
        candidates: gives a line's jobs, oldest first, enough for so many batches if there are: a
            job's id and how many of its batches may be claimed.

    Returns:
        For each job, how many: > 0.
    """
    leases = dict(live)
    picked: dict[int, int] = {}
    room = wanted
    for _, level in groupby(sorted(lines, key=_rank), key=_rank):
        jobs: dict[str, list[list[int]]] = {}
        turns = [(leases.get(line.owner, 0), line.oldest, line) for line in level]
        heapify(turns)
        while turns and room:
            held, _, line = heappop(turns)
            if held >= per_owner:
                continue
            if line.owner not in jobs:
                found = candidates(line, min(room, per_owner - held))
                jobs[line.owner] = [[*pair] for pair in reversed(list(found))]
            stack = jobs[line.owner]
            if not stack:
                continue
            current = stack[-1]
            picked[current[0]] = picked.get(current[0], 0) + 1
            current[1] -= 1
            if not current[1]:
                stack.pop()
            room -= 1
            leases[line.owner] = held + 1
            if stack:
                heappush(turns, (held + 1, stack[-1][0], line))
    return picked


def _rank(line: Line) -> int:
    return line.rank
