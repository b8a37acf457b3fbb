"""Bodies of runs: what is accepted, what is put right, and what the refusal says."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold_server.http.run_document import openapi_paths
from fanfold_server.http.run_schemas import BODIES, MAX_SEED, RunRequest, read_run
from fanfold_server.http.strict import MAX_DEPTH
from fanfold_server.model.apply import Groups, OnError, ServiceLevel
from fanfold_server.model.errors import InvalidBody, InvalidField, InvalidParameters

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def _read(verb: str = "do-eval", version: str = "v2", **members: Any) -> RunRequest:
    return read_run(verb, version, json.dumps(members).encode(), strict=False)


def test_nothing_said_means_the_documented_defaults() -> None:
    assert read_run("do-eval", "v1", b"", strict=False) == RunRequest(
        times=None,
        parameters=b"{}",
        is_async=False,
        graphics=False,
        environment=None,
        service=ServiceLevel.LOW,
        parallel_flag=False,
        parallel=None,
        seed=None,
        on_error=OnError.FAIL,
        script_version=None,
        warnings=(),
    )


@given(st.dictionaries(TEXT.filter(lambda name: not name.startswith("oml_")), JSON, max_size=4))
def test_parameters_keep_every_value_in_both_forms(members: dict[str, Any]) -> None:
    """Large integers stay integers, and text and object mean the same."""
    text = json.dumps(members)
    as_text = _read(parameters=text)
    as_object = _read(parameters=members)
    assert json.loads(as_text.parameters) == json.loads(as_object.parameters) == members
    assert as_text.parameters == text.encode()


@given(
    st.dictionaries(TEXT.filter(lambda name: not name.startswith("oml_")), JSON, max_size=3),
    st.dictionaries(TEXT.map("oml_x{}".format), JSON, min_size=1, max_size=2),
)
def test_unknown_control_arguments_are_taken_out_and_nothing_else(
    members: dict[str, Any], control: dict[str, Any]
) -> None:
    read = _read(parameters=json.dumps({**control, **members}))
    assert json.loads(read.parameters) == members


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("oml_graphics_flag", "graphics"),
        ("oml_async_flag", "is_async"),
        ("oml_parallel_flag", "parallel_flag"),
    ],
)
@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (True, True),
        (1, True),
        ("true", True),
        ("TRUE", True),
        (False, False),
        (0, False),
        ("false", False),
        (None, False),
    ],
    ids=str,
)
def test_control_flags_take_the_forms_that_sql_has(
    name: str, field: str, value: object, meant: bool
) -> None:
    """The word "false" is no yes."""
    read = _read("index-apply", times=1, parameters=json.dumps({name: value, "a": 1}))
    assert getattr(read, field) is meant
    assert json.loads(read.parameters) == {"a": 1}


@pytest.mark.parametrize("value", ["maybe", "", 2, -1, [], {}, 0.5], ids=json.dumps)
def test_a_control_flag_that_is_neither_yes_nor_no_is_refused(value: object) -> None:
    with pytest.raises(InvalidParameters, match=r"oml_graphics_flag.* should be true or false"):
        _read(parameters=json.dumps({"oml_graphics_flag": value}))


def test_a_member_overrules_its_control_argument() -> None:
    control = json.dumps(
        {"oml_graphics_flag": True, "oml_parallel_flag": True, "oml_service_level": "HIGH"}
    )
    said: dict[str, Any] = {"graphicsFlag": False, "parallelFlag": False, "service": "MEDIUM"}
    read = _read("index-apply", times=1, parameters=control, **said)
    assert (read.graphics, read.parallel_flag) == (False, False)
    assert read.service is ServiceLevel.MEDIUM
    alone = _read("index-apply", times=1, parameters=control)
    assert (alone.graphics, alone.parallel_flag) == (True, True)
    assert alone.service is ServiceLevel.HIGH


@pytest.mark.parametrize("level", [5, True, ["HIGH"], "GPU"], ids=json.dumps)
def test_a_control_level_that_does_not_exist_is_refused(level: object) -> None:
    with pytest.raises(InvalidField if isinstance(level, str) else InvalidParameters):
        _read(parameters=json.dumps({"oml_service_level": level}))


def test_parallel_flags_mean_nothing_to_do_eval() -> None:
    """Printed examples send them along; they are tolerated."""
    read = _read(parallelFlag=True, parallel=8, times=3, parameters='{"oml_parallel_flag":true}')
    assert (read.parallel_flag, read.parallel, read.times) == (False, None, None)


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 900])
def test_parameters_may_be_nested_as_deep_as_values(depth: int) -> None:
    """A worker's own JSON reader gives up at about a thousand levels, and with it the worker."""
    text = '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"
    if depth <= MAX_DEPTH:
        assert _read(parameters=text).parameters == text.encode()
    else:
        with pytest.raises(InvalidParameters, match=f"deeper than {MAX_DEPTH} levels"):
            _read(parameters=text)


