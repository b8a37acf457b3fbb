"""The compatible service's asynchronous examples over HTTP, by their numbers in its wire reference.

And what real clients make of them: SQL users who cut the id out of the address, and dbt.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.acceptance.conftest import Caller, Server, StartServer
from tests.acceptance.job_calls import RUNS, SLEEPER, ended, id_of, running, submit, submitted

V1_BODY = re.compile(
    r'\{"createdDate":" [A-Z][a-z]{2} \d{2},\d{4} \d{2}:\d{2}","status":"job is still running",'
    r'"elapsedTime":"\d{2}:\d{2}:\d{2}"\}'
)
V2_BODY = re.compile(
    r'\{"createdDate":"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} UTC","status":"job is still running",'
    r'"elapsedTime":"\d{2}:\d{2}:\d{2}"\}'
)
BOTH = pytest.mark.parametrize("version", ["v1", "v2"])
ABSENT = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def scripts(alice: Caller) -> None:
    alice.store("job_square", "def job_square(i):\n    return i * i\n")
    alice.store(
        "job_frame", "def f():\n    import pandas as pd\n    return pd.DataFrame({'result': [1]})\n"
    )
    alice.store("job_named", "def job_named(ds_name=None):\n    return ds_name\n")
    alice.store("job_sleeper", SLEEPER)
    alice.store("job_raises", "def job_raises(i=0):\n    raise ValueError('no luck')\n")
    alice.store(
        "job_draws",
        "def job_draws(i=0):\n    import matplotlib.pyplot as plt\n"
        "    plt.plot([1, i])\n    plt.title(f'Title {i}')\n    return i\n",
    )


pytestmark = pytest.mark.usefixtures("scripts")


# ------------------------------------------------------------------------------------- W17, W18


@BOTH
def test_w17_round_trip(alice: Caller, server: Server, version: str) -> None:
    """Submit, poll, fetch: status codes, headers and bodies as they are printed."""
    answer = submitted(alice, "do-eval", "job_sleeper", version, parameter="a slip", service="LOW")
    location = answer.headers["location"]
    assert answer.content == b""
    assert answer.headers["content-length"] == "0"
    assert "content-type" not in answer.headers
    assert location.startswith(f"{server.url}{RUNS}/{version}/jobs/")
    assert str(uuid.UUID(id_of(location))) == location[-36:]

    polled = alice.get(location)
    assert polled.status_code == 202
    assert (V1_BODY if version == "v1" else V2_BODY).fullmatch(polled.text)
    assert version == "v2" or polled.headers["content-length"] == "93"
    early = alice.get(f"{location}/result")
    assert early.status_code == 404
    assert isinstance(early.json()["errorMessage"], str)
    assert alice.delete(location).json() == {"result": "job deleted successfully"}

    location = submit(alice, "index-apply", "job_square", version, times=3, parallelFlag=True)
    ended(alice, location)
    done = alice.get(location)
    assert done.status_code == 302
    assert done.content == b""
    assert done.headers["content-length"] == "0"
    assert done.headers["content-location"] == f"{location}/result"
    assert "location" not in done.headers
    assert "content-type" not in done.headers
    result = alice.get(f"{location}/result")
    assert (result.status_code, result.content) == (200, b'{"result":[1,4,9]}')
    assert result.headers["content-length"] == "18"
    assert result.headers["content-type"] == "application/json"


@BOTH
@pytest.mark.parametrize(("timeout", "used"), [(300, 1800), (4800, 4800), (99_999, 43_200)])
def test_w18_a_timeout_out_of_range_is_put_right(
    alice: Caller, version: str, timeout: int, used: int
) -> None:
    answer = submitted(alice, "do-eval", "job_frame", version, timeout=timeout)
    warnings = answer.headers.get_list("warning")
    assert any("out of range" in warning for warning in warnings) is (timeout != used)
    job = alice.get(f"/api/v1/jobs/{id_of(answer.headers['location'])}").json()
    assert job["timeout"] == used


@BOTH
@pytest.mark.parametrize(
    ("verb", "script", "members"),
    [
        ("do-eval", "job_named", {"parameters": '{"ds_name":"ds_pydata"}'}),
        ("do-eval", "job_draws", {"graphicsFlag": True}),
        ("index-apply", "job_square", {"times": 3, "parallelFlag": True, "service": "MEDIUM"}),
        ("index-apply", "job_square/ALICE", {"times": 3, "parallelFlag": True}),
        ("index-apply", "job_draws", {"times": 3, "graphicsFlag": True}),
    ],
    ids=json.dumps,
)
def test_w16_a_job_answers_what_a_call_answers(
    alice: Caller, version: str, verb: str, script: str, members: Mapping[str, object]
) -> None:
    """Byte for byte, with `Content-Length` or in chunks as the call's answer."""
    called = alice.post(f"{RUNS}/{version}/{verb}/{script}", json={**members, "seed": 1})
    location = submit(alice, verb, script, version, seed=1, **members)
    ended(alice, location)
    result = alice.get(f"{location}/result")
    assert (result.status_code, result.content) == (200, called.content)
    compared = ("content-type", "content-length", "transfer-encoding", "fanfold-seed")
    for name in compared:
        assert result.headers.get(name) == called.headers.get(name)


