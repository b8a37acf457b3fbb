"""What tests do with jobs, over HTTP as a client would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from tests.acceptance.conftest import Caller

RUNS = "/oml/api/py-scripts"
JOBS = "/api/v1/jobs"
SLEEPER = "def sleeper(*_):\n    import time\n\n    time.sleep(1000)\n"


def submit(caller: Caller, verb: str, script: str, version: str = "v1", **members: Any) -> str:
    """Submit a job; gives its address."""
    location: str = submitted(caller, verb, script, version, **members).headers["location"]
    return location


def submitted(
    caller: Caller,
    verb: str,
    script: str,
    version: str = "v1",
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> httpx2.Response:
    """Submit a job; gives the answer, which has been accepted."""
    body = {"asyncFlag": True, **members}
    answer = caller.post(f"{RUNS}/{version}/{verb}/{script}", json=body, headers=headers or {})
    assert answer.status_code == 201, answer.text
    return answer


def id_of(url: str) -> str:
    return url.rsplit("/", 1)[1]


def events(caller: Caller, job: str, last: str | None = None) -> Iterator[tuple[str, str, Any]]:
    """Follow a job; yields the id, the name and the data of each event."""
    headers = {"Last-Event-ID": last} if last is not None else {}
    with caller.stream("GET", f"{JOBS}/{job}/events", headers=headers) as answer:
        assert answer.status_code == 200
        found: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                found[name] = value
            elif "event" in found:
                yield found.get("id", ""), found["event"], json.loads(found["data"])
                found = {}


def ended(caller: Caller, url: str) -> dict[str, Any]:
    """Wait for the end of a job; gives it as our own surface describes it."""
    *_, (_, name, job) = events(caller, id_of(url))
    assert name == "end"
    found: dict[str, Any] = job
    return found


def running(caller: Caller, url: str) -> None:
    """Wait until a job runs."""
    for _, _, job in events(caller, id_of(url)):
        if job["state"] != "queued":
            assert job["state"] == "running"
            return
