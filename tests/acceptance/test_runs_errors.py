"""Runs that fail, and randomness: what the caller is told, and what follows from the seed."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Caller, Server

RAISES = """import json


class Trouble(Exception):
    pass


def raises(i, at=2, how="value"):
    def helper():
        raise ValueError(f"call {i}")

    if i < at:
        return i
    if how == "value":
        helper()
    elif how == "library":
        json.loads("{")
    elif how == "own":
        raise Trouble("of ours") from KeyError("cause")
    elif how == "empty":
        raise RuntimeError
    elif how == "exit":
        raise SystemExit(3)
    elif how == "interrupt":
        raise KeyboardInterrupt
    elif how == "object":
        return object()
    elif how == "set":
        return {1}
    return i
"""


@pytest.fixture(scope="module")
def raises(alice: Caller) -> str:
    alice.store("raises", RAISES)
    return "raises"


def _apply(alice: Caller, script: str, **members: object) -> httpx2.Response:
    return alice.index_apply(script, members)


def test_a_raised_exception_is_400_with_the_users_lines_alone(alice: Caller, raises: str) -> None:
    answer = _apply(alice, raises, times=3)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.content))
    error = answer.json()
    assert list(error) == ["errorMessage", "errorCode", "errorType", "traceback", "index"]
    assert error["errorMessage"] == "ValueError: call 2"
    assert (error["errorCode"], error["errorType"], error["index"]) == (3001, "ValueError", 2)
    assert error["traceback"] == (
        "Traceback (most recent call last):\n"
        '  File "<raises>", line 15, in raises\n'
        "    helper()\n"
        '  File "<raises>", line 10, in helper\n'
        '    raise ValueError(f"call {i}")\n'
        "ValueError: call 2\n"
    )


def test_do_eval_has_no_index(alice: Caller) -> None:
    alice.store("raises_once", "def raises_once():\n    raise ValueError('no')\n")
    answer = alice.do_eval("raises_once")
    assert answer.status_code == 400
    assert list(answer.json()) == ["errorMessage", "errorCode", "errorType", "traceback"]


@pytest.mark.parametrize(
    ("how", "told", "message"),
    [
        ("library", (3001, "json.decoder.JSONDecodeError"), "Expecting property name"),
        ("own", (3001, "Trouble"), "Trouble: of ours"),
        ("empty", (3001, "RuntimeError"), "RuntimeError"),
        ("exit", (3001, "SystemExit"), "SystemExit: 3"),
        ("interrupt", (3001, "KeyboardInterrupt"), "KeyboardInterrupt"),
        ("object", (3003, "NotJson"), "object"),
        ("set", (3003, "NotJson"), "sorted"),
    ],
)
def test_each_way_to_fail_has_its_code_and_words(
    alice: Caller, raises: str, how: str, told: tuple[int, str], message: str
) -> None:
    answer = _apply(alice, raises, times=2, parameters=json.dumps({"how": how}))
    error = answer.json()
    assert answer.status_code == 400
    assert (error["errorCode"], error["errorType"]) == told
    assert message in error["errorMessage"]
    assert error["index"] == 2
    traceback = error.get("traceback", "")
    assert not any(word in traceback for word in ("fanfold", "/lib/", "site-packages", ".pyz"))


@pytest.mark.parametrize(
    ("source", "code", "kind"),
    [
        ("x = 1 / 0\ndef broken(i=0):\n    return 1\n", 3002, "ZeroDivisionError"),
        ("import no_such_module\ndef broken(i=0):\n    return 1\n", 3002, "ModuleNotFoundError"),
        ("def broken(i=0):\n    return 1\ndel broken\n", 3002, "NameError"),
        ("def broken(i=0):\n    import no_such_module\n", 3001, "ModuleNotFoundError"),
        ("def broken(a, b, i=0):\n    return 1\n", 2009, "TypeError"),
    ],
    ids=["module-level", "import", "deleted", "import-inside", "arguments"],
)
def test_a_script_that_cannot_be_called_says_why(
    alice: Caller, source: str, code: int, kind: str
) -> None:
    alice.store("broken", source)
    for answer in (alice.do_eval("broken"), _apply(alice, "broken", times=2)):
        error = answer.json()
        assert (answer.status_code, error["errorCode"]) == (400, code), error
        assert error["errorType"] == kind


def test_an_error_names_seed_and_version_as_an_answer_does(alice: Caller, raises: str) -> None:
    answer = _apply(alice, raises, times=2, seed=5)
    assert (answer.status_code, answer.headers["fanfold-seed"]) == (400, "5")
    assert int(answer.headers["fanfold-script-version"]) >= 1


# --------------------------------------------------------------------------------------- onError


def test_fail_is_the_default_and_the_first_error_ends_the_run(alice: Caller) -> None:
    """The calls beside the failed one are stopped, those after it never begun."""
    source = (
        "import time\n\n\ndef third_fails(i):\n    if i == 3:\n        raise ValueError(i)\n"
        "    time.sleep(0 if i < 3 else 30)\n    return i\n"
    )
    alice.store("third_fails", source)
    for more in ({}, {"onError": "fail"}, {"onError": None}, {"parallel": 2}):
        began = time.monotonic()
        answer = _apply(alice, "third_fails", times=50, **more)
        assert (answer.status_code, answer.json()["index"]) == (400, 3)
        assert time.monotonic() - began < 25  # and not the 30 s of the calls beside it


@pytest.mark.parametrize("more", [{}, {"parallelFlag": True, "service": "HIGH"}], ids=json.dumps)
def test_continue_answers_null_for_each_failed_call_and_lists_the_errors(
    alice: Caller, more: dict[str, object]
) -> None:
    source = (
        "def odd_fail(i):\n    if i % 2:\n        raise ValueError(f'odd {i}')\n    return [i]\n"
    )
    alice.store("odd_fail", source)
    answer = _apply(alice, "odd_fail", times=7, onError="continue", **more)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    said = answer.json()
    assert list(said) == ["result", "errors"]
    assert said["result"] == [None, [2], None, [4], None, [6], None]
    assert [list(error) for error in said["errors"]] == [
        ["index", "code", "type", "message", "traceback"]
    ] * 4
    for index, error in zip((1, 3, 5, 7), said["errors"], strict=True):
        assert error == {
            "index": index,
            "code": 3001,
            "type": "ValueError",
            "message": f"odd {index}",
            "traceback": (
                "Traceback (most recent call last):\n"
                '  File "<odd_fail>", line 3, in odd_fail\n'
                "    raise ValueError(f'odd {i}')\n"
                f"ValueError: odd {index}\n"
            ),
        }


def test_continue_without_a_failure_adds_nothing(alice: Caller) -> None:
    alice.store("fine", "def fine(i=0):\n    return i\n")
    assert _apply(alice, "fine", times=2, onError="continue").content == b'{"result":[1,2]}'
    assert alice.do_eval("fine", {"onError": "continue"}).content == b'{"result":0}'


def test_continue_holds_for_every_kind_of_failure(alice: Caller) -> None:
    """Too long, no JSON, killed: each fails its own call alone."""
    source = """
