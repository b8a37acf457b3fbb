"""The compatible service's own examples over HTTP, by their numbers in its wire reference.

Where the reference says "exact", bytes are compared; where it says "shape", every member, its type
and its order in lists. A change of the shape fails here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.acceptance.conftest import Caller, StartServer

RUNS = "/oml/api/py-scripts"
RANDOM_MEANS = (
    b'{"result":[7.203244934421581,0.25926231827891333,7.081478226181048,5.4723224917572235,'
    b"8.707323061773764,3.3197980530117723,7.7991879224011464,9.68540662820932,5.018745921487388,"
    b"0.207519493594015]}"
)
LATER_MEANS = [0.19475241487624584, 7.400496965154048]
"""Values 11 and 12, from another printed example."""

SECURITY_HEADERS = {
    "cache-control": "no-cache, no-store, must-revalidate",
    "pragma": "no-cache",
    "x-frame-options": "SAMEORIGIN",
    "x-xss-protection": "1;mode=block",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "content-security-policy": "frame-ancestors 'none'",
}
COMPUTE_RANDOM_MEAN = """
def compute_random_mean(index):
    import numpy as np

    np.random.seed(index)
    return float((np.random.random((100, 1)) * 10)[1, 0])
"""
RETURN_DF = """
def return_df(num, scale):
    import pandas as pd

    ids = list(range(int(num)))
    return pd.DataFrame({"ID": ids, "RES": [i / scale for i in ids]})
"""


@pytest.fixture(scope="module")
def means(alice: Caller, admin: Caller) -> str:
    """A script of alice's, and a global one of the same text and another name."""
    alice.store("compute_random_mean", COMPUTE_RANDOM_MEAN)
    admin.store("global_random_mean", COMPUTE_RANDOM_MEAN, **{"global": True})
    return "compute_random_mean"


def test_w01_comes_out_byte_for_byte(alice: Caller, means: str) -> None:
    """The documented example: its 196 bytes, and the headers that are printed with it."""
    answer = alice.post(f"{RUNS}/v1/index-apply/{means}", json={"times": 10})
    assert (answer.status_code, answer.content) == (200, RANDOM_MEANS)
    assert len(answer.content) == 196
    assert answer.headers["content-length"] == "196"
    assert answer.headers["content-type"] == "application/json"
    assert "transfer-encoding" not in answer.headers
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert answer.headers["deprecation"].startswith("@")
    assert answer.headers["sunset"].endswith("GMT")


def test_w01_is_the_same_with_v2_but_for_the_end_of_v1(alice: Caller, means: str) -> None:
    answer = alice.post(f"{RUNS}/v2/index-apply/{means}", json={"times": 10})
    assert (answer.status_code, answer.content) == (200, RANDOM_MEANS)
    assert answer.headers["content-length"] == "196"
    assert answer.headers["content-type"] == "application/json"
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert not {"deprecation", "sunset", "warning"} & set(answer.headers)


@pytest.mark.parametrize(
    "more",
    [
        {"parallelFlag": True},
        {"parallelFlag": True, "service": "HIGH", "parallel": 3},
        {"parallel": 2},
        {"parameters": "{}"},
        {"envName": "default"},
    ],
    ids=json.dumps,
)
def test_w01_does_not_depend_on_how_it_is_asked_for(
    alice: Caller, means: str, more: Mapping[str, object]
) -> None:
    answer = alice.index_apply(means, {"times": 10, **more})
    assert (answer.status_code, answer.content) == (200, RANDOM_MEANS)


def test_w01_goes_on_as_printed_elsewhere(alice: Caller, means: str) -> None:
    values = alice.index_apply(means, {"times": 12}).json()["result"]
    assert values == [*json.loads(RANDOM_MEANS)["result"], *LATER_MEANS]


def test_the_legacy_form_of_the_url_is_answered_alike(alice: Caller, means: str) -> None:
    path = f"/oml/tenants/T1/databases/D1/api/py-scripts/v1/index-apply/{means}"
    assert alice.post(path, json={"times": 10}).content == RANDOM_MEANS


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("owner", ["ALICE", "alice", "Alice"])
def test_w02_a_granted_script_is_run_by_its_owners_name(
    alice: Caller, bob: Caller, means: str, version: str, owner: str
) -> None:
    assert alice.put(f"/api/v1/scripts/{means}/grants/bob").is_success
    answer = bob.post(f"{RUNS}/{version}/index-apply/{means}/{owner}", json={"times": 5})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"result": json.loads(RANDOM_MEANS)["result"][:5]}


