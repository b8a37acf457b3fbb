"""The members of a run's body: the compatible wire's names, and ours beside them.

The same models validate and document. What a member's value may be is said here; what members mean
together, and what is put right, in `run_schemas.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fanfold_server.http.strict import NO_NUL
from fanfold_server.model.stopping import MIN_CALLS, StopWhen

INT32_MAX = 2**31 - 1
MAX_TIMEOUT_S = 43200
MAX_SEED = 2**63 - 1
MAX_NAMES = 4000
"""Characters of a list of columns."""


class DoEval(BaseModel):
    """Run a stored function once."""

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        frozen=True,
        json_schema_extra={"example": {"parameters": '{"num":10,"scale":100}', "service": "LOW"}},
    )

    parameters: Annotated[
        str | dict[str, Any] | None,
        Field(
            description="Keyword arguments, as text that holds a JSON object (an object will do). "
            "Names that begin with `oml_` steer the run and are not passed on."
        ),
    ] = None
    asyncFlag: Annotated[bool | None, Field(description="Run as a job.")] = None  # noqa: N815
    timeout: Annotated[
        int | None,
        Field(
            description="Seconds that a job may take: 1800 to 43200. Other runs ignore it.",
            ge=0,
            le=INT32_MAX,
        ),
    ] = None
    graphicsFlag: Annotated[  # noqa: N815
        bool | None, Field(description="Capture figures as PNG.")
    ] = None
    envName: Annotated[  # noqa: N815
        str | None, Field(description="The environment to run in.", max_length=200)
    ] = None
    service: Annotated[
        str | None,
        Field(
            description="Service level, which caps the degree of parallelism: LOW (default), "
            "MEDIUM, HIGH; with v2 also TP and TPURGENT.",
            max_length=20,
        ),
    ] = None
    seed: Annotated[
        int | None,
        Field(
            description="fanfold's own: what all randomness of the run follows from. Without it "
            "one is drawn; the header Fanfold-Seed says which.",
            ge=0,
            le=MAX_SEED,
        ),
    ] = None
    onError: Annotated[  # noqa: N815
        Literal["fail", "continue"] | None,
        Field(
            description="fanfold's own: `fail` (default) ends the run with the first failed call; "
            "`continue` answers 200 with `null` for each failed call and a member `errors`."
        ),
    ] = None
    scriptVersion: Annotated[  # noqa: N815
        int | None,
        Field(description="fanfold's own: the version to run; the current one by default.", ge=1),
    ] = None
    checkArguments: Annotated[  # noqa: N815
        bool | None,
        Field(
            description="fanfold's own: refuse arguments whose type contradicts the function's "
            "annotations. Names are looked at in any case."
        ),
    ] = None
    comments: Annotated[
        str | None,
        Field(
            description="What a job is for; listings show it and can be filtered by it.",
            max_length=4000,
            pattern=NO_NUL,
        ),
    ] = None
    resultTable: Annotated[  # noqa: N815
        str | dict[str, Any] | None,
        Field(
            description="fanfold's own, for jobs: write the result as a table of yours; its name, "
            'or `{"name": "SCORES", "overwrite": true}`.'
        ),
    ] = None
    callTimeout: Annotated[  # noqa: N815
        float | None,
        Field(
            description="fanfold's own, for jobs: seconds that one call may take; one that takes "
            "longer is stopped and has failed, the others are not touched.",
            gt=0,
            le=MAX_TIMEOUT_S,
        ),
    ] = None
    callbackUrl: Annotated[  # noqa: N815
        str | None,
        Field(
            description="fanfold's own, for jobs: an address at which the job's end is told, in a "
            "signed POST without results. Its host is one that the server's operator allows.",
            max_length=2000,
        ),
    ] = None


class FanOut(DoEval):
    """Run a stored function many times."""

    parallelFlag: Annotated[  # noqa: N815
        bool | None, Field(description="Run calls in parallel.")
    ] = None
    parallel: Annotated[
        int | None,
        Field(
            description="Degree of parallelism; above the service level's cap it is lowered.",
            ge=0,
            le=INT32_MAX,
        ),
    ] = None
    maxFailures: Annotated[  # noqa: N815
        int | None,
        Field(
            description='fanfold\'s own, for jobs with `onError` "continue": more failed calls '
            "than this end the job.",
            ge=0,
            le=INT32_MAX,
        ),
    ] = None
    canary: Annotated[
        bool | None,
        Field(
            description="fanfold's own, for jobs: run the first call alone, and the rest only if "
            "it returns."
        ),
    ] = None


class StopCondition(BaseModel):
    """When a job has seen enough: the mean of its numbers is known as well as is wanted."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra={"example": {"se": 0.01, "minCalls": 100}},
    )

    se: Annotated[float | None, Field(description="Standard error of the mean, at most.", gt=0)] = (
        None
    )
    relativeSe: Annotated[  # noqa: N815
        float | None,
        Field(description="The same as a share of the mean. Of both, both have to hold.", gt=0),
    ] = None
    minCalls: Annotated[  # noqa: N815
        int,
        Field(
            description="Numbers before which nothing is decided: few may be alike by chance.",
            ge=2,
            le=INT32_MAX,
        ),
    ] = MIN_CALLS
    member: Annotated[
        str | None,
        Field(description="Of values that are objects: whose number.", max_length=300),
    ] = None

    @model_validator(mode="after")
    def _says_how_well(self) -> Self:
        if self.se is None and self.relativeSe is None:
            raise ValueError('should hold "se" or "relativeSe"')
        return self

    @property
    def condition(self) -> StopWhen:
        return StopWhen(
            se=self.se,
            relative_se=self.relativeSe,
            min_calls=self.minCalls,
            member=self.member,
        )


