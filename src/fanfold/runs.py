"""The five ways to run a function, with the signatures that OML4Py has for them.

`Runs` makes a run's request of the arguments; what becomes of it is for its subclasses to say: the
client waits for the value, `client.background` gives a job. Nothing here does I/O.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fanfold import errors, functions, uploads
from fanfold.messages import RUN_LIMIT_S, Request, Steps, json_body, path
from fanfold.options import Options
from fanfold.session import error_for
from fanfold.values import decode, parameters_text
from fanfold.verbs import D, Part, verb

if TYPE_CHECKING:
    from typing_extensions import Self

    from fanfold.progress import Display
    from fanfold.session import Session

R = TypeVar("R")
S = TypeVar("S", bound="Runs[Any, Any]")
Function = Callable[..., Any] | str
"""A stored name, a source text, or a function."""

RUNS = "/oml/api/py-scripts/v2"
_OWN_TABLES = "EMBEDDED"


@dataclass(frozen=True)
class Run:
    """A run that can be sent: a stored script's name, and the body."""

    verb: str
    script: str
    owner: str | None
    body: Mapping[str, object]
    options: Options

    @property
    def graphics(self) -> bool:
        return bool(self.body.get("graphicsFlag"))

    def request(self, *, as_job: bool) -> Request:
        """Write the request."""
        members = dict(self.body)
        key = {}
        if as_job:
            members["asyncFlag"] = True
            key["idempotency-key"] = self.options.idempotency_key or str(uuid.uuid4())
        body, headers = json_body(members)
        where = [self.script, self.owner] if self.owner is not None else [self.script]
        return Request(
            "POST",
            path(f"{RUNS}/{self.verb}", *where),
            body=body,
            headers={**headers, **key},
            limit_s=RUN_LIMIT_S,
            may_repeat=as_job,  # under the same key there is one job
        )


class Runs(Part[D], Generic[D, R]):
    """Runs functions.

    `func` is the name of a stored script, a source text, or a function; of the latter two the text
    is stored under a name of its own first. Keyword arguments go to the function, but for those
    that begin with `oml_`, which steer the run as in OML4Py. `graphics=True` brings figures.
    `parallel` is the degree of parallelism: a number, True for what the service level allows.
    """

    def __init__(
        self, driver: D, session: Session, display: Display, options: Options | None = None
    ) -> None:
        super().__init__(driver, session, display)
        self._options = options or Options()
        self._stored: set[str] = set()

    def using(self, **options: Any) -> Self:
        """Give the same with other options; see `fanfold.Options` for their names."""
        twin: Self = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin._options = self._options.changed(options)  # a twin of ours
        return twin

    @verb
    def do_eval(
        self,
        /,
        func: Function,
        func_owner: str | None = None,
        graphics: bool = False,
        **kwargs: Any,
    ) -> Steps[R]:
        """Run a function once."""
        return (yield from self._start("do-eval", func, func_owner, graphics, kwargs, {}))

    @verb
    def index_apply(
        self,
        /,
        times: int,
        func: Function,
        func_owner: str | None = None,
        parallel: bool | int | None = None,
        graphics: bool = False,
        **kwargs: Any,
    ) -> Steps[R]:
        """Run a function `times` times, with 1, 2, … as first argument; gives a list."""
        own = {"times": times, **_degree(parallel)}
        return (yield from self._start("index-apply", func, func_owner, graphics, kwargs, own))

    @verb
    def table_apply(
        self,
        /,
        data: Any,
        func: Function,
        func_owner: str | None = None,
        graphics: bool = False,
        **kwargs: Any,
    ) -> Steps[R]:
        """Run a function once on all rows of `data`.

        Args:
            data: a query or a table's name; a file's Path or a DataFrame, which goes with the run.
        """
        return (yield from self._start("table-apply", func, func_owner, graphics, kwargs, {}, data))

    @verb
    def row_apply(
        self,
        /,
        data: Any,
        func: Function,
        func_owner: str | None = None,
        rows: int = 1,
        parallel: bool | int | None = None,
        graphics: bool = False,
        **kwargs: Any,
    ) -> Steps[R]:
        """Run a function on chunks of `rows` rows of `data`; what they give is joined."""
        own = {"rows": rows, **_degree(parallel)}
        return (yield from self._start("row-apply", func, func_owner, graphics, kwargs, own, data))

    @verb
    def group_apply(
        self,
        /,
        data: Any,
        index: str | Sequence[str],
        func: Function,
        func_owner: str | None = None,
        parallel: bool | int | None = None,
        orderby: str | Sequence[str] | None = None,
        graphics: bool = False,
        **kwargs: Any,
    ) -> Steps[R]:
        """Run a function on each group of rows with equal values in `index`; gives a dict."""
        own: dict[str, object] = {"groupBy": _columns(index), **_degree(parallel)}
        if orderby is not None:
            own["orderBy"] = _columns(orderby)
        return (
            yield from self._start("group-apply", func, func_owner, graphics, kwargs, own, data)
        )

    def _start(
        self,
        name: str,
        func: Function,
        owner: str | None,
        graphics: bool,
        parameters: Mapping[str, object],
        own: Mapping[str, object],
        data: Any = None,
    ) -> Steps[R]:
        body: dict[str, object] = {**self._options.members(), **own}
        if graphics:
            body["graphicsFlag"] = True
        if self._options.check:
            body["checkArguments"] = True
        if parameters:
            body["parameters"] = parameters_text(parameters)
        script = yield from self._script(func)
        if data is None:
            return (yield from self._finish(Run(name, script, owner, body, self._options)))
        if isinstance(data, str):
            body["input"] = data
            return (yield from self._finish(Run(name, script, owner, body, self._options)))
        body["input"] = yield from uploads.keep(self._session, data, self._options.charset)
        body["source"] = _OWN_TABLES  # whatever database is the default, or was named
        try:
            return (yield from self._finish(Run(name, script, owner, body, self._options)))
        finally:
            # A job has rows of its own from the moment that it is accepted.
            yield from uploads.forget(self._session, str(body["input"]))

    def _finish(self, run: Run) -> Steps[R]:
        """Say what becomes of a run."""
        raise NotImplementedError

    def _script(self, func: Function) -> Steps[str]:
        """Give the name of a stored script, storing the text if it comes as one."""
        if isinstance(func, str) and not functions.is_source(func):
            return func
        source = functions.source_of(func)
        name = source.adhoc_name
        if name not in self._stored:
            body, headers = json_body(
                {"source": source.text, "description": "sent with a run", "overwrite": True}
            )
            target = path("/api/v1/scripts", name)
            yield from self._session.send(
                Request("PUT", target, body=body, headers=headers, may_repeat=True)
            )
            self._stored.add(name)
        return name