@pytest.mark.parametrize(
    "path", ["global_random_mean", "global_random_mean/PYQSYS", "global_random_mean/Admin"]
)
def test_w02_a_global_script_is_everyones(bob: Caller, means: str, path: str) -> None:
    assert means
    answer = bob.post(f"{RUNS}/v1/index-apply/{path}", json={"times": 5})
    assert answer.json() == {"result": json.loads(RANDOM_MEANS)["result"][:5]}


def test_ones_own_script_comes_before_a_global_one_of_its_name(
    alice: Caller, bob: Caller, admin: Caller
) -> None:
    admin.store("whose", "def whose():\n    return 'global'\n", **{"global": True})
    alice.store("whose", "def whose():\n    return 'own'\n")
    assert alice.do_eval("whose").content == b'{"result":"own"}'
    assert alice.do_eval("whose/pyqsys").content == b'{"result":"global"}'
    assert bob.do_eval("whose").content == b'{"result":"global"}'


def test_w06_arguments_reach_the_function_and_a_frame_comes_as_records(alice: Caller) -> None:
    alice.store("return_df", RETURN_DF)
    answer = alice.do_eval("return_df", {"parameters": '{"num":10,"scale":100}'})
    records = ",".join(f'{{"ID":{i},"RES":{i / 100:g}}}' for i in range(10))
    assert (answer.status_code, answer.text) == (200, f'{{"result":[{records}]}}')
    assert answer.headers["content-length"] == str(len(answer.content))


# ------------------------------------------------------------------------------- W16: sample bodies

OLD_DO_EVAL = {
    "parameters": '{"ds_name":"ds_pydata"}',
    "asyncFlag": True,
    "graphicsFlag": True,
}
OLD_INDEX = {"times": 3, "parallelFlag": True, "graphicsFlag": True, "service": "MEDIUM"}
OLD_INDEX_OWNED = {"times": 3, "parallelFlag": True, "service": "MEDIUM", "asyncFlag": True}
OLD = [("do-eval", OLD_DO_EVAL), ("index-apply", OLD_INDEX), ("index-apply", OLD_INDEX_OWNED)]


@pytest.fixture(scope="module")
def anything(alice: Caller) -> str:
    alice.store("takes_anything", "def takes_anything(i=0, **rest):\n    return [i, rest]\n")
    return "takes_anything"


@pytest.mark.parametrize("path", ["takes_anything", "takes_anything/ALICE"])
@pytest.mark.parametrize(("verb", "body"), OLD, ids=["do-eval", "index", "index-owned"])
def test_w16_the_old_references_bodies_are_accepted(
    alice: Caller, anything: str, verb: str, body: dict[str, Any], path: str
) -> None:
    """All of each body but `asyncFlag`, of which the next test speaks."""
    assert anything
    waiting = {name: value for name, value in body.items() if name != "asyncFlag"}
    answer = alice.post(f"{RUNS}/v1/{verb}/{path}", json=waiting)
    assert answer.status_code == 200, answer.text
    given = {"ds_name": "ds_pydata"} if verb == "do-eval" else {}
    values = [[i, given] for i in ((0,) if verb == "do-eval" else (1, 2, 3))]
    if not waiting.get("graphicsFlag"):
        assert answer.json() == {"result": values}
        return
    data = [json.dumps(value, separators=(",", ":")) for value in values]
    wanted = (
        [{"DATA": data[0]}]
        if verb == "do-eval"
        else {str(k): {"DATA": text, "TIME": k + 1} for k, text in enumerate(data)}
    )
    assert answer.json() == {"result": wanted}


