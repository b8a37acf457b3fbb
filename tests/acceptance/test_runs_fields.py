"""Every member of a run's body over HTTP: what it does, and what is said when it is wrong."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Caller

RUNS = "/oml/api/py-scripts"
ECHO = """
def echo(*args, **named):
    shown = {n: [type(v).__name__, str(v) if type(v) is int else v] for n, v in named.items()}
    return [list(args), shown]
"""
SPANS = """
def spans(i, pause_s=0.15):
    import os, time

    began = time.monotonic()
    time.sleep(pause_s)
    return [os.getpid(), began, time.monotonic()]
"""


@pytest.fixture(scope="module")
def echo(alice: Caller) -> str:
    alice.store("echo", ECHO)
    return "echo"


@pytest.fixture(scope="module")
def spans(alice: Caller) -> str:
    alice.store("spans", SPANS)
    return "spans"


def _run(alice: Caller, verb: str, body: Any, *, version: str = "v2") -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return alice.post(f"{RUNS}/{version}/{verb}/echo", content=content)


def _refused(answer: httpx2.Response, *words: str, code: int = 2002) -> None:
    error = answer.json()
    assert (answer.status_code, error["errorCode"]) == (400, code), error
    assert list(error)[:2] == ["errorMessage", "errorCode"]
    assert answer.headers["content-type"] == "application/json"
    for word in words:
        assert word in error["errorMessage"]


# ------------------------------------------------------------------------------ types and ranges

WRONG: dict[str, list[tuple[object, str]]] = {
    "times": [
        (0, "greater than or equal to 1"),
        (-1, "greater than or equal to 1"),
        (2**31, "less than or equal to 2147483647"),
        (True, "integer"),
        ("10", "integer"),
        (10.0, "integer"),
        (None, "integer"),
        ([10], "integer"),
        (10**40, "less than or equal to 2147483647"),
    ],
    "parallel": [
        (-1, "greater than or equal to 0"),
        (2**31, "less than or equal to 2147483647"),
        (True, "integer"),
        ("2", "integer"),
        (2.0, "integer"),
    ],
    "timeout": [
        (-1, "greater than or equal to 0"),
        (2**31, "less than or equal to 2147483647"),
        (False, "integer"),
        ("1800", "integer"),
        (1800.5, "integer"),
    ],
    "seed": [
        (-1, "greater than or equal to 0"),
        (2**63, "less than or equal to"),
        ("1", "integer"),
        (1.0, "integer"),
        (True, "integer"),
    ],
    "scriptVersion": [(0, "greater than or equal to 1"), ("1", "integer"), (True, "integer")],
    "parallelFlag": [("true", "boolean"), (1, "boolean"), (0, "boolean"), ([], "boolean")],
    "graphicsFlag": [("true", "boolean"), (1, "boolean"), ({}, "boolean")],
    "asyncFlag": [("false", "boolean"), (0, "boolean")],
    "service": [
        ("GPU", "LOW, MEDIUM, HIGH, TP, TPURGENT"),
        (1, "string"),
        (["LOW"], "string"),
        ("x" * 100, "it should have at most 20 characters"),
    ],
    "envName": [
        (1, "string"),
        (True, "string"),
        (["default"], "string"),
        ("x" * 1000, "it should have at most 200 characters"),
    ],
    "onError": [("ignore", "'fail' or 'continue'"), ("FAIL", "'fail' or 'continue'"), (1, "fail")],
    "parameters": [(5, "JSON object"), (True, "JSON object"), ([], "JSON object")],
}
CASES = [(field, value, right) for field, cases in WRONG.items() for value, right in cases]


@pytest.mark.parametrize(
    ("field", "value", "right"),
    CASES,
    ids=[f"{field}-{json.dumps(value)[:20]}" for field, value, _ in CASES],
)
def test_a_wrong_value_is_named_with_what_came_and_what_would_be_right(
    alice: Caller, echo: str, field: str, value: object, right: str
) -> None:
    assert echo
    answer = _run(alice, "index-apply", {"times": 1, field: value})
    _refused(answer, f'"{field}"', right)
    assert answer.json()["field"] == field
    if field != "parameters":
        assert json.dumps(value)[:20] in answer.json()["errorMessage"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"times ":1}', b'{"Times":1}'])
def test_times_is_needed(alice: Caller, echo: str, body: bytes) -> None:
    assert echo
    _refused(_run(alice, "index-apply", body), '"times" is missing')


@pytest.mark.parametrize("body", [b"", b"{}", b'{"service":null,"parameters":null,"seed":null}'])
def test_do_eval_needs_no_body(alice: Caller, echo: str, body: bytes) -> None:
    assert echo
    answer = _run(alice, "do-eval", body)
    assert (answer.status_code, answer.content) == (200, b'{"result":[[],{}]}')


def test_members_that_do_not_exist_or_do_not_apply_are_tolerated(alice: Caller, echo: str) -> None:
    """Printed examples misspell and mix members; all of them are shown as accepted."""
    assert echo
    slips = {
        "parameter": '{"a":1}',
        "asyncMode": True,
        "rows": "many",
        "input": 5,
        "groupBy": None,
        "comment": ["x"],
    }
    answer = _run(alice, "do-eval", {**slips, "times": "many", "parallelFlag": "yes"})
    assert answer.content == b'{"result":[[],{}]}'
    answer = _run(alice, "index-apply", {**slips, "times": 2})
    assert answer.content == b'{"result":[[[1],{}],[[2],{}]]}'


@pytest.mark.parametrize(
    "body", [b"[]", b"1", b"null", b"{", b"\xff\xfe", b'{"times":1}}', b"times=1"]
)
def test_a_body_that_is_no_json_object_is_refused(alice: Caller, echo: str, body: bytes) -> None:
    assert echo
    for verb in ("do-eval", "index-apply"):
        _refused(_run(alice, verb, body), "The request body", code=2001)


def test_a_body_over_the_limit_is_refused(alice: Caller, echo: str) -> None:
    """The limit is 16 MiB; one below passes whole."""
    assert echo
    large = _run(alice, "do-eval", {"parameters": {"a": "x" * (17 << 20)}})
    assert (large.status_code, large.json()["errorCode"]) == (413, 2006)
    fits = _run(alice, "do-eval", {"parameters": {"a": "x" * 4000}, "pad": "x" * (15 << 20)})
    assert fits.json()["result"][1]["a"] == ["str", "x" * 4000]


# ------------------------------------------------------------------------------- service, degree


@pytest.mark.parametrize("service", ["LOW", "low", "Medium", "HIGH", "high"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_levels_are_taken_in_any_case(alice: Caller, echo: str, version: str, service: str) -> None:
    assert echo
    assert _run(alice, "do-eval", {"service": service}, version=version).status_code == 200


@pytest.mark.parametrize("service", ["TP", "tpurgent"])
def test_tp_levels_are_v2s_alone(alice: Caller, echo: str, service: str) -> None:
    assert echo
    assert _run(alice, "do-eval", {"service": service}, version="v2").status_code == 200
    refused = _run(alice, "do-eval", {"service": service}, version="v1")
    _refused(refused, '"service"', f'"{service}"', "LOW, MEDIUM, HIGH.")


def _most_at_once(alice: Caller, spans: str, body: dict[str, object]) -> int:
    """Run calls that sleep, and count how many of them slept at the same time."""
    answer = alice.post(f"{RUNS}/v2/index-apply/{spans}", json=body)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert len(result) == body["times"]
    edges = [(began, 1) for _, began, _ in result] + [(ended, -1) for _, _, ended in result]
    at_once = most = 0
    for _, step in sorted(edges):
        at_once += step
        most = max(most, at_once)
    assert most <= len({pid for pid, _, _ in result})
    return most


@pytest.mark.parametrize(
    ("asked", "degree"),
    [
        ({}, 1),
        ({"parallelFlag": False}, 1),
        ({"parallel": 0}, 1),
        ({"parallel": 1}, 1),
        ({"parallel": 1, "parallelFlag": True}, 1),
        ({"parallelFlag": True}, 2),
        ({"parallel": 2}, 2),
        ({"parallel": 2**31 - 1}, 2),
        ({"parallelFlag": True, "service": "MEDIUM"}, 4),
        ({"parallel": 6, "service": "MEDIUM"}, 4),
        ({"parallel": 3, "service": "MEDIUM"}, 3),
        ({"parallelFlag": True, "service": "HIGH"}, 8),
        ({"parallel": 4, "service": "TP"}, 1),
        ({"parallelFlag": True, "service": "TPURGENT"}, 8),
        ({"parameters": '{"oml_parallel_flag":true,"oml_service_level":"MEDIUM"}'}, 4),
    ],
    ids=json.dumps,
)
def test_the_degree_is_what_was_asked_for_and_at_most_the_levels(
    alice: Caller, spans: str, asked: dict[str, object], degree: int
) -> None:
    """Proven by the calls themselves: how many slept at once. More is lowered in silence."""
    assert _most_at_once(alice, spans, {"times": max(4, 4 * degree), **asked}) == degree


# ------------------------------------------------------------------------------------- timeout


@pytest.mark.parametrize("timeout", [0, 300, 1799, 43201, 2**31 - 1])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_timeout_out_of_range_is_put_right_with_a_warning(
    alice: Caller, echo: str, version: str, timeout: int
) -> None:
    """The compatible service's own notebooks send 300."""
    assert echo
    answer = _run(alice, "do-eval", {"timeout": timeout, "asyncFlag": True}, version=version)
    assert answer.status_code == 201
    warnings = [text for text in answer.headers.get_list("warning") if "timeout" in text]
    assert len(warnings) == 1
    assert warnings[0].startswith("299 ")
    assert f"timeout {timeout}" in warnings[0]