def test_a_large_result_comes_in_chunks_and_is_whole(alice: Caller) -> None:
    alice.store("job_large", "def job_large(i):\n    return 'x' * 4_000\n")
    members: dict[str, Any] = {"times": 600, "parallelFlag": True}
    called = alice.index_apply("job_large", members)
    location = submit(alice, "index-apply", "job_large", **members)
    ended(alice, location)
    result = alice.get(f"{location}/result")
    assert result.content == called.content
    assert len(result.content) > 2_000_000
    assert result.headers["transfer-encoding"] == "chunked"


@BOTH
def test_a_job_that_fails_ends_with_302_and_its_result_is_the_error(
    alice: Caller, version: str
) -> None:
    location = submit(alice, "index-apply", "job_raises", version, times=2)
    job = ended(alice, location)
    assert job["state"] == "failed"
    assert alice.get(location).status_code == 302
    result = alice.get(f"{location}/result")
    called = alice.post(f"{RUNS}/{version}/index-apply/job_raises", json={"times": 2})
    assert (result.status_code, result.json()) == (400, called.json())
    assert result.json()["errorMessage"] == "ValueError: no luck"


def test_a_job_is_refused_at_submission_where_a_call_is(alice: Caller) -> None:
    for body in (
        {"times": 0},
        {"times": 2, "envName": "no_such_environment"},
        {"times": 2, "comments": "nul \0"},
        {"times": 2, "maxFailures": 3},
        {"times": 2, "callTimeout": 0},
    ):
        answer = alice.index_apply("job_square", {"asyncFlag": True, **body})
        assert answer.status_code == 400, body
        assert "location" not in answer.headers
    answer = alice.index_apply("no_such_script", {"asyncFlag": True, "times": 1})
    assert answer.status_code == 404


# --------------------------------------------------------------------------------- Location, prefix


@pytest.mark.parametrize("host", ["fanfold.example", "fanfold.example:8443", "[::1]:8000"])
def test_the_location_begins_with_what_the_client_used(alice: Caller, host: str) -> None:
    answer = submitted(alice, "do-eval", "job_frame", headers={"Host": host})
    assert answer.headers["location"].startswith(f"http://{host}{RUNS}/v1/jobs/")


def test_the_legacy_prefix_comes_back(alice: Caller, server: Server) -> None:
    root = "/oml/tenants/ocid1.x/databases/MY%20DB"
    answer = alice.post(f"{root}/api/py-scripts/v1/do-eval/job_frame", json={"asyncFlag": True})
    location = answer.headers["location"]
    assert location.startswith(f"{server.url}{root}/api/py-scripts/v1/jobs/")
    ended(alice, location)
    assert alice.get(location).headers["content-location"] == f"{location}/result"
    assert alice.get(f"{location}/result").json() == {"result": [{"result": 1}]}


def test_no_path_of_a_client_becomes_a_header(alice: Caller) -> None:
    """A line break in the prefix that comes back must not end the header that it is in."""
    root = "/oml/tenants/a%0d%0aX-Evil:%20yes/databases/d"
    answer = alice.post(f"{root}/api/py-scripts/v1/do-eval/job_frame", json={"asyncFlag": True})
    assert answer.status_code == 201
    assert "x-evil" not in answer.headers
    assert "%0D%0A" in answer.headers["location"]


# ----------------------------------------------------------------------------- W19, delete, cancel


