"""The lease protocol loses and doubles no call, whatever happens to the workers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from fanfold_server.engine.leases import Lease, Leases


class LeaseProtocol(RuleBasedStateMachine):
    """Workers take, finish, die, retire and hold several leases, in any order.

    The model is a count of outcomes per index: at the end each has exactly one.
    """

    workers: Bundle[int] = Bundle("workers")

    @initialize(
        start=st.integers(0, 5),
        count=st.integers(1, 60),
        degree=st.integers(1, 8),
        call_us=st.none() | st.floats(0.01, 1e6),
    )
    def begin(self, start: int, count: int, degree: int, call_us: float | None) -> None:
        self.leases = Leases(start, count, degree, call_us)
        self.start, self.count = start, count
        self.outcomes: dict[int, int] = {}
        self.held: dict[int, list[Lease]] = {}
        self.done: dict[int, int] = {}
        self.deaths: dict[int, int] = {}
        self.next_worker = 0

    def record(self, index: int) -> None:
        self.outcomes[index] = self.outcomes.get(index, 0) + 1

    @rule(target=workers)
    def hire(self) -> int:
        self.next_worker += 1
        self.held[self.next_worker] = []
        self.done[self.next_worker] = 0
        return self.next_worker

    @rule(worker=workers)
    def take(self, worker: int) -> None:
        if len(self.held[worker]) < self.leases.depth:
            lease = self.leases.take()
            if lease is not None:
                assert lease.count >= 1
                self.held[worker].append(lease)

    @rule(worker=workers, share=st.floats(0, 1))
    def progress(self, worker: int, share: float) -> None:
        """Some calls of the lease in hand get their outcome, the lease goes on."""
        if self.held[worker]:
            lease, done = self.held[worker][0], self.done[worker]
            more = int((lease.count - done) * share)
            for index in range(lease.start + done, lease.start + done + more):
                self.record(index)
            self.done[worker] += more

    @rule(worker=workers, all_of_it=st.booleans())
    def give_back(self, worker: int, all_of_it: bool) -> None:
        if self.held[worker]:
            lease = self.held[worker].pop(0)
            done = self.done[worker]
            if all_of_it:
                for index in range(lease.start + done, lease.end):
                    self.record(index)
                done = lease.count
            self.leases.returned(lease, done)
            self.done[worker] = 0

    @rule(worker=workers)
    def learn(self, worker: int) -> None:
        self.leases.learn(float(worker))

    @rule(worker=consumes(workers))
    def die(self, worker: int) -> None:
        held = self.held.pop(worker)
        done = self.done.pop(worker)
        states = [(lease, done if n == 0 else 0) for n, lease in enumerate(held)]
        begun = states[0][0].start + states[0][1] if states else None
        if begun is not None and states[0][1] < states[0][0].count:
            self.deaths[begun] = self.deaths.get(begun, 0) + 1
        convicted = self.leases.lost(states)
        if convicted is not None:
            assert convicted == begun, "only the call in hand can be convicted"
            self.record(convicted)

    @rule(worker=consumes(workers))
    def retire(self, worker: int) -> None:
        if self.done[worker]:  # it retires between runs: nothing of what it holds was begun
            return
        self.leases.unstarted(self.held.pop(worker))
        self.done.pop(worker)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        if not hasattr(self, "leases"):
            return
        assert all(n == 1 for n in self.outcomes.values())
        in_hand = sum(
            sum(lease.count for lease in held) - self.done[worker]
            for worker, held in self.held.items()
        )
        assert len(self.outcomes) + in_hand + self.leases.left == self.count
        assert self.leases.out == in_hand + sum(self.done[w] for w, h in self.held.items() if h)

    @precondition(lambda self: hasattr(self, "leases"))
    @rule()
    def finish_all(self) -> None:
        """With a worker that lives, every call gets its outcome."""
        for worker, held in self.held.items():
            done = self.done[worker]
            for lease in held:
                for index in range(lease.start + done, lease.end):
                    self.record(index)
                self.leases.returned(lease, lease.count)
                done = 0
            held.clear()
            self.done[worker] = 0
        while (rest := self.leases.take()) is not None:
            for index in range(rest.start, rest.end):
                self.record(index)
            self.leases.returned(rest, rest.count)
        assert self.leases.is_over
        assert sorted(self.outcomes) == list(range(self.start, self.start + self.count))


TestLeaseProtocol = LeaseProtocol.TestCase
TestLeaseProtocol.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(count=st.integers(1, 10_000), degree=st.integers(1, 16))
def test_every_call_is_leased_once_and_lowest_first(count: int, degree: int) -> None:
    leases = Leases(1, count, degree)
    seen = 1
    while (lease := leases.take()) is not None:
        assert lease.start == seen
        seen = lease.end
    assert seen == count + 1


def test_known_small_work_is_one_lease() -> None:
    """Waking a second worker costs more than a hundred trivial calls."""
    leases = Leases(1, 1000, 8, call_us=0.1)
    assert leases.degree == 1
    assert leases.take() == Lease(1, 1000)


def test_calls_are_not_hoarded() -> None:
    """A second lease waits behind the first: not where calls are long, or may be, or are few."""
    assert Leases(1, 64, 2, call_us=20_000.0).depth == 1
    assert Leases(1, 64, 2, call_us=None).depth == 1
    short = Leases(1, 2000, 2, call_us=100.0)
    assert short.depth == 2
    while short.left >= 2:
        short.take()
    assert short.depth == 1


def test_the_call_that_kills_twice_is_convicted_and_no_other() -> None:
    leases = Leases(1, 5, 1)
    first = leases.take()
    assert first is not None
    assert leases.lost([(first, 0)]) is None
    convicted = []
    while (lease := leases.take()) is not None:
        if not lease.careful or lease.start != first.start:
            leases.returned(lease, lease.count)
            continue
        convicted.append(leases.lost([(lease, 1)]))
        break
    assert convicted == [2]


def test_stop_forgets_what_waits() -> None:
    leases = Leases(1, 100, 2)
    taken = leases.take()
    assert taken is not None
    assert leases.stop() == 100 - taken.count
    leases.returned(taken, taken.count)
    assert leases.is_over
