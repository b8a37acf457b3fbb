"""What the body of a run asks for.

Members that do not exist or do not apply are tolerated, as printed examples demand; those that do
are checked strictly and named when they are wrong. The members themselves are in `run_bodies.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from pydantic import ValidationError

from fanfold_server.http.column_names import column_names
from fanfold_server.http.handlers import complaint
from fanfold_server.http.run_bodies import (
    BODIES,
    DATA_VERBS,
    MAX_SEED,
    MAX_TIMEOUT_S,
    DoEval,
    FanOut,
    GroupApply,
    IndexApply,
    RowApply,
    StopCondition,
    TableApply,
)
from fanfold_server.http.strict import (
    BEYOND,
    MARK,
    MAX_DEPTH,
    depth,
    is_too_large,
    read_json,
    too_deep,
    wrong_encoding,
)
from fanfold_server.model.apply import (
    Chunks,
    Groups,
    Index,
    Input,
    Once,
    OnError,
    ServiceLevel,
    Split,
    Whole,
)
from fanfold_server.model.errors import InvalidBody, InvalidField, InvalidParameters
from fanfold_server.model.rows import InputType, Query
from fanfold_server.model.stopping import StopWhen

__all__ = [
    "BODIES",
    "DATA_VERBS",
    "MAX_SEED",
    "RunRequest",
    "read_run",
]

MIN_TIMEOUT_S = 1800
REMEMBERED_BYTES = 512
"""Bodies up to this size are remembered with what they say; the last 512 of them."""

_LEVELS = {
    "v1": ("LOW", "MEDIUM", "HIGH"),
    "v2": ("LOW", "MEDIUM", "HIGH", "TP", "TPURGENT"),
}
_CONTROL = "oml_"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What a body says, with the control arguments taken out of the parameters.

    Attributes:
        times: None for all but index-apply.
        parameters: JSON text of an object.
        rows: how the calls are given rows, and which; None for do-eval and index-apply.
        warnings: what was put right, in words.
        timeout_s: how long a job may take, within the range that is allowed.
        check_arguments: compare types with the annotations, too.
        comments, call_timeout_s, max_failures, canary, callback_url, stop_when: of a job; see
            `model.submission.Submission`.
    """

    times: int | None
    parameters: bytes
    is_async: bool
    graphics: bool
    environment: str | None
    service: ServiceLevel
    parallel_flag: bool
    parallel: int | None
    seed: int | None
    on_error: OnError
    script_version: int | None
    warnings: tuple[str, ...]
    timeout_s: int = MIN_TIMEOUT_S
    comments: str | None = None
    result_table: str | None = None
    table_overwrite: bool = False
    call_timeout_s: float | None = None
    max_failures: int | None = None
    canary: bool = False
    check_arguments: bool = False
    callback_url: str | None = None
    stop_when: StopWhen | None = None
    rows: tuple[Whole | Chunks | Groups, Input] | None = None

    @property
    def split(self) -> Split:
        if self.rows is not None:
            return self.rows[0]
        return Once() if self.times is None else Index(times=self.times)

    @property
    def input(self) -> Input | None:
        return None if self.rows is None else self.rows[1]


def read_run(verb: str, version: str, body: bytes, *, strict: bool) -> RunRequest:
    """Read the body of a run. What was just read is remembered: clients repeat themselves.

    Args:
        verb: one of `BODIES`.
        version: v1 or v2, which differ in their service levels.
        strict: refuse what is otherwise put right with a warning.

    Raises:
        InvalidBody, InvalidField, InvalidParameters: the first thing that is wrong.
    """
    read = _remembered if len(body) <= REMEMBERED_BYTES else _read
    return read(verb, version, body, strict)