@pytest.mark.parametrize(
    "body",
    [
        OLD_DO_EVAL,
        OLD_INDEX_OWNED,
        {"times": 1, "asyncFlag": True, "timeout": 300},
        {"times": 1, "parameters": '{"oml_async_flag":true}'},
    ],
    ids=["do-eval", "index-owned", "short-timeout", "control-argument"],
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_w16_the_flag_makes_it_a_job(
    alice: Caller, anything: str, version: str, body: dict[str, Any]
) -> None:
    """Never run as if the flag were not there: 201, nothing in the body, and where the job is."""
    verb = "index-apply" if "times" in body else "do-eval"
    answer = alice.post(f"{RUNS}/{version}/{verb}/{anything}", json=body)
    assert (answer.status_code, answer.content) == (201, b"")
    assert answer.headers["content-length"] == "0"
    assert f"{RUNS}/{version}/jobs/" in answer.headers["location"]


# ------------------------------------------------------------------------------------- W22: errors

TOO_LONG = {"errorMessage": "Output exceeds maximum length 5000", "errorCode": 1024}
LONG = {
    "list": "list(range(n))",
    "str": "'x' * n",
    "dict": "{str(k): k for k in range(n)}",
    "DataFrame": "__import__('pandas').DataFrame({'a': range(n)})",
}


@pytest.mark.parametrize("kind", LONG)
def test_w22_what_has_more_than_5000_parts_is_refused(alice: Caller, kind: str) -> None:
    alice.store("long_value", f"def long_value(n):\n    return {LONG[kind]}\n")
    fits = alice.do_eval("long_value", {"parameters": '{"n":5000}'})
    assert (fits.status_code, len(fits.json()["result"])) == (200, 5000)
    refused = alice.do_eval("long_value", {"parameters": '{"n":5001}'})
    assert refused.status_code == 400
    assert TOO_LONG.items() <= refused.json().items()
    first_members = b'{"errorMessage":"Output exceeds maximum length 5000","errorCode":1024'
    assert refused.content.startswith(first_members)
    assert refused.headers["content-type"] == "application/json"


def test_w22_the_limit_holds_for_each_call_and_not_for_all_together(alice: Caller) -> None:
    source = "def long_values(i, n):\n    return list(range(n + (i == 2)))\n"
    alice.store("long_values", source)
    fits = alice.index_apply("long_values", {"times": 3, "parameters": '{"n":4999}'})
    assert [len(value) for value in fits.json()["result"]] == [4999, 5000, 4999]
    refused = alice.index_apply("long_values", {"times": 3, "parameters": '{"n":5000}'})
    assert (refused.status_code, refused.json()["index"]) == (400, 2)
    assert TOO_LONG.items() <= refused.json().items()


def test_more_than_5000_calls_are_answered(alice: Caller) -> None:
    """The limit counts what a call returns, not the list that index-apply makes of it."""
    alice.store("itself", "def itself(i):\n    return i\n")
    answer = alice.index_apply("itself", {"times": 5001})
    assert answer.json() == {"result": list(range(1, 5002))}


PRINTS = """
def prints(how):
    import os, subprocess, sys

    if how == "print":
        print('{"result": 7}')
    elif how == "stderr":
        print("careful", file=sys.stderr)
    elif how == "descriptor":
        os.write(1, b"}}}")
    elif how == "process":
        subprocess.run(["echo", "from a process"], check=True)
    return 1
"""


@pytest.mark.parametrize("how", ["print", "stderr", "descriptor", "process"])
def test_what_a_function_prints_never_breaks_the_answer(alice: Caller, how: str) -> None:
    alice.store("prints", PRINTS)
    answer = alice.do_eval("prints", {"parameters": json.dumps({"how": how})})
    assert (answer.status_code, answer.content) == (200, b'{"result":1}')


def test_w22_printing_is_1026_with_the_switch_on(start_server: StartServer) -> None:
    """One more server, for the settings that make fanfold as strict as the original."""
    server = start_server("--print-is-error", "--strict", users={"alice": "developer"})
    with server.caller("alice") as alice:
        alice.store("prints", PRINTS)
        answer = alice.do_eval("prints", {"parameters": '{"how":"print"}'})
        error = answer.json()
        assert (answer.status_code, error["errorCode"]) == (400, 1026)
        assert error["errorMessage"] == (
            "Output malformed JSON. This could be caused by explicitly calling print() in the "
            "executed Python script. Remove print() call from the script should solve the issue."
        )
        silent = alice.do_eval("prints", {"parameters": '{"how":"not at all"}'})
        assert silent.content == b'{"result":1}'
        for timeout in (0, 300, 1799, 43201):
            answer = alice.do_eval("prints", {"asyncFlag": True, "timeout": timeout})
            error = answer.json()
            assert (answer.status_code, error["errorCode"], error["field"]) == (
                400,
                2002,
                "timeout",
            )
            assert f"is {timeout}" in error["errorMessage"]
            assert "1800 to 43200" in error["errorMessage"]
        for timeout in (1800, 43200):
            body = {"timeout": timeout, "parameters": '{"how":"not at all"}'}
            answer = alice.do_eval("prints", body)
            assert answer.status_code == 200
            assert not any("timeout" in text for text in answer.headers.get_list("warning"))