@pytest.mark.parametrize("timeout", [1800, 43200, None])
def test_a_timeout_in_range_is_no_matter(alice: Caller, echo: str, timeout: int | None) -> None:
    assert echo
    answer = _run(alice, "do-eval", {"timeout": timeout, "asyncFlag": True})
    told = [text for text in answer.headers.get_list("warning") if "timeout" in text]
    assert (answer.status_code, told) == (201, [])


def test_a_timeout_is_no_matter_without_a_job(alice: Caller, echo: str) -> None:
    assert echo
    answer = _run(alice, "do-eval", {"timeout": 300})
    assert (answer.status_code, answer.headers.get("warning")) == (200, None)


# ----------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("form", ["text", "object"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (10, "int"),
        (2**70, "int"),
        (-(2**63) - 1, "int"),
        (1.5, "float"),
        ("Grüße, 世界 🙂 \u0000 \"'\\", "str"),
        ("", "str"),
        (True, "bool"),
        (None, "NoneType"),
        ([1, [2, {"a": None}]], "list"),
        ({"b": {"c": [True]}}, "dict"),
    ],
    ids=lambda value: json.dumps(value)[:24],
)
def test_arguments_arrive_with_their_json_types(
    alice: Caller, echo: str, form: str, value: object, kind: str
) -> None:
    assert echo
    shown = str(value) if kind == "int" else value
    for members in ({"a": value}, {"a": value, "oml_connect": 1}):
        given = json.dumps(members) if form == "text" else members
        answer = _run(alice, "index-apply", {"times": 1, "parameters": given})
        assert answer.json() == {"result": [[[1], {"a": [kind, shown]}]]}