def answer_of(run: Run, said: Mapping[str, Any]) -> Any:
    """Turn a run's answer into values; a call that failed has its exception in its place."""
    if run.options.raw:
        return said
    result = decode(run.verb, said.get("result"), graphics=run.graphics, frames=run.options.frames)
    for failure in said.get("errors") or ():
        exc = failure_of(failure)
        if run.graphics and run.verb in {"index-apply", "row-apply"}:
            result.insert(failure["index"] - 1, exc)  # they come by index, and have left no place
        elif run.verb == "index-apply":
            result[failure["index"] - 1] = exc
        elif run.verb == "group-apply":
            result[failure["name"]] = exc
        elif run.verb != "row-apply":
            return exc
    return result


def failure_of(members: Mapping[str, Any]) -> errors.CallFailed:
    """Make the exception of a failed call, from the entry that lists it."""
    kind, message = str(members.get("type") or ""), str(members.get("message") or "")
    is_users = members.get("code") in {errors.CallRaised.code, errors.CallLoad.code}
    text = f"{kind}: {message}" if is_users and kind and message else message or kind
    details = {name: value for name, value in members.items() if name != "message"}
    exc = error_for(int(members.get("code") or 0), text, details={**details, "errorType": kind})
    if isinstance(exc, errors.CallFailed):
        return exc
    return errors.CallFailed(text, details=exc.details)


def _degree(parallel: bool | int | None) -> dict[str, object]:
    if parallel is None or parallel is False or parallel == 0:
        return {}
    if parallel is True:
        return {"parallelFlag": True}
    return {"parallelFlag": True, "parallel": int(parallel)}


def _columns(names: object) -> str:
    if isinstance(names, str):
        return names
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"{names!r} names no columns: a name, or a list of names, is wanted, and before the "
            "function."
        )
    return ",".join('"' + name.replace('"', '""') + '"' for name in names)