@pytest.mark.parametrize(
    "text",
    ['{"a":NaN}', '{"a":1e400}', '{"a"', "[1]", "null", "1", '"x"', "x", "{'a':1}", "{}{}"],
)
def test_text_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameters, match='The member "parameters"') as caught:
        _read(parameters=text)
    assert caught.value.details["field"] == "parameters"


@pytest.mark.parametrize("blank", ["", " ", "\n", None])
def test_blank_parameters_are_none(blank: str | None) -> None:
    assert _read(parameters=blank).parameters == b"{}"


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_lacks_are_refused_in_the_object_form_too(word: str) -> None:
    body = b'{"parameters":{"a":%s}}' % word.encode()
    with pytest.raises((InvalidParameters, InvalidBody)):
        read_run("do-eval", "v1", body, strict=False)


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"', b"{", b"\xff", b"{}x", b'{"a":1,}'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidBody):
        read_run("do-eval", "v1", body, strict=False)


@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_read_or_refused_by_name(body: bytes) -> None:
    """Nothing but our own errors leaves here: an unforeseen one would answer 500."""
    for verb in BODIES:
        try:
            read_run(verb, "v1", body, strict=False)
        except (InvalidBody, InvalidField):
            continue


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(BODIES["index-apply"].model_fields, JSON)))
def test_whatever_the_members_hold_is_read_or_refused_by_name(members: dict[str, Any]) -> None:
    refusal = None
    try:
        _read("index-apply", **members)
    except (InvalidField, InvalidParameters) as exc:
        refusal = exc
    if refusal is not None:
        assert f'"{refusal.details["field"]}"' in refusal.message
        orjson.dumps(refusal.message)


@pytest.mark.parametrize("timeout", [0, 300, 1799, 43201, 2**31 - 1])
def test_a_timeout_out_of_range_is_put_right_or_with_strict_refused(timeout: int) -> None:
    (warning,) = _read(asyncFlag=True, timeout=timeout).warnings
    assert str(timeout) in warning
    assert "1800 to 43200" in warning
    with pytest.raises(InvalidField, match=f"is {timeout}; it should be 1800 to 43200"):
        read_run("do-eval", "v1", b'{"asyncFlag":true,"timeout":%d}' % timeout, strict=True)


def test_a_timeout_is_no_matter_where_there_is_no_job() -> None:
    """It would be told of a limit that the run does not have."""
    for strict in (False, True):
        assert not read_run("do-eval", "v1", b'{"timeout":300}', strict=strict).warnings


def test_a_service_that_is_empty_is_refused() -> None:
    """Taken for LOW, a slip of a client would be a slow run without a reason."""
    with pytest.raises(InvalidField, match='is ""; it should be one of LOW'):
        _read(service="")


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("timeout", [1800, 43200])
def test_a_timeout_in_range_is_no_matter(timeout: int, strict: bool) -> None:
    assert not read_run("do-eval", "v1", b'{"timeout":%d}' % timeout, strict=strict).warnings


