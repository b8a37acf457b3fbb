"""One validated request to run a script: valid by construction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fanfold_server.model.environment import Environment
from fanfold_server.model.script import Script


class ServiceLevel(StrEnum):
    """How much of the server a run may take; v1 knows the first three."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    TP = "TP"
    TPURGENT = "TPURGENT"


class OnError(StrEnum):
    """`fail`: the first failed call ends the run. `continue`: every call gets its outcome."""

    FAIL = "fail"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """One call without an index (do-eval)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """`times` calls, given 1 … `times` as first argument (index-apply); `times` ≥ 1."""

    times: int


Split = Once | Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """A run that was asked for.

    Attributes:
        caller: the account that asks, in upper case.
        parameters: JSON text of an object, the keyword arguments; control arguments taken out.
        degree: how many workers may run it at once, ≥ 1, already capped by the service level.
        seed: 0 ≤ seed < 2**64; the randomness of call i follows from (seed, i) alone.
        graphics: whether figures are captured.
    """

    script: Script
    environment: Environment
    caller: str
    split: Split
    parameters: bytes
    degree: int
    seed: int
    graphics: bool
    service: ServiceLevel
    on_error: OnError
