"""What came of a call. A user's exception is a value here, never an exception of the server's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class FailureKind(IntEnum):
    """Why a call has no value; the number is the `errorCode` that a client sees."""

    TOO_LONG = 1024
    """len() of the returned object is over the limit (the compatible wire's own number)."""
    PRINTED = 1026
    """The function printed, and the server is set to refuse that as the compatible service does."""
    RAISED = 3001
    """The function raised an exception."""
    LOAD = 3002
    """The script's text could not be executed, so that there was no function to call."""
    NOT_JSON = 3003
    """The returned object has no JSON form."""
    TOO_LARGE = 3004
    """The encoded value is over the limit of bytes."""
    LOST = 3005
    """The worker process ended before the call did, twice."""
    OUT_OF_MEMORY = 3006
    """The call wanted more memory than it may have."""
    TIMED_OUT = 3007
    """The call was stopped because its time was up."""
    CANCELLED = 3008
    """The call was stopped, or never begun, because its run was cancelled."""
    NO_FIGURES = 3009
    """Figures were asked for and the environment has no matplotlib."""
    NO_GENERATOR = 3010
    """The function wants `rng` and the environment has no numpy."""
    NO_ENVIRONMENT = 3011
    """The job's environment is gone or cannot be started."""
    NO_ARROW = 3012
    """The function is given rows, and the environment lacks what reads them."""
    UNREADABLE_ROWS = 3013
    """A column of the rows has a type that cannot be handed to a function."""
    NO_ROWS = 3014
    """The job's rows are gone."""
    OUT_OF_CPU_TIME = 3015
    """The call took more processor time than it may."""
    OUT_OF_PROCESSES = 3016
    """The call wanted more processes or threads than it may have."""
    OUT_OF_FILES = 3017
    """The call wanted more open files than it may have."""
    OUT_OF_SPACE = 3018
    """The call wanted more room for temporary files than it may have."""
    FILE_TOO_LARGE = 3019
    """The call wrote a file that is larger than it may be."""
    TOO_MUCH_OUTPUT = 3020
    """The call printed more than it may."""

    @property
    def is_fatal(self) -> bool:
        """Whether every call of the run would fail so: the run ends with the first."""
        return self in _FATAL


_FATAL = frozenset(
    (
        FailureKind.LOAD,
        FailureKind.NO_FIGURES,
        FailureKind.NO_GENERATOR,
        FailureKind.NO_ENVIRONMENT,
        FailureKind.NO_ARROW,
        FailureKind.NO_ROWS,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a call has no value.

    Attributes:
        kind: its class, which is also its code.
        type: the exception's class name, or a word of ours such as "WorkerLost".
        message: one sentence for the caller.
        traceback: the frames of the user's own source, as Python prints them; empty if none.
    """

    kind: FailureKind
    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A rendered figure: `png` is a PNG file, `title` the title of its axes, if it has one."""

    png: bytes
    title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """`count` calls in a row that returned and left nothing but their values.

    Attributes:
        start: the first call's index.
        json: the values as JSON texts separated by commas, in index order.
        meters: what each call took, if that was asked for: little-endian u32 elapsed_us[count],
            then u32 peak_kib[count].
    """

    start: int
    count: int
    json: bytes
    meters: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A call that returned. `json` is its value as JSON text.

    `elapsed_us` are its microseconds; `peak_kib` the most memory that its process has had by its
    end, 0 if that was not asked for.
    """

    index: int
    json: bytes
    images: tuple[Image, ...] = ()
    log: str = ""
    elapsed_us: int = 0
    peak_kib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A call without a value: it raised, timed out, was lost or cancelled (`failure.kind`).

    `name` is the key of its group, if it has one.
    """

    index: int
    failure: Failure
    log: str = ""
    elapsed_us: int = 0
    peak_kib: int = 0
    name: str | None = None


Outcome = Returned | Failed
