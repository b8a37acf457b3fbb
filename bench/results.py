"""What was measured: one line of JSON each, and what follows from many of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

LIMIT = "limit:"
OURS = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One number of one peer in one round. Times are in ms, rates per second."""

    round: int
    workload: str
    metric: str
    peer: str
    value: float


def is_rate(metric: str) -> bool:
    """Say whether more is better."""
    return metric.endswith(("_rps", "_per_s"))


@dataclass(slots=True)
class Results:
    """The numbers of a run, by (workload, metric), peer and round."""

    path: Path | None = None
    numbers: dict[tuple[str, str], dict[str, dict[int, float]]] = field(default_factory=dict)

    @classmethod
    def read(cls, *paths: Path) -> Results:
        """Read result files; the rounds of a later file follow those of the earlier."""
        results, first = cls(), 0
        for path in paths:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            for line in lines:
                results.keep(Measured(**(line | {"round": first + line["round"]})))
            first += 1 + max((line["round"] for line in lines), default=0)
        return results

    def add(self, measured: Measured) -> None:
        """Keep a number, in the file as well."""
        self.keep(measured)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(asdict(measured)) + "\n")

    def keep(self, measured: Measured) -> None:
        peers = self.numbers.setdefault((measured.workload, measured.metric), {})
        peers.setdefault(measured.peer, {})[measured.round] = measured.value

    @property
    def workloads(self) -> list[str]:
        return sorted({workload for workload, _ in self.numbers})

    def metrics(self, workload: str) -> list[str]:
        """Return the metrics of a workload in the order in which they were measured."""
        return [metric for of, metric in self.numbers if of == workload]

    def peers(self, workload: str) -> list[str]:
        found: dict[str, None] = {}
        for metric in self.metrics(workload):
            found |= dict.fromkeys(self.numbers[workload, metric])
        return list(found)

    def median(self, workload: str, metric: str, peer: str) -> float | None:
        values = self.numbers.get((workload, metric), {}).get(peer)
        return statistics.median(values.values()) if values else None

    def ratios(
        self, workload: str, metric: str, peer: str, other: str, other_metric: str | None = None
    ) -> list[float]:
        """Return peer / other for each round that has both, smallest first.

        Whatever else the machine does slows down both sides of a round, so ratios are taken round
        by round, and the median is taken of the ratios.
        """
        ours = self.numbers.get((workload, metric), {}).get(peer, {})
        theirs = self.numbers.get((workload, other_metric or metric), {}).get(other, {})
        return sorted(ours[r] / theirs[r] for r in ours.keys() & theirs.keys() if theirs[r])

    def ratio(self, workload: str, metric: str, peer: str, other: str) -> float | None:
        ratios = self.ratios(workload, metric, peer, other)
        return statistics.median(ratios) if ratios else None

    def best(self, workload: str, metric: str, peers: Iterable[str]) -> str | None:
        """Return the best of the peers that were measured."""
        medians = {
            peer: median
            for peer in peers
            if (median := self.median(workload, metric, peer)) is not None
        }
        if not medians:
            return None
        return (max if is_rate(metric) else min)(medians, key=medians.__getitem__)


def is_limit(peer: str) -> bool:
    return peer.startswith(LIMIT)


def is_rival(peer: str) -> bool:
    """Say whether somebody could pick it instead of ours."""
    return not is_limit(peer) and not peer.startswith(OURS) and peer != "proto"