def each_its_own(i):
    import os, signal

    if i == 1:
        return list(range(5001))
    if i == 2:
        return object()
    if i == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if i == 4:
        os._exit(7)
    return i
"""
    alice.store("each_its_own", source)
    said = _apply(alice, "each_its_own", times=6, onError="continue", parallel=2).json()
    assert said["result"] == [None, None, None, None, 5, 6]
    assert [(e["index"], e["code"]) for e in said["errors"]] == [
        (1, 1024),
        (2, 3003),
        (3, 3005),
        (4, 3005),
    ]
    messages = [error["message"] for error in said["errors"]]
    assert messages[0] == "Output exceeds maximum length 5000"
    assert "SIGKILL" in messages[2]
    assert "index 3" in messages[2]
    assert "exit status 7" in messages[3]


def test_do_eval_that_fails_with_continue_is_null(alice: Caller) -> None:
    alice.store("raises_once", "def raises_once():\n    raise ValueError('no')\n")
    said = alice.do_eval("raises_once", {"onError": "continue"}).json()
    assert said["result"] is None
    assert [(e["code"], e["type"], e["message"]) for e in said["errors"]] == [
        (3001, "ValueError", "no")
    ]


def test_what_fails_every_call_ends_the_run_even_with_continue(alice: Caller) -> None:
    alice.store("broken_all", "import no_such_module\n\ndef broken_all(i):\n    return i\n")
    answer = _apply(alice, "broken_all", times=100, onError="continue")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 3002)


# ------------------------------------------------------------------------------------------ seed

DRAWS = """
def draws_numbers(i=0, rng=None):
    import random

    import numpy as np

    return [random.random(), float(np.random.random()), float(rng.random()), rng.integers(10**9)]