class IndexApply(FanOut):
    """Run a stored function `times` times, with the index 1, 2, … as first argument."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"times": 10, "parallelFlag": True, "service": "MEDIUM"}}
    )

    times: Annotated[int, Field(description="How many times.", ge=1, le=INT32_MAX)]
    stopWhen: Annotated[  # noqa: N815
        StopCondition | None,
        Field(
            description="fanfold's own, for jobs: end before the last call, once the mean of the "
            "values is known well enough. The job then has the calls up to that one, whatever "
            "else was run: their number follows from the values, not from the degree."
        ),
    ] = None


_Input = Annotated[
    str,
    Field(
        description="The rows: one SELECT statement, or the bare name of a table.",
        min_length=1,
        pattern=NO_NUL,
    ),
]
_Source = Annotated[
    str | None,
    Field(
        description="fanfold's own: the registered database that the query is for; without it, "
        "the server's own tables.",
        max_length=128,
    ),
]
_FRAME = '{"oml_input_type":"pandas.DataFrame"}'


class TableApply(DoEval):
    """Run a stored function once, with all rows as first argument."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"input": "select * from IRIS", "parameters": _FRAME}}
    )

    input: _Input
    source: _Source = None


class RowApply(FanOut):
    """Run a stored function on chunks of rows; records of DataFrames are joined to one list."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "input": "select * from IRIS",
                "rows": 50,
                "parameters": _FRAME,
                "parallelFlag": True,
            }
        }
    )

    input: _Input
    rows: Annotated[int, Field(description="Rows of a chunk, at most.", ge=1, le=INT32_MAX)]
    source: _Source = None


class GroupApply(FanOut):
    """Run a stored function on each group of rows; the answer is an object by group."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "input": "select * from IRIS",
                "groupBy": "SPECIES",
                "parameters": _FRAME,
                "parallelFlag": True,
            }
        }
    )

    input: _Input
    groupBy: Annotated[  # noqa: N815
        str,
        Field(
            description="Columns, separated by commas: rows with equal values in them are a group. "
            "The values, joined with `_`, are the group's key.",
            min_length=1,
            max_length=MAX_NAMES,
        ),
    ]
    orderBy: Annotated[  # noqa: N815
        str | None,
        Field(
            description="Columns, separated by commas, by which the input is sorted first. As on "
            "the compatible wire, every run of equal values in `groupBy` is then a group of its "
            "own; if a value has several, keys are numbered, each value's from 1: `versicolor_8`. "
            "See `orderWithin`.",
            max_length=MAX_NAMES,
        ),
    ] = None
    orderWithin: Annotated[  # noqa: N815
        bool | None,
        Field(
            description="fanfold's own: groups stay whole, and `orderBy` sorts the rows of each."
        ),
    ] = None
    source: _Source = None


BODIES: dict[str, type[DoEval]] = {
    "do-eval": DoEval,
    "index-apply": IndexApply,
    "table-apply": TableApply,
    "row-apply": RowApply,
    "group-apply": GroupApply,
}

DATA_VERBS = frozenset({"table-apply", "row-apply", "group-apply"})
"""Verbs whose calls are given rows."""
