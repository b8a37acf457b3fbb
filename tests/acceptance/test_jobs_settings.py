"""What an operator's settings do to jobs: links behind a proxy, quotas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Caller, StartServer, serving
from tests.acceptance.job_calls import JOBS, RUNS, SLEEPER, ended, id_of, submit, submitted

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "oml.example:8443, inner"}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A developer of a server that trusts its proxy, and allows two jobs."""
    folder = tmp_path_factory.mktemp("proxied")
    options = ("--trust-forwarded", "--max-user-jobs", "2")
    with (
        serving(folder, *options, users={"alice": "developer"}) as server,
        server.caller("alice") as caller,
    ):
        caller.store("sleeper", SLEEPER)
        caller.store("one", "def one(i=0):\n    return 1\n")
        yield caller


def test_links_are_those_of_the_proxy_that_is_trusted(proxied: Caller) -> None:
    base = f"https://oml.example:8443{RUNS}/v1"
    answer = submitted(proxied, "do-eval", "one", headers=FORWARDED)
    location = answer.headers["location"]
    assert location.startswith(f"{base}/jobs/")
    job = id_of(location)
    ended(proxied, location)
    polled = proxied.get(f"{RUNS}/v1/jobs/{job}", headers=FORWARDED)
    assert polled.headers["content-location"] == f"{base}/jobs/{job}/result"
    resumed = proxied.post(f"{JOBS}/{job}/resume", headers=FORWARDED)
    assert resumed.headers["location"].startswith(f"https://oml.example:8443{JOBS}/")
    described = proxied.get(f"{RUNS}/v1", headers=FORWARDED).json()
    assert described["links"][0]["href"] == base


@pytest.mark.parametrize("proto", ["javascript", "", "HTTPS"])
def test_what_a_proxy_does_not_say_is_the_requests_own(proxied: Caller, proto: str) -> None:
    answer = submitted(proxied, "do-eval", "one", headers={"X-Forwarded-Proto": proto})
    scheme = "https" if proto == "HTTPS" else "http"
    location = answer.headers["location"]
    assert location.startswith(f"{scheme}://{proxied.base_url.netloc.decode()}/")
    ended(proxied, location)


def test_nobody_else_is_believed(alice: Caller) -> None:
    alice.store("set_one", "def one():\n    return 1\n")
    answer = submitted(alice, "do-eval", "set_one", headers=FORWARDED)
    assert answer.headers["location"].startswith(str(alice.base_url))


def test_the_public_url_is_what_links_begin_with(start_server: StartServer) -> None:
    server = start_server("--public-url", "https://oml.example", users={"alice": "developer"})
    with server.caller("alice") as alice:
        alice.store("one", "def one():\n    return 1\n")
        location = submit(alice, "do-eval", "one", "v2")
        assert location.startswith(f"https://oml.example{RUNS}/v2/jobs/")
        ended(alice, location)
        polled = alice.get(f"{RUNS}/v2/jobs/{id_of(location)}")
        assert polled.headers["content-location"] == f"{location}/result"


def test_over_quota_is_429_with_the_figure_until_there_is_room(proxied: Caller) -> None:
    held = [submit(proxied, "do-eval", "sleeper") for _ in range(2)]
    body = {"asyncFlag": True}
    refused = proxied.post(f"{RUNS}/v2/do-eval/one", json=body)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    error = refused.json()
    assert (error["errorCode"], error["limit"], error["used"], error["quota"]) == (
        2025,
        "queued_jobs",
        2,
        2,
    )
    assert proxied.post(f"{RUNS}/v2/do-eval/one").json() == {"result": 1}
    for location in held:
        assert proxied.delete(location).status_code == 200
    ended(proxied, submit(proxied, "do-eval", "one", "v2"))