def _read(verb: str, version: str, body: bytes, strict: bool) -> RunRequest:
    model = BODIES[verb]
    body = body.removeprefix(MARK)
    try:
        said = model.model_validate_json(body or b"{}")
    except ValidationError as exc:
        _check_numbers(body)
        raise _refusal(exc, model, body) from None
    _check_numbers(body)
    parameters, control = _parameters(said.parameters)
    is_async = _flag(said.asyncFlag, control, "oml_async_flag")
    # A run that is waited for has a limit of the server's own.
    timeout_s, warnings = _timeout(said, strict=strict) if is_async else (MIN_TIMEOUT_S, ())
    service = said.service
    if service is None:
        service = _control_text(control, "oml_service_level")
    fans_out = isinstance(said, FanOut)
    graphics = _flag(said.graphicsFlag, control, "oml_graphics_flag")
    table, overwrite = _table(said, is_async=is_async, graphics=graphics)
    return RunRequest(
        times=said.times if isinstance(said, IndexApply) else None,
        parameters=parameters,
        is_async=is_async,
        graphics=graphics,
        environment=said.envName or None,
        service=ServiceLevel.LOW if service is None else _level(service, version),
        parallel_flag=fans_out
        and _flag(getattr(said, "parallelFlag", None), control, "oml_parallel_flag"),
        parallel=said.parallel if isinstance(said, FanOut) else None,
        seed=said.seed,
        on_error=OnError(said.onError) if said.onError else OnError.FAIL,
        script_version=said.scriptVersion,
        warnings=warnings,
        timeout_s=timeout_s,
        comments=said.comments,
        result_table=table,
        table_overwrite=overwrite,
        call_timeout_s=said.callTimeout,
        max_failures=_max_failures(said),
        canary=isinstance(said, FanOut) and bool(said.canary),
        check_arguments=bool(said.checkArguments),
        callback_url=said.callbackUrl,
        stop_when=said.stopWhen.condition
        if isinstance(said, IndexApply) and said.stopWhen
        else None,
        rows=_rows(said, control),
    )


_remembered = lru_cache(maxsize=512)(_read)


def _check_numbers(body: bytes) -> None:
    """Refuse NaN and infinities, which JSON does not have, though the validator takes them."""
    if b"NaN" in body or b"Infinity" in body:  # such a number, or a text with such a word
        try:
            read_json(body)
        except orjson.JSONDecodeError as exc:
            raise InvalidBody(f"The request body is not JSON: {exc}.") from None


def _rows(said: DoEval, control: dict[str, Any]) -> tuple[Whole | Chunks | Groups, Input] | None:
    """Read which rows are asked for, and how they are cut."""
    split: Whole | Chunks | Groups
    match said:
        case TableApply():
            split = Whole()
        case RowApply():
            split = Chunks(rows=said.rows)
        case GroupApply():
            by = column_names("groupBy", said.groupBy)
            if not by:
                raise InvalidField('The member "groupBy" names no column.', field="groupBy")
            order = column_names("orderBy", said.orderBy or "")
            split = Groups(by=by, order=order, order_within=bool(said.orderWithin))
        case _:
            return None
    if not said.input.strip():
        raise InvalidField(
            'The member "input" should be one SELECT statement, or the name of a table.',
            field="input",
        )
    return split, Input(
        query=Query(text=said.input, source=said.source.upper() if said.source else None),
        type=_input_type(control),
        na_omit=_flag(None, control, "oml_na_omit"),
    )


def _input_type(control: dict[str, Any]) -> InputType:
    """Read in which type rows are wanted."""
    given = control.get("oml_input_type")
    if given is None:
        return InputType.DEFAULT
    try:
        return InputType(given)
    except ValueError:
        known = ", ".join(f'"{kind.value}"' for kind in InputType)
        raise InvalidParameters(
            f'The control argument "oml_input_type" is {json.dumps(given)[:60]}; it should be one '
            f"of {known}.",
            field="parameters",
        ) from None


def _refusal(exc: ValidationError, model: type[DoEval], body: bytes) -> InvalidBody | InvalidField:
    first = exc.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        if "recursion limit" in first["ctx"]["error"]:
            return too_deep()
        return wrong_encoding(body) or InvalidBody(
            f"The request body is not JSON: {first['ctx']['error']}."
        )
    if not first["loc"]:
        return InvalidBody("The request body must be a JSON object.")
    field, *inside = map(str, first["loc"])
    if field == "parameters":
        return InvalidField(
            'The member "parameters" must be text that holds a JSON object, such as '
            '"{\\"num\\": 10}".',
            field=field,
        )
    members = list(model.model_fields)
    if field == "stopWhen" and inside:
        field, members = f"{field}.{inside[0]}", list(StopCondition.model_fields)
    words = complaint(dict(first), members)
    return InvalidField(f'The member "{field}" {words}', field=field)


