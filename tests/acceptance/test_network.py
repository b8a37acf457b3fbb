"""What functions may reach: an administrator gives, an owner takes, and nobody else decides."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Caller, Server, StartServer, run_fanfold
from tests.acceptance.job_calls import ended, id_of, submit

URL = "/api/v1/scripts/reaches/network"
GRANT = "/api/v1/network-grants/alice/reaches"
REACHES = """
def reaches(port):
    import os, socket
    try:
        with socket.create_connection(("127.0.0.1", port), 5):
            return [os.getpid(), "connected"]
    except OSError as exc:
        return [os.getpid(), type(exc).__name__]
"""
FULL = {"policy": "full", "hosts": []}
NONE = {"policy": "none", "hosts": []}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server beside fanfold, on its machine."""
    handler = http.server.BaseHTTPRequestHandler
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as beside:
        thread = threading.Thread(target=beside.serve_forever)
        thread.start()
        yield beside.server_address[1]
        beside.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def owner(server: Server, alice: Caller) -> Caller:
    with server.client() as client:
        rung = client.get("/health").json()["isolation"]["rung"]
    if rung in {"none", "basic"}:
        pytest.skip("no rung that works here keeps the network away")
    alice.store("reaches", REACHES)
    return alice


@pytest.fixture(autouse=True)
def _undecided(owner: Caller, admin: Caller) -> Iterator[None]:
    yield
    assert owner.put(URL, json=FULL).is_success
    admin.delete(GRANT)


def reached(caller: Caller, port: int, script: str = "reaches") -> Any:
    answer = caller.do_eval(script, {"parameters": {"port": port}})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def decided(answer: httpx2.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def test_a_script_reaches_nothing_until_an_administrator_grants_it(
    owner: Caller, admin: Caller, port: int
) -> None:
    process, said = reached(owner, port)
    assert said != "connected"
    granted = decided(admin.put(GRANT, json={"policy": "full"}))
    assert granted == {"owner": "ALICE", "name": "reaches", **FULL}
    other, said = reached(owner, port)
    assert said == "connected"
    assert other != process or reached(owner, port)[0] == other
    assert decided(admin.get("/api/v1/network-grants"))["grants"] == [granted]
    assert admin.delete(GRANT).status_code == 204
    assert reached(owner, port)[1] != "connected"
    assert admin.delete(GRANT).status_code == 404


def test_jobs_have_what_is_decided_when_they_run(owner: Caller, admin: Caller, port: int) -> None:
    assert admin.put(GRANT, json={"policy": "full"}).is_success
    job = submit(owner, "do-eval", "reaches", parameters={"port": port})
    ended(owner, job)
    assert "connected" in owner.get(f"/api/v1/jobs/{id_of(job)}/results").text
    assert admin.delete(GRANT).is_success
    job = submit(owner, "do-eval", "reaches", parameters={"port": port})
    ended(owner, job)
    assert "connected" not in owner.get(f"/api/v1/jobs/{id_of(job)}/results").text


def test_no_worker_of_one_policy_serves_another(owner: Caller, admin: Caller, port: int) -> None:
    """A process that has had the network keeps its connections."""
    without = {reached(owner, port)[0] for _ in range(3)}
    owner.store("beside", REACHES.replace("reaches", "beside"))
    assert admin.put(GRANT, json={"policy": "full"}).is_success
    answers = [reached(owner, port, script) for script in ("reaches", "beside") * 3]
    assert [said == "connected" for _, said in answers] == [True, False] * 3
    assert without


def test_an_owner_narrows_and_never_widens(owner: Caller, admin: Caller, port: int) -> None:
    assert decided(owner.put(URL, json=FULL)) == {"grant": None, "limit": None}
    assert reached(owner, port)[1] != "connected"
    assert admin.put(GRANT, json={"policy": "full"}).is_success
    assert decided(owner.put(URL, json=NONE)) == {"grant": FULL, "limit": NONE}
    assert reached(owner, port)[1] != "connected"
    said = decided(owner.get(URL))
    assert said == {"grant": FULL, "limit": NONE, "envName": "default", "effective": NONE}
    listing = decided(owner.get("/api/v1/scripts"))["scripts"]
    (entry,) = [script for script in listing if script["name"] == "reaches"]
    assert entry["network"] == {"grant": FULL, "limit": NONE}


def test_only_administrators_grant(owner: Caller, bob: Caller) -> None:
    for caller in (owner, bob):
        for method, url in (("PUT", GRANT), ("DELETE", GRANT), ("GET", "/api/v1/network-grants")):
            body = {"policy": "full"} if method == "PUT" else None
            assert caller.request(method, url, json=body).status_code == 403
    assert bob.put(URL, json=NONE).status_code == 404


def test_lists_are_read_and_written_with_their_ports(owner: Caller, admin: Caller) -> None:
    hosts = ["API.Example.org", "*.data.example.org:8443", "10.0.0.0/8:5432"]
    said = decided(admin.put(GRANT, json={"policy": "allow-list", "hosts": hosts}))
    assert said["hosts"] == [
        "*.data.example.org:8443", "10.0.0.0/8:5432", "api.example.org:443", "api.example.org:80",
    ]  # fmt: skip
    kept = {"policy": "allow-list", "hosts": ["api.example.org:443", "other.example:443"]}
    assert owner.put(URL, json=kept).is_success
    effective = decided(owner.get(URL))["effective"]
    assert effective == {"policy": "allow-list", "hosts": ["api.example.org:443"]}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"policy": "some"}, "policy"),
        ({"policy": "allow-list"}, "hosts"),
        ({"policy": "allow-list", "hosts": ["http://x"]}, "http://x"),
        ({"policy": "none", "hosts": ["x.example"]}, "hosts"),
        ({"policy": "full", "ports": [1]}, "ports"),
    ],
)
def test_what_is_no_policy_is_refused(owner: Caller, body: dict[str, Any], word: str) -> None:
    answer = owner.put(URL, json=body)
    assert answer.status_code in {400, 422}
    assert word in answer.json()["errorMessage"]