@pytest.mark.parametrize("level", ServiceLevel)
def test_levels_are_read_in_any_case_and_tp_is_v2s(level: ServiceLevel) -> None:
    for form in (level.value, level.lower(), level.title()):
        assert _read(service=form).service is level
        if level.startswith("TP"):
            with pytest.raises(InvalidField, match="one of LOW, MEDIUM, HIGH"):
                _read(version="v1", service=form)
        else:
            assert _read(version="v1", service=form).service is level


def test_the_largest_seed_is_taken_and_the_next_refused() -> None:
    assert _read(seed=MAX_SEED).seed == MAX_SEED
    with pytest.raises(InvalidField, match='"seed"'):
        _read(seed=MAX_SEED + 1)


@pytest.mark.parametrize("verb", BODIES)
def test_the_document_shows_every_member_with_words_and_a_valid_example(verb: str) -> None:
    """The hot route's schema is declared by hand; its examples must pass its own validator."""
    for path, item in openapi_paths().items():
        if f"/{verb}/" not in path:
            continue
        schema = item["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["properties"]) == set(BODIES[verb].model_fields)
        assert all(member["description"] for member in schema["properties"].values())
        read_run(verb, "v1", json.dumps(schema["example"]).encode(), strict=True)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("GENDER, YEAR", ["GENDER", "YEAR"]),
        ('"a,b"', ["a,b"]),
        (' "a, b" ,c, "say ""hi"", you" ', ["a, b", "c", 'say "hi", you']),
        ('a"b', ['a"b']),
        ('"a"b,"c', ['"a"b', '"c']),
    ],
)
def test_names_of_columns_may_hold_commas_in_quotes(text: str, names: list[str]) -> None:
    read = _read("group-apply", input="T", groupBy=text, orderBy=text)
    assert isinstance(read.split, Groups)
    assert list(read.split.by) == list(read.split.order) == names


@pytest.mark.parametrize("text", [",", "a,", ",a", "a,,b", '""', '"a","",b'])
def test_a_column_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="groupBy"):
        _read("group-apply", input="T", groupBy=text)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"se": 0}, 'The member "stopWhen.se" is 0; it should be greater than 0.'),
        (
            {"se": 1, "min_calls": 5},
            'The member "stopWhen.min_calls" does not exist; there are se, relativeSe, minCalls,',
        ),
        ({}, 'The member "stopWhen" is {}; it should hold "se" or "relativeSe".'),
        (5, 'The member "stopWhen" is 5; it should be an object.'),
    ],
)
def test_what_is_wrong_within_a_condition_is_named_with_its_place(
    condition: object, words: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        _read("index-apply", times=3, asyncFlag=True, stopWhen=condition)
    assert caught.value.message.startswith(words)


def test_a_nul_is_refused_in_words() -> None:
    with pytest.raises(InvalidField, match="it should have no NUL character"):
        _read("index-apply", times=3, comments="a\0b")


@pytest.mark.parametrize(
    ("verb", "members", "told"),
    [
        ("index-apply", {"Times": 3}, 'is missing; did you mean it by "Times"?'),
        ("index-apply", {"time": 3, "parallel": 2}, 'is missing; did you mean it by "time"?'),
        ("group-apply", {"input": "x", "group_by": "y"}, 'did you mean it by "group_by"?'),
        ("index-apply", {"parallel": 2}, "is missing."),
        ("index-apply", {f"time{n}": n for n in range(60)}, "is missing."),
    ],
)
def test_a_member_that_is_missing_is_recognised_by_a_slip(
    verb: str, members: dict[str, Any], told: str
) -> None:
    """What does not exist is tolerated; so a slip is told by what it left out."""
    with pytest.raises(InvalidField) as refused:
        _read(verb, **members)
    assert refused.value.message.endswith(told)