def test_unicode_names_are_arguments(alice: Caller, echo: str) -> None:
    assert echo
    answer = _run(alice, "do-eval", {"parameters": '{"größe":1,"two words":2}'})
    assert answer.json() == {"result": [[], {"größe": ["int", "1"], "two words": ["int", "2"]}]}


@pytest.mark.parametrize(
    "text",
    [
        "x",
        '{"a":}',
        "{'a':1}",
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":1e999}',
        '{"a":"\\ud800"}',
        "[1]",
        "null",
        "7",
        '"text"',
        '{"a":' + "[" * 999 + "]" * 999 + "}",
        '{"a":' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:16],
)
def test_parameters_that_are_no_json_object_are_refused(
    alice: Caller, echo: str, text: str
) -> None:
    assert echo
    _refused(_run(alice, "do-eval", {"parameters": text}), '"parameters"', code=2003)


def test_nan_in_the_object_form_is_refused(alice: Caller, echo: str) -> None:
    assert echo
    answer = _run(alice, "do-eval", b'{"parameters":{"a":NaN}}')
    _refused(answer, "not JSON", "char 19", code=2001)


def test_control_arguments_are_not_passed_on(alice: Caller, echo: str) -> None:
    assert echo
    control = {
        "oml_input_type": "pandas.DataFrame",
        "oml_na_omit": True,
        "oml_connect": 1,
        "oml_graphics_flag": False,
        "oml_parallel_flag": True,
        "oml_service_level": "high",
        "oml_async_flag": False,
        "oml_of_next_year": {"x": 1},
    }
    for given in (json.dumps({**control, "timeout": 5}), {**control, "timeout": 5}):
        answer = _run(alice, "do-eval", {"parameters": given})
        assert answer.json() == {"result": [[], {"timeout": ["int", "5"]}]}


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ({"oml_graphics_flag": "maybe"}, ["oml_graphics_flag", "true or false"]),
        ({"oml_service_level": "GPU"}, ["GPU", "LOW, MEDIUM, HIGH"]),
    ],
    ids=json.dumps,
)
def test_a_control_argument_that_cannot_be_honoured_is_refused(
    alice: Caller, echo: str, control: dict[str, object], words: list[str]
) -> None:
    assert echo
    answer = _run(alice, "do-eval", {"parameters": json.dumps(control)})
    assert answer.status_code == 400
    assert all(word in answer.json()["errorMessage"] for word in words)