def _parameters(given: str | dict[str, Any] | None) -> tuple[bytes, dict[str, Any]]:
    """Return the keyword arguments as JSON text, and the control arguments."""
    if given is None:
        return b"{}", {}
    text = given if isinstance(given, str) else _dump(given)
    if not text.strip():
        return b"{}", {}
    try:
        raw = text.encode()
        decoded = orjson.loads(raw)
    except UnicodeEncodeError as exc:
        raise InvalidParameters(
            f'The member "parameters" does not hold JSON: {exc}.', field="parameters"
        ) from None
    except orjson.JSONDecodeError as exc:
        words = (
            f"holds a number {BEYOND} (character {exc.pos})"
            if is_too_large(exc)
            else f"does not hold JSON: {exc}"
        )
        raise InvalidParameters(f'The member "parameters" {words}.', field="parameters") from None
    if not isinstance(decoded, dict):
        raise InvalidParameters(
            f'The member "parameters" must hold a JSON object, not {text[:60]!r}.',
            field="parameters",
        )
    if depth(decoded) > MAX_DEPTH:
        raise InvalidParameters(
            f'The member "parameters" is nested deeper than {MAX_DEPTH} levels.',
            field="parameters",
        )
    if not any(name.startswith(_CONTROL) for name in decoded):
        return raw, {}  # the worker decodes the very text, so large integers stay what they are
    members = json.loads(text)
    control = {name: v for name, v in members.items() if name.startswith(_CONTROL)}
    rest = {name: v for name, v in members.items() if not name.startswith(_CONTROL)}
    return _dump(rest).encode(), control


def _dump(members: dict[str, Any]) -> str:
    try:
        return json.dumps(members, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise InvalidParameters(
            f'The member "parameters" holds a number {BEYOND}.', field="parameters"
        ) from None


def _table(said: DoEval, *, is_async: bool, graphics: bool) -> tuple[str | None, bool]:
    """Return the name of the table that is asked for, and whether it may be overwritten."""
    asked = said.resultTable
    if asked is None:
        return None, False
    if not is_async or graphics:
        raise InvalidField(
            'The member "resultTable" goes with "asyncFlag": true, and not with figures.',
            field="resultTable",
        )
    if isinstance(asked, str):
        return asked, False
    name, overwrite = asked.get("name"), asked.get("overwrite", False)
    if not isinstance(name, str) or not isinstance(overwrite, bool) or set(asked) - _TABLE:
        raise InvalidField(
            'The member "resultTable" should be the name of a table, or such as '
            '{"name": "SCORES", "overwrite": true}.',
            field="resultTable",
        )
    return name, overwrite


_TABLE = frozenset(("name", "overwrite"))


def _max_failures(said: DoEval) -> int | None:
    if not isinstance(said, FanOut) or said.maxFailures is None:
        return None
    if said.onError != "continue":
        raise InvalidField(
            'The member "maxFailures" goes with "onError": "continue"; without that, the first '
            "failed call ends the run.",
            field="maxFailures",
        )
    return said.maxFailures


def _timeout(said: DoEval, *, strict: bool) -> tuple[int, tuple[str, ...]]:
    """Return how long a job may take, and what had to be put right."""
    timeout = said.timeout
    if timeout is None:
        return MIN_TIMEOUT_S, ()
    if MIN_TIMEOUT_S <= timeout <= MAX_TIMEOUT_S:
        return timeout, ()
    wanted = f"{MIN_TIMEOUT_S} to {MAX_TIMEOUT_S} seconds"
    if strict:
        raise InvalidField(
            f'The member "timeout" is {timeout}; it should be {wanted}.', field="timeout"
        )
    nearest = min(max(timeout, MIN_TIMEOUT_S), MAX_TIMEOUT_S)
    return nearest, (f"timeout {timeout} is out of range ({wanted}); the nearest is used",)


def _flag(value: bool | None, control: dict[str, Any], name: str) -> bool:
    """Return a flag, or the control argument of that meaning if the flag is absent.

    SQL hands control arguments over as 1 and 0 or as words, too.
    """
    if value is not None:
        return value
    given = control.get(name)
    word = given.lower() if isinstance(given, str) else given
    for meant, forms in ((True, (True, 1, "true")), (False, (None, False, 0, "false"))):
        if word in forms:
            return meant
    raise InvalidParameters(
        f'The control argument "{name}" is {json.dumps(given)[:60]}; it should be true or false.',
        field="parameters",
    )


def _control_text(control: dict[str, Any], name: str) -> str | None:
    value = control.get(name)
    if value is None or isinstance(value, str):
        return value
    raise InvalidParameters(
        f'The control argument "{name}" is {json.dumps(value)[:60]}; it should be text.',
        field="parameters",
    )


def _level(service: str, version: str) -> ServiceLevel:
    name = service.upper()
    allowed = _LEVELS[version]
    if name not in allowed:
        raise InvalidField(
            f'The member "service" is {json.dumps(service)}; it should be one of '
            f"{', '.join(allowed)}.",
            field="service",
        )
    return ServiceLevel(name)
