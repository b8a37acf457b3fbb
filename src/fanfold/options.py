"""How a run is run: what stands beside its function and its arguments.

Arguments of functions have the names that their authors gave them, so none of ours may stand among
them: `client.using(seed=7)` says how, `.index_apply(...)` says what.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

_MEMBERS = {
    "environment": "envName",
    "service": "service",
    "seed": "seed",
    "on_error": "onError",
    "version": "scriptVersion",
    "call_timeout_s": "callTimeout",
    "max_failures": "maxFailures",
    "canary": "canary",
    "timeout_s": "timeout",
    "comments": "comments",
    "source": "source",
    "result_table": "resultTable",
    "stop_when": "stopWhen",
    "callback_url": "callbackUrl",
}
_FOR_JOBS = ("result_table", "stop_when", "callback_url")
_STOP_MEMBERS = {"relative_se": "relativeSe", "min_calls": "minCalls"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is run.

    Attributes:
        environment: the one to run in; the server's default without it.
        service: LOW, MEDIUM, HIGH, TP or TPURGENT: how much of the server a run may take.
        seed: what all randomness of the run follows from; without it the server draws one.
        on_error: "fail" ends a run with the first failed call; with "continue" a failed call has
            its exception in the place of its value.
        version: of the script; the current one without it.
        call_timeout_s: of a job: seconds that one call may take.
        timeout_s: of a job: seconds that it may take, 1800 to 43200.
        max_failures: of a job that continues: more failed calls than this end it.
        canary: of a job: run the first call alone, and the rest only if it returns.
        comments: of a job: what it is for.
        source: the registered database that a query is for; the server's own tables without it.
        charset: of a file of text that is given as rows, such as "windows-1252"; by default UTF-8,
            or what its byte order mark says.
        result_table: have the result written as a table of this name, for later queries; a mapping
            such as `{"name": "SCORES", "overwrite": True}` replaces one that is there. The run is a
            job then, as with the next two, also where its value is waited for.
        stop_when: of an `index_apply`: end it once the mean of the values is known well enough:
            `{"se": 0.01}` or `{"relative_se": 0.001}`, with `min_calls` and, of values that are
            objects, the `member` whose mean is meant.
        callback_url: an address that is told of the job's end.
        frames: make pandas DataFrames of what looks like some.
        check: refuse arguments of a type that contradicts the function's annotations.
        raw: give the answer's members as the server sent them, and no exception for a failed
            call of a run that continues.
        idempotency_key: of a job: a second submission with the same key makes no second job.
    """

    environment: str | None = None
    service: str | None = None
    seed: int | None = None
    on_error: str | None = None
    version: int | None = None
    call_timeout_s: float | None = None
    timeout_s: int | None = None
    max_failures: int | None = None
    canary: bool | None = None
    comments: str | None = None
    source: str | None = None
    charset: str | None = None
    result_table: str | Mapping[str, object] | None = None
    stop_when: Mapping[str, object] | None = None
    callback_url: str | None = None
    frames: bool = True
    check: bool = True
    raw: bool = False
    idempotency_key: str | None = None

    def changed(self, options: Mapping[str, Any]) -> Options:
        """Give the same with some options changed.

        Raises:
            TypeError: there is no option of such a name; says which was meant, or what there is.
        """
        known = [field.name for field in fields(self)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                meant = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(known)}."
                raise TypeError(f'There is no option "{name}": {meant}')
        return replace(self, **options)

    def members(self) -> dict[str, Any]:
        """Give the members of a run's body that say it."""
        found = {wire: getattr(self, name) for name, wire in _MEMBERS.items()}
        if self.stop_when is not None:
            named = self.stop_when.items()
            found["stopWhen"] = {_STOP_MEMBERS.get(name, name): value for name, value in named}
        return {wire: value for wire, value in found.items() if value is not None}

    @property
    def want_a_job(self) -> bool:
        """Whether only a job can be run like this."""
        return any(getattr(self, name) is not None for name in _FOR_JOBS)