def test_arguments_are_fresh_for_every_call(alice: Caller) -> None:
    """A call that changes a list that it was given does not change the next one's."""
    alice.store("appends", "def appends(i, a):\n    a.append(i)\n    return a\n")
    answer = alice.index_apply("appends", {"times": 3, "parameters": '{"a":[0]}'})
    assert answer.json() == {"result": [[0, 1], [0, 2], [0, 3]]}


# -------------------------------------------------------------------- what the request points at


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_script", ['"no_such_script"', "of yours", "global", "owner"]),
        ("no_such_script/BOB", ['"no_such_script"', "BOB", "grant"]),
        ("echo/bob", ['"echo"', "BOB", "grant"]),
        ("echo/no_such_owner", ['"echo"', "NO_SUCH_OWNER"]),
        ("Echo", ['"Echo"']),
    ],
)
def test_an_unknown_script_or_owner_is_named_with_what_would_help(
    alice: Caller, echo: str, path: str, words: list[str]
) -> None:
    assert echo
    for verb in ("do-eval", "index-apply"):
        answer = alice.post(f"{RUNS}/v1/{verb}/{path}", json={"times": 1})
        error = answer.json()
        assert (answer.status_code, error["errorCode"]) == (404, 2010)
        assert all(word in error["errorMessage"] for word in words), error


def test_what_was_not_granted_looks_like_what_does_not_exist(
    alice: Caller, bob: Caller, echo: str
) -> None:
    alice.store("private", "def private():\n    return 1\n")
    hidden = bob.do_eval("private/alice").json()
    absent = bob.do_eval("absent/alice").json()
    assert json.dumps(hidden).replace("private", "absent") == json.dumps(absent)
    assert echo


def test_a_pinned_version_is_run_and_named(alice: Caller) -> None:
    for text in ("first", "second", "third"):
        alice.store("versioned", f"def versioned(i=0):\n    return '{text}'\n")
    for version, text in ((1, "first"), (2, "second"), (3, "third"), (None, "third")):
        for verb in ("do-eval", "index-apply"):
            body = {"times": 1, "scriptVersion": version}
            answer = alice.post(f"{RUNS}/v2/{verb}/versioned", json=body)
            value = text if verb == "do-eval" else [text]
            assert answer.json() == {"result": value}
            assert answer.headers["fanfold-script-version"] == str(version or 3)
    answer = alice.do_eval("versioned", {"scriptVersion": 4})
    error = answer.json()
    assert (answer.status_code, error["errorCode"]) == (404, 2011)
    assert "version 4" in error["errorMessage"]
    assert "1 to 3" in error["errorMessage"]


@pytest.mark.parametrize("name", ["seabron", "../default", "/", "default/", "DEFAULT", "\u00e9"])
def test_an_unknown_environment_is_named_with_those_there_are(
    alice: Caller, echo: str, name: str
) -> None:
    assert echo
    answer = _run(alice, "do-eval", {"envName": name})
    _refused(answer, '"envName"', json.dumps(name), "default", code=2012)


def test_a_token_is_needed(alice: Caller, nobody: httpx2.Client, echo: str) -> None:
    for header in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {alice.token}"}):
        answer = nobody.post(f"{RUNS}/v1/do-eval/{echo}", json={}, headers=header)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json()["errorCode"] == 2101