@BOTH
def test_w19_delete_a_running_job(alice: Caller, version: str) -> None:
    location = submit(alice, "do-eval", "job_sleeper", version, service="LOW", timeout=4800)
    running(alice, location)
    deleted = alice.delete(location)
    assert (deleted.status_code, len(deleted.content)) == (200, 37)
    assert deleted.content == b'{"result":"job deleted successfully"}'
    assert alice.get(location).status_code == 404
    assert alice.delete(location).status_code == 404


def test_v1_deletes_only_what_runs_and_v2_any(alice: Caller) -> None:
    location = submit(alice, "do-eval", "job_frame", "v1")
    ended(alice, location)
    refused = alice.delete(location)
    assert (refused.status_code, refused.json()["errorCode"]) == (400, 2024)
    assert alice.delete(location.replace("/v1/", "/v2/")).status_code == 200
    assert alice.get(location).status_code == 404


def test_cancel_keeps_the_record(alice: Caller) -> None:
    location = submit(alice, "do-eval", "job_sleeper", "v2", comments="keep me")
    running(alice, location)
    assert alice.post(f"{location}/cancel").status_code == 200
    assert alice.get(location).status_code == 302
    result = alice.get(f"{location}/result")
    assert result.status_code == 400
    assert isinstance(result.json()["errorMessage"], str)
    listed = alice.get(f"{RUNS}/v2/jobs", params={"comments": "keep me"}).json()["result"]
    assert [(job["job_id"], job["status"]) for job in listed] == [(id_of(location), "cancelled")]
    again = alice.post(f"{location}/cancel")
    assert (again.status_code, again.json()["errorCode"]) == (400, 2024)


@BOTH
@pytest.mark.parametrize("job", [ABSENT, "no-id", "%00", "%ff", "..%2f..", "x" * 2000])
def test_an_unknown_job_is_404(alice: Caller, version: str, job: str) -> None:
    """Also where the manual says 500: a client that polls stops at both, and 404 is true."""
    base = f"{RUNS}/{version}/jobs/{job}"
    answers = [alice.get(base), alice.get(f"{base}/result"), alice.delete(base)]
    if version == "v2":
        answers.append(alice.post(f"{base}/cancel"))
    for answer in answers:
        assert answer.status_code == 404
        assert isinstance(answer.json()["errorMessage"], str)


def test_a_job_of_another_is_unknown(alice: Caller, bob: Caller) -> None:
    location = submit(alice, "do-eval", "job_frame", "v2", comments="not for bob")
    ended(alice, location)
    for method, path in (("GET", ""), ("GET", "/result"), ("DELETE", ""), ("POST", "/cancel")):
        answer = bob.request(method, location + path)
        assert (answer.status_code, answer.json()["errorCode"]) == (404, 2021)
    mine = {"comments": "not for bob"}
    assert bob.get(f"{RUNS}/v2/jobs", params=mine).json() == {"result": []}
    assert bob.delete(f"{RUNS}/v2/jobs", params=mine).json()["count"] == 0
    assert alice.get(f"{location}/result").status_code == 200


# ----------------------------------------------------------------------------------- W20, list


@pytest.fixture
def carol(server: Server) -> Caller:
    """An account of the test's own, so that no other test's jobs are in its lists."""
    name = f"carol_{uuid.uuid4().hex[:8]}"
    server.add_user(name)
    return server.caller(name)


