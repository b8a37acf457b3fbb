"""One validated request to run a script: valid by construction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fanfold_server.model.environment import Environment
from fanfold_server.model.rows import InputType, Query
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """One call with all rows (table-apply)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks:
    """A call for every `rows` ≥ 1 rows, in the query's order (row-apply)."""

    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """A call for every group of equal values in the columns `by` (group-apply).

    Attributes:
        by: names of columns, at least one, in any case.
        order: columns by which the input is sorted first; every run of equal values is then a
            group of its own, as on the compatible wire.
        order_within: groups stay whole, and the rows of each are sorted by `order` instead.
        column_frames: write returned DataFrames by columns, as older releases did.
    """

    by: tuple[str, ...]
    order: tuple[str, ...] = ()
    order_within: bool = False
    column_frames: bool = False


Split = Once | Index | Whole | Chunks | Groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The rows of a run, and how calls get them.

    Attributes:
        na_omit: leave out rows in which a value is missing.
    """

    query: Query
    type: InputType = InputType.DEFAULT
    na_omit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """A run that was asked for.

    Attributes:
        caller: the account that asks, in upper case.
        parameters: JSON text of an object, the keyword arguments; control arguments taken out.
        degree: how many workers may run it at once, ≥ 1, already capped by the service level.
        seed: 0 ≤ seed < 2**64; the randomness of call i follows from (seed, i) alone.
        graphics: whether figures are captured.
        input: the rows; given exactly if the split is one of rows.
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
    input: Input | None = None
