"""The port between the use cases and the place where code runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fanfold_server.model.apply import ServiceLevel
from fanfold_server.model.environment import Environment
from fanfold_server.model.outcome import Outcome, Values
from fanfold_server.model.rows import InputType, Rowset
from fanfold_server.model.script import Script


@dataclass(slots=True, kw_only=True)
class Work:
    """Calls of one script, to be run by at most `degree` workers at once.

    Nobody changes it. It is not frozen, since every run makes one: to set the members of one that
    is takes three times as long, and they are many.

    Attributes:
        caller: who asked; a script of another owner runs in single-use processes.
        start: index of the first call; without `indexed` it is 0 and `count` is 1.
        count: how many calls, ≥ 1.
        indexed: whether the function is given the index as its first argument; not with rows.
        parameters: JSON text of an object: the keyword arguments.
        seed: 0 ≤ seed < 2**64.
        graphics: whether figures are captured (then every call is reported as an Outcome).
        keep_point_zero: write 6.0 as `6.0`, not as `6`.
        stop_on_failure: whether the first failed call ends the work.
        timeout_s: seconds after which calls without an outcome are stopped; > 0.
        call_timeout_s: seconds after which one call is stopped and fails as TIMED_OUT, > 0; loading
            the script counts as part of a worker's first call. None: no limit.
        keep_meters: whether time and memory of calls that return are wanted.
        rows: what the calls are given; if they are cut, the call of index i ≥ 1 has the i-th part.
            The files have to be there until the work is done.
        input_type, na_omit: how; see `model.apply.Input`.
        splice: write each value as an array: the records of a DataFrame, or the value alone.
        column_frames: write a returned DataFrame by columns with row labels.
        job: id of the job of which it is a part; None: its caller waits.
        level: whose limits hold.
        beside: how many workers may run calls of the same job at once, wherever; 0: `degree`.
    """

    script: Script
    environment: Environment
    caller: str
    start: int
    count: int
    indexed: bool
    parameters: bytes
    degree: int
    seed: int
    graphics: bool
    keep_point_zero: bool
    keep_logs: bool
    stop_on_failure: bool
    timeout_s: float
    call_timeout_s: float | None = None
    keep_meters: bool = False
    rows: Rowset | None = None
    input_type: InputType = InputType.DEFAULT
    na_omit: bool = False
    splice: bool = False
    column_frames: bool = False
    job: str | None = None
    level: ServiceLevel = ServiceLevel.LOW
    beside: int = 0

    @property
    def is_once(self) -> bool:
        """Whether it is the one call of a run that has no more, and not one of many."""
        return not self.indexed and (self.rows is None or self.rows.offsets is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a call asks of the server. All of it comes from a hostile process.

    Attributes:
        run: the run that it is about, as its process says.
        verb: what for.
        members: JSON, of any shape.
        payload: descriptor of a sealed file in memory that was handed over; the engine closes it.
        payload_bytes: how long that is.
    """

    run: int
    verb: str
    members: Mapping[str, object]
    payload: int | None = None
    payload_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to an ask.

    Attributes:
        json: one JSON value.
        file: descriptor of a file for the call to read; the engine closes it.
        secret: a text in `json` that must not show in logs and errors of the run, nor be there for
            another run: no process of this one is used again.
    """

    json: bytes = b"null"
    file: int | None = None
    secret: str | None = None


class Answerer(Protocol):
    """Answers what calls ask; the engine asks it, and the use cases are behind it."""

    async def answer(self, work: Work, ask: Ask) -> Reply:
        """Answer an ask of one of the work's calls, with the rights of `work.caller`.

        Cancelled when the call's process ends.

        Raises:
            FanfoldError: it is refused, or cannot be done; the call is told so.
        """
        ...


class Recorder(Protocol):
    """Takes what comes of a work's calls, in any order, each index once."""

    def values(self, values: Values) -> None: ...

    def outcome(self, outcome: Outcome) -> None: ...


class Running(Protocol):
    """A work under way.

    `done` ends with None when every index has been recorded or the work stopped early
    (`stop_on_failure`, `cancel`, its time), and with an error of `model.errors` when the engine
    could not run it. It need not be awaited.
    """

    @property
    def done(self) -> asyncio.Future[None]: ...

    def cancel(self) -> None:
        """Stop at once; interrupted workers are killed with all that they started."""
        ...


class Warmer(Protocol):
    """Keeps interpreters started."""

    def keep(self, owner: str, environment: Environment) -> None:
        """Start an interpreter and a worker for an owner's scripts, and keep them; returns at once.

        One that cannot be started is not kept: the first run says why.
        """
        ...

    def release(self, owner: str, environment: Environment) -> None:
        """Keep it no longer; it ends when it is idle, as any other."""
        ...


class Engine(Protocol):
    """Runs works.

    Guarantees: each index of a work is recorded at most once, and exactly once if the work ends by
    itself; a worker's death costs the calls that it held one retry; no process serves two owners.
    """

    def start(self, work: Work, recorder: Recorder) -> Running:
        """Begin a work; returns at once. Raises Overloaded or ShuttingDown."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return readiness, the isolation in force and counts of processes, for /health."""
        ...