def test_changes_are_in_the_audit_log(owner: Caller, admin: Caller) -> None:
    assert admin.put(GRANT, json={"policy": "full"}).is_success
    assert owner.put(URL, json=NONE).is_success
    assert admin.delete(GRANT).is_success
    lines = map(json.loads, admin.get("/api/v1/audit?limit=1000").text.splitlines())
    done = [(line["actor"], line["action"], line["target"]) for line in lines]
    assert ("ADMIN", "network.grant", "alice reaches") in done
    assert ("ALICE", "script.network", "reaches") in done
    assert ("ADMIN", "network.revoke", "alice reaches") in done


def test_the_doctor_says_what_holds_where(tmp_path: Path) -> None:
    hosts = "api.example.org:443,lab=10.0.0.0/8:80"
    variables = {"FANFOLD_NETWORK": "open", "FANFOLD_NETWORK_HOSTS": hosts}
    arguments = ("doctor", "--json", "--data", str(tmp_path / "data"))
    said = json.loads(run_fanfold(*arguments, variables=variables).stdout)
    assert said["network"] == {
        "*": "allow-list api.example.org:443",
        "lab": "allow-list 10.0.0.0/8:80 api.example.org:443",
        "open": "full",
    }
    if said["isolation"]["rung"] != "bwrap":
        assert any("allow-list needs bwrap" in text for text in said["isolation"]["missing"])


def test_an_environment_has_what_the_operator_says(start_server: StartServer, port: int) -> None:
    server = start_server("--network", "default", users={"alice": "developer"})
    with server.caller("alice") as alice, server.client() as anybody:
        isolation = anybody.get("/health").json()["isolation"]
        if isolation["rung"] in {"none", "basic"}:
            pytest.skip("no rung that works here keeps the network away")
        assert isolation["network"] == "environments default"
        alice.store("reaches", REACHES)
        assert reached(alice, port)[1] == "connected"
        assert alice.put(URL, json=NONE).is_success
        assert reached(alice, port)[1] != "connected"