"""


@pytest.fixture(scope="module")
def draws(alice: Caller) -> str:
    alice.store("draws_numbers", DRAWS.replace("rng=None", "rng").replace("i=0, rng", "i, rng"))
    return "draws_numbers"


def test_without_a_seed_a_fresh_one_is_drawn_and_told(alice: Caller, draws: str) -> None:
    answers = [_apply(alice, draws, times=2) for _ in range(3)]
    assert len({answer.headers["fanfold-seed"] for answer in answers}) == 3
    assert len({answer.content for answer in answers}) == 3
    told = int(answers[0].headers["fanfold-seed"])
    assert 0 <= told < 2**53  # exact in every client's numbers
    assert _apply(alice, draws, times=2, seed=told).content == answers[0].content


def test_the_same_seed_gives_the_same_bytes_whatever_the_degree(alice: Caller, draws: str) -> None:
    wanted = _apply(alice, draws, times=40, seed=7)
    assert (wanted.status_code, wanted.headers["fanfold-seed"]) == (200, "7")
    values: list[Any] = wanted.json()["result"]
    assert len({json.dumps(value) for value in values}) == 40
    ways: list[dict[str, object]] = [
        {"parallelFlag": True},
        {"parallelFlag": True, "service": "HIGH"},
        {"parallel": 3, "service": "MEDIUM", "onError": "continue"},
    ]
    for more in ways:
        again = _apply(alice, draws, times=40, seed=7, **more)
        assert again.content == wanted.content
    fewer = _apply(alice, draws, times=3, seed=7).json()["result"]
    assert fewer == values[:3]  # the value at an index does not depend on how many there are
    assert _apply(alice, draws, times=40, seed=8).json()["result"][0] != values[0]


def test_the_same_seed_gives_the_same_bytes_when_a_worker_is_lost(
    server: Server, alice: Caller
) -> None:
    """The first process that reaches call 5 kills itself; the call is begun again elsewhere."""
    source = """
def loses_one(i, marker):
    import os, random, signal

    import numpy as np

    value = [random.random(), float(np.random.random())]
    if i == 5 and not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return value
"""
    alice.store("loses_one", source)
    answers = []
    for run in range(2):
        marker = str(server.shared / f"marker-{time.monotonic_ns()}")
        body = {"parameters": json.dumps({"marker": marker}), "parallel": 1 + run}
        answers.append(_apply(alice, "loses_one", times=20, seed=3, **body))
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    assert answers[0].content == answers[1].content


def test_do_eval_follows_its_seed_too(alice: Caller) -> None:
    alice.store(
        "draw_one",
        DRAWS.replace("def draws_numbers", "def draw_one")
        .replace("rng=None", "rng")
        .replace("i=0, ", ""),
    )
    first, second, other = (alice.do_eval("draw_one", {"seed": s}).content for s in (1, 1, 2))
    assert first == second != other


def test_a_scripts_own_seed_and_own_rng_win(alice: Caller) -> None:
    """The documented example seeds itself; `rng` in the parameters is an ordinary argument."""
    source = (
        "def own_seed(i, rng):\n    import random\n    random.seed(i)\n"
        "    return [random.random(), rng]\n"
    )
    alice.store("own_seed", source)
    bodies = [{"times": 2, "seed": s, "parameters": '{"rng":"mine"}'} for s in (1, 2)]
    first, second = (alice.index_apply("own_seed", body).json() for body in bodies)
    assert first == second
    assert [value[1] for value in first["result"]] == ["mine", "mine"]
