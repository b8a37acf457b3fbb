"""What is measured: W1 one trivial call, W2 many, W3 CPU, W4 the documented example, W5 figures,
W6 groups and chunks of a table, W7 durable jobs, W8 environments, W9 a large DataFrame as the
answer.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.client import load
from bench.environments import measure_environments
from bench.ours import Ours
from bench.peers import HttpPeer, Peer

Numbers = Iterator[tuple[str, float]]

W1_CLIENTS = 16
_WARM_UPS = 50

DOCUMENTED = [
    7.203244934421581, 0.25926231827891333, 7.081478226181048, 5.4723224917572235,
    8.707323061773764, 3.3197980530117723, 7.7991879224011464, 9.68540662820932,
    5.018745921487388, 0.207519493594015,
]  # fmt: skip
"""The documented example's ten values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fan:
    """One request for many calls, and what its times are the median of."""

    function: str
    calls: int
    degree: int
    times: int
    label: str = ""

    @property
    def metric(self) -> str:
        return f"{self.label}n{self.calls}_p{self.degree}_ms"


FANS = {
    "W2": (
        Fan(function="sq", calls=1, degree=2, times=15),
        Fan(function="sq", calls=100, degree=2, times=11),
        Fan(function="sq", calls=10_000, degree=2, times=7),
        Fan(function="sq", calls=100_000, degree=2, times=3),
    ),
    "W3": (
        Fan(function="burn", calls=64, degree=1, times=1),
        Fan(function="burn", calls=64, degree=2, times=1),
    ),
    "W4": (
        Fan(function="heavy_random_mean", calls=10, degree=2, times=9),
        Fan(function="heavy_random_mean", calls=1000, degree=2, times=1),
        Fan(function="heavy_random_mean", calls=1000, degree=1, times=1),
        Fan(function="compute_random_mean", calls=10, degree=1, times=9, label="documented_"),
        Fan(function="compute_random_mean", calls=1000, degree=2, times=3, label="documented_"),
    ),
    "W5": (
        Fan(function="fig", calls=16, degree=2, times=1),
        Fan(function="fig", calls=16, degree=1, times=1),
    ),
}
USUAL = ("W1", *FANS, "W6", "W9")
"""What is measured when nothing else is said: W7 needs Redis and PostgreSQL, W8 is ours alone."""

WORKLOADS = (*USUAL, "W7", "W7m", "W8")

CUTS = {None: 1_000, 10_000: 100}
"""W6: rows of a part (None: a group each), and how many parts there are."""

W6_TIMES = 3
W7_JOBS = 500
W7_CALLS = 1_000_000
W9_TIMES = 3


def measure(workload: str, peer: Peer, seconds: int, *, is_first: bool) -> Numbers:
    """Measure one peer once, and yield (metric, value).

    Args:
        seconds: how long W1's 16 clients ask.
        is_first: whether nothing has been asked of the peer yet in this workload: calls are
            warmed up, and answers looked at.
    """
    if workload == "W1":
        assert isinstance(peer, HttpPeer)
        yield from _single(peer, seconds)
        return
    if workload == "W6":
        yield from _rows(peer, is_first=is_first)
        return
    if workload == "W7":
        yield from _jobs(peer)
        return
    if workload == "W7m":
        assert isinstance(peer, Ours)
        yield from _million(peer, is_first=is_first)
        return
    if workload == "W8":
        assert isinstance(peer, Ours)
        yield from measure_environments(peer)
        return
    if workload == "W9":
        yield from _frame(peer)
        return
    for fan in FANS[workload]:
        if fan.calls <= peer.most_calls:
            yield fan.metric, _fan(peer, fan, is_first=is_first)


def _single(peer: HttpPeer, seconds: int) -> Numbers:
    request = peer.one("sq", 7)
    raw = request.raw()
    for _ in range(_WARM_UPS):
        status, body = peer.connection.ask(raw)
    times = []
    until = time.perf_counter() + 1.0
    while (began := time.perf_counter()) < until:
        status, body = peer.connection.ask(raw)
        times.append(time.perf_counter() - began)
        if status != 200:  # noqa: PLR2004 (HTTP's own word for it)
            raise RuntimeError(f"{peer.name} answered {status}: {body[:300]!r}")
    yield "c1_p50_ms", statistics.median(times) * 1e3
    yield "c1_p99_ms", sorted(times)[int(0.99 * len(times))] * 1e3
    many = load(peer.port, request, clients=W1_CLIENTS, seconds=seconds, scratch=peer.scratch)
    if many.errors:
        raise RuntimeError(f"{peer.name}: {many.errors} errors at {W1_CLIENTS} clients")
    yield "c16_rps", many.rps
    yield "c16_p50_ms", many.p50_ms
    yield "c16_p99_ms", many.p99_ms


def _rows(peer: Peer, *, is_first: bool) -> Numbers:
    for by, parts in CUTS.items():
        if is_first:
            _, calls = peer.rows(by)
            if calls != parts:
                raise RuntimeError(f"{peer.name}: {calls} parts instead of {parts}")
        yield f"{_cut(by)}_ms", statistics.median(peer.rows(by)[0] for _ in range(W6_TIMES)) * 1e3
    if is_first:
        assert peer.process is not None
        for by in CUTS:
            with peer.process.watched(peer.role) as peaks:
                peer.rows(by)
            for role, mib in peaks.items():
                yield f"{_cut(by)}_{role}_mib", mib


def _jobs(peer: Peer) -> Numbers:
    seconds, submits = peer.jobs(W7_JOBS)
    submits.sort()
    yield "jobs_rps", W7_JOBS / seconds
    yield "submit_p50_ms", statistics.median(submits) * 1e3
    yield "submit_p95_ms", submits[int(0.95 * len(submits))] * 1e3


def _million(peer: Ours, *, is_first: bool) -> Numbers:
    yield "calls_rps", W7_CALLS / peer.job_of(W7_CALLS)
    if is_first:
        assert peer.process is not None
        with peer.process.watched(peer.role) as peaks:
            peer.job_of(W7_CALLS)
        for role, mib in peaks.items():
            yield f"{role}_mib", mib


def _cut(by: int | None) -> str:
    return "by_k" if by is None else f"by_{by}"


def _frame(peer: Peer) -> Numbers:
    peer.frame()
    asked = [peer.frame() for _ in range(W9_TIMES)]
    seconds = statistics.median(taken for taken, _ in asked)
    yield "ms", seconds * 1e3
    yield "MB_per_s", asked[0][1] / seconds / 1e6


def _fan(peer: Peer, fan: Fan, *, is_first: bool) -> float:
    if is_first:
        _, values = peer.fan(fan.function, fan.calls, fan.degree)
        if values is not None:
            _check(peer.name, fan, values)
    times = [peer.fan(fan.function, fan.calls, fan.degree)[0] for _ in range(fan.times)]
    return statistics.median(times) * 1e3


_CHECKS: dict[str, Callable[[list[float]], bool]] = {
    "sq": lambda values: values == [i * i for i in range(1, len(values) + 1)],
    "compute_random_mean": lambda values: all(
        math.isclose(value, wanted) for value, wanted in zip(values, DOCUMENTED, strict=False)
    ),
    "heavy_random_mean": lambda values: all(4 < value < 6 for value in values),  # noqa: PLR2004
}


def _check(name: str, fan: Fan, values: list[float]) -> None:
    """Look at the first answer: a wrong one is not fast."""
    if len(values) != fan.calls or not _CHECKS.get(fan.function, bool)(values):
        raise RuntimeError(
            f"{name}: {fan.calls} calls of {fan.function} came out wrong: {values[:3]}"
        )