def test_w20_list_filter_and_delete(carol: Caller) -> None:
    """The documented shape, newest first; filters narrow it; a deletion needs one."""
    carol.store("frame", "def frame(i=0):\n    return i\n")
    carol.store("sleeper", SLEEPER)
    first = submit(carol, "do-eval", "frame", comments="batch 1, first")
    ended(carol, first)
    second = submit(carol, "index-apply", "frame", "v2", times=2, comments="batch 1, second")
    ended(carol, second)
    third = submit(carol, "do-eval", "sleeper", "v2")
    ids = [id_of(third), id_of(second), id_of(first)]

    def listed(**filters: object) -> list[str]:
        params = {name: str(value) for name, value in filters.items()}
        answer = carol.get(f"{RUNS}/v2/jobs", params=params)
        assert answer.status_code == 200, answer.text
        return [job["job_id"] for job in answer.json()["result"]]

    jobs = carol.get(f"{RUNS}/v2/jobs").json()["result"]
    assert [job["job_id"] for job in jobs] == ids
    assert [job["status"] for job in jobs] == ["job is still running", "FINISH", "FINISH"]
    for job in jobs:
        assert {"createdDate", "job_id", "status", "elapsedTime"} < set(job)
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} UTC", job["createdDate"])
        assert re.fullmatch(r"\d{2}:\d{2}:\d{2}", job["elapsedTime"])
    assert jobs[2]["comments"] == "batch 1, first"

    assert listed(status="FINISH") == listed(status="finish") == ids[1:]
    assert listed(status="running") == listed(status="job is still running") == ids[:1]
    assert listed(status="Cancelled") == []
    assert listed(comments="batch 1%") == ids[1:]
    assert listed(comments="batch 1%", status="cancelled") == []
    assert listed(comments="%second") == ids[1:2]
    assert listed(age=0, status="running") == ids[:1]
    assert listed(age=3600) == []

    for params in ({}, {"stauts": "finish"}, {"status": "done"}, {"age": "-1"}, {"age": "x"}):
        answer = carol.delete(f"{RUNS}/v2/jobs", params=params)
        assert answer.status_code == 400, params
        assert isinstance(answer.json()["errorMessage"], str)
    assert listed() == ids

    deleted = carol.delete(f"{RUNS}/v2/jobs", params={"status": "finish", "comments": "%first"})
    assert deleted.json() == {"result": "jobs deleted successfully", "count": 1}
    assert listed() == ids[:2]
    assert carol.delete(f"{RUNS}/v2/jobs", params={"age": 0}).json()["count"] == 2
    assert listed() == []
    carol.close()


# ------------------------------------------------------------------------------------------ clients


class DbtClient:
    """What dbt's Oracle adapter does, step by step, told from its behaviour on the wire.

    It follows redirects when there is a `Location`, as its HTTP library does by default; puts its
    base URL before a location that does not begin with it; polls until 302; builds the address of
    the result by itself; takes `errorMessage` in the body for failure before it looks at a status.
    """

    def __init__(self, base_url: str, name: str, password: str) -> None:
        self.base_url = base_url
        self.session = httpx2.Client(follow_redirects=True, timeout=60)
        body = {"grant_type": "password", "username": name, "password": password}
        token = self.session.post(f"{base_url}/omlusers/api/oauth2/v1/token", json=body).json()
        assert token["expiresIn"] > 0
        self.session.headers["Authorization"] = f"Bearer {token['accessToken']}"

    def submit(self, script: str, **members: object) -> str:
        path = f"{self.base_url}/oml/api/py-scripts/v1/do-eval/{script}"
        answer = self.session.post(path, json={"service": "HIGH", **members})
        answer.raise_for_status()
        location: str = answer.headers["location"]
        if location.startswith(self.base_url):
            return location
        return self.base_url + location

    def poll(self, location: str) -> bool:
        answer = self.session.get(location)
        if answer.status_code in {302, 500}:
            return True
        assert answer.json()["status"] == "job is still running"
        return False

    def result(self, location: str) -> Any:
        body = self.session.get(f"{location}/result").json()
        if "errorMessage" in body:
            raise RuntimeError(body["errorMessage"])
        return body["result"]


def test_dbt_runs_a_model(start_server: StartServer) -> None:
    """Keyword arguments from text, polling to 302 without being led on, a data frame's answer."""
    server = start_server(users={"alice": "developer"})
    with server.caller("alice") as alice:
        alice.store(
            "x_dbt_py_script",
            "def main(action, client_identifier, clientinfo, module):\n"
            "    import pandas as pd\n"
            "    assert action == 'run', action\n"
            "    return pd.DataFrame({'result': [1]})\n",
        )
        arguments = dict.fromkeys(("client_identifier", "clientinfo", "module"), "dbt")
        for base_url in (server.url, f"http://localhost:{urlsplit(server.url).port}"):
            dbt = DbtClient(base_url, "alice", "correct horse battery")
            for action, outcome in (("run", [{"result": 1}]), ("stop", "AssertionError: stop")):
                text = json.dumps({"action": action, **arguments})
                location = dbt.submit(
                    "x_dbt_py_script", parameters=text, asyncFlag=True, timeout=1800
                )
                assert location.startswith(base_url)
                ended(alice, location)
                assert dbt.poll(location)
                if action == "run":
                    assert dbt.result(location) == outcome
                else:
                    with pytest.raises(RuntimeError, match=str(outcome)):
                        dbt.result(location)
            dbt.session.close()
