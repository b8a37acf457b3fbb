"""Our own surface of jobs, over HTTP: what it tells, streams, continues and refuses."""

from __future__ import annotations

import io
import json
import re
import statistics
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.acceptance.conftest import Caller
from tests.acceptance.job_calls import (
    JOBS,
    RUNS,
    SLEEPER,
    ended,
    events,
    id_of,
    running,
    submit,
    submitted,
)

NDJSON = "application/x-ndjson"
PLANTED = list(range(7, 10_001, 277))
"""37 of 10,000 calls."""

PLANTS = """
def planted(i):
    if i % 277 == 7:
        raise ValueError(f"no value for {i}")
    return i / 2
"""
RANDOM = "def randomly(i):\n    import random\n\n    return random.random()\n"


@pytest.fixture(scope="module")
def scripts(alice: Caller) -> None:
    alice.store("own_half", "def own_half(i=0):\n    return i / 2\n")
    alice.store("own_random", RANDOM)
    alice.store("own_sleeper", SLEEPER)
    alice.store(
        "own_draws",
        "def own_draws(i=0):\n    import matplotlib.pyplot as plt\n"
        "    for n in (1, 2):\n        plt.figure()\n        plt.title(f'<{i}.{n}>')\n"
        "    return i\n",
    )


pytestmark = pytest.mark.usefixtures("scripts")


def _results(alice: Caller, job: str, **params: Any) -> list[dict[str, Any]]:
    answer = alice.get(f"{JOBS}/{job}/results", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == NDJSON
    return [json.loads(line) for line in answer.text.splitlines()]


# ------------------------------------------------------------------------------------- to look at


def test_a_job_says_what_it_runs_even_after_the_script_has_changed(alice: Caller) -> None:
    version = alice.store("own_changing", "def f(i):\n    return 'old'\n")["version"]
    location = submit(
        alice, "index-apply", "own_changing", times=2, seed=7, comments="why", service="HIGH"
    )
    ended(alice, location)
    alice.store("own_changing", "def f(i):\n    return 'new'\n")
    job = alice.get(f"{JOBS}/{id_of(location)}").json()
    assert (
        job["script"] | {"name": "own_changing", "owner": "ALICE", "version": version}
        == (job["script"])
    )
    expected = {
        "state": "succeeded",
        "owner": "ALICE",
        "verb": "index-apply",
        "environment": "default",
        "seed": 7,
        "service": "HIGH",
        "comments": "why",
        "times": 2,
        "returned": 2,
        "failed": 0,
        "waiting": 0,
        "ahead": 0,
        "eta": None,
        "error": None,
    }
    assert {name: job[name] for name in expected} == expected
    assert job["created"] <= job["started"] <= job["finished"]
    assert [line["value"] for line in _results(alice, job["id"])] == ["old", "old"]


def test_a_listing_comes_in_pages_and_is_filtered(alice: Caller) -> None:
    mark = "page mark"
    ids: list[str] = []
    for n in range(5):
        location = submit(alice, "do-eval", "own_half", comments=f"{mark} {n}")
        ended(alice, location)
        ids.insert(0, id_of(location))
    found: list[str] = []
    after: dict[str, str] = {}
    for _ in range(4):
        page = alice.get(JOBS, params={"comments": f"{mark}%", "limit": 2, **after}).json()
        found += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert found == ids
    filters: list[tuple[dict[str, Any], int]] = [
        ({"state": "succeeded"}, 5),
        ({"state": ["failed", "succeeded"]}, 5),
        ({"state": "failed"}, 0),
        ({"script": "own_half"}, 5),
        ({"script": "own_random"}, 0),
        ({"createdFrom": "2001-01-01T00:00:00Z"}, 5),
        ({"createdBefore": "2001-01-01T00:00:00Z"}, 0),
    ]
    for params, count in filters:
        answer = alice.get(JOBS, params={"comments": f"{mark}%", **params})
        assert len(answer.json()["jobs"]) == count, params
    for wrong in ("state=odd", "limit=1001", "createdFrom=2001-01-01T00:00:00"):
        refused = alice.get(f"{JOBS}?{wrong}")
        assert (refused.status_code, refused.json()["field"]) == (400, wrong.partition("=")[0])


def test_37_planted_errors_are_listed_and_resume_runs_only_those(alice: Caller) -> None:
    """The rest is usable as it is; the mended function runs on what failed, and nothing else."""
    alice.store("own_planted", PLANTS)
    location = submit(
        alice,
        "index-apply",
        "own_planted",
        times=10_000,
        onError="continue",
        parallelFlag=True,
        service="HIGH",
    )
    job = ended(alice, location)
    assert (job["state"], job["returned"], job["failed"]) == ("partly_failed", 9_963, 37)
    base = f"{JOBS}/{job['id']}"

    listed: list[dict[str, Any]] = []
    start: int | None = 0
    while start is not None:
        params: dict[str, Any] = {"state": "failed", "limit": 10, "from": start}
        page = alice.get(f"{base}/outcomes", params=params).json()
        listed += page["outcomes"]
        start = page["next"]
    assert [outcome["index"] for outcome in listed] == PLANTED
    assert listed[0]["error"]["message"] == "no value for 7"
    assert "in planted" in listed[0]["error"]["traceback"]
    [group] = alice.get(f"{base}/errors").json()["errors"]
    assert (group["count"], group["type"], group["line"]) == (
        37,
        "ValueError",
        "line 4, in planted",
    )
    assert group["pattern"] == "no value for #"
    assert group["sample"] == PLANTED[: len(group["sample"])]

    lines = _results(alice, job["id"])
    assert [line["index"] for line in lines] == list(range(1, 10_001))
    assert [line["index"] for line in lines if "error" in line] == PLANTED
    assert all(line["value"] == line["index"] / 2 for line in lines if "value" in line)

    mended = "def planted(i):\n    return -i\n"
    alice.store("own_planted", mended)
    again = alice.post(f"{base}/resume")
    assert again.status_code == 201
    assert (again.json()["taken"], again.json()["waiting"]) == (9_963, 37)
    resumed = ended(alice, again.headers["location"])
    assert (resumed["state"], resumed["returned"]) == ("succeeded", 10_000)
    values = [line["value"] for line in _results(alice, resumed["id"])]
    expected = [i / 2 for i in range(1, 10_001)]
    for index in PLANTED:
        expected[index - 1] = -index
    assert values == expected


def test_outcomes_of_a_do_eval_have_index_0(alice: Caller) -> None:
    location = submit(alice, "do-eval", "own_half")
    job = ended(alice, location)
    [outcome] = alice.get(f"{JOBS}/{job['id']}/outcomes").json()["outcomes"]
    assert (outcome["index"], outcome["state"], outcome["attempts"]) == (0, "returned", 1)
    assert _results(alice, job["id"]) == [{"index": 0, "value": 0}]


def test_what_a_call_prints_is_in_its_outcome_alone(alice: Caller) -> None:
    alice.store(
        "own_prints", "def f(i):\n    if i % 2:\n        print('odd', i)\n    return None\n"
    )
    job = ended(alice, submit(alice, "index-apply", "own_prints", times=4))
    outcomes = alice.get(f"{JOBS}/{job['id']}/outcomes").json()["outcomes"]
    assert [outcome["log"] for outcome in outcomes] == ["odd 1\n", "", "odd 3\n", ""]
    assert _results(alice, job["id"]) == [{"index": i, "value": None} for i in range(1, 5)]


# -------------------------------------------------------------------------------------- streaming


def test_a_reader_that_is_cut_off_goes_on_where_it_was(alice: Caller) -> None:
    """Killed in mid-stream and attached again, many times: nothing lost, nothing twice."""
    alice.store(
        "own_slow", "def f(i):\n    import time\n\n    time.sleep(0.002)\n    return i * 3\n"
    )
    location = submit(alice, "index-apply", "own_slow", times=1_000)
    base = f"{JOBS}/{id_of(location)}/results"
    read: list[dict[str, Any]] = []
    for cut in range(1, 1_000):
        params: dict[str, Any] = {"follow": "true", "from": len(read) + 1}
        with alice.stream("GET", base, params=params) as answer:
            for line in answer.iter_lines():
                read.append(json.loads(line))
                if len(read) % 97 == cut:
                    break
            else:
                break
    assert read == [{"index": i, "value": i * 3} for i in range(1, 1_001)]
    assert alice.get(f"{JOBS}/{id_of(location)}").json()["state"] == "succeeded"


def test_results_go_on_after_the_last_event_that_one_has(alice: Caller) -> None:
    job = ended(alice, submit(alice, "index-apply", "own_half", times=5))
    answer = alice.get(f"{JOBS}/{job['id']}/results", headers={"Last-Event-ID": "3"})
    assert [json.loads(line)["index"] for line in answer.text.splitlines()] == [4, 5]
    assert _results(alice, job["id"], **{"from": 6}) == []
    assert alice.get(f"{JOBS}/{job['id']}/results?from=-1").status_code == 400


def test_events_tell_progress_once_and_end(alice: Caller) -> None:
    location = submit(alice, "index-apply", "own_slow", times=300)
    told = list(events(alice, id_of(location)))
    ids = [event for event, _, _ in told]
    assert len(ids) == len(set(ids))
    done = [job["returned"] for _, _, job in told]
    assert done == sorted(done)
    assert [name for _, name, _ in told[:-1]] == ["progress"] * (len(told) - 1)
    assert (told[-1][1], told[-1][2]["state"]) == ("end", "succeeded")
    base = f"{JOBS}/{id_of(location)}/events"
    assert [event for event, _, _ in events(alice, id_of(location), last=ids[0])] == ids[-1:]
    seen = alice.get(base, headers={"Last-Event-ID": ids[-1]})
    assert (seen.status_code, seen.content) == (204, b"")


def test_head_does_not_wait_for_what_it_does_not_read(alice: Caller) -> None:
    location = submit(alice, "do-eval", "own_sleeper")
    for path in ("events", "results?follow=true"):
        head = alice.head(f"{JOBS}/{id_of(location)}/{path}", timeout=120)
        assert (head.status_code, head.content) == (200, b"")
    alice.delete(f"{JOBS}/{id_of(location)}")


def test_a_follower_of_a_deleted_job_is_told(alice: Caller) -> None:
    location = submit(alice, "do-eval", "own_sleeper")
    running(alice, location)
    names = []
    for _, name, _ in events(alice, id_of(location)):
        names.append(name)
        if len(names) == 1:
            assert alice.delete(f"{JOBS}/{id_of(location)}").status_code == 204
    assert names == ["progress", "gone"]


# ------------------------------------------------------------------------------------------ forms


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", NDJSON),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.5", "application/json"),
        ("text/csv", "text/csv; charset=utf-8; header=present"),
        ("text/*;q=0.9, application/x-ndjson;q=0.1", "text/csv; charset=utf-8; header=present"),
        ("application/xml", None),
        ("application/x-ndjson;q=0, image/*", None),
    ],
)
def test_the_form_follows_accept(alice: Caller, accept: str, form: str | None) -> None:
    job = ended(alice, submit(alice, "index-apply", "own_half", times=2))
    answer = alice.get(f"{JOBS}/{job['id']}/results", headers={"Accept": accept})
    if form is None:
        assert (answer.status_code, answer.json()["errorCode"]) == (406, 2027)
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (200, form)


def test_a_summary_is_that_of_the_numbers(alice: Caller) -> None:
    alice.store(
        "own_numbers",
        "def own_numbers(i):\n    if i == 5:\n        raise ValueError\n"
        "    return {'x': float(i), 'text': 'x'} if i % 2 else None\n",
    )
    location = submit(alice, "index-apply", "own_numbers", times=100, onError="continue")
    job = ended(alice, location)
    numbers = [i for i in range(1, 101, 2) if i != 5]
    summary = alice.get(f"{JOBS}/{job['id']}/summary", params={"member": "x"}).json()
    assert (summary["count"], summary["without"]) == (49, 50)
    assert summary["mean"] == pytest.approx(statistics.fmean(numbers))
    assert summary["variance"] == pytest.approx(statistics.variance(numbers))
    low, high = summary["interval"]
    assert (low + high) / 2 == pytest.approx(summary["mean"])
    assert (high - low) / 2 == pytest.approx(1.959964 * summary["standardError"])
    assert (summary["low"], summary["high"]) == (1, 99)
    assert summary["quantiles"]["0.5"] == pytest.approx(statistics.median(numbers), rel=0.01)
    nothing = alice.get(f"{JOBS}/{job['id']}/summary", params={"member": "text"}).json()
    assert (nothing["count"], nothing["without"], nothing["mean"]) == (0, 99, None)


def test_what_needs_the_end_says_so(alice: Caller) -> None:
    location = submit(alice, "do-eval", "own_sleeper")
    base = f"{JOBS}/{id_of(location)}"
    for accept in ("application/json", "text/csv"):
        answer = alice.get(f"{base}/results", headers={"Accept": accept})
        assert (answer.status_code, answer.json()["errorCode"]) == (409, 2023)
    assert alice.get(f"{base}/results").text == ""
    assert alice.post(f"{base}/resume").status_code == 409
    assert alice.post(f"{base}/extend", json={"times": 3}).status_code == 409
    cancelled = alice.post(f"{base}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert alice.post(f"{base}/cancel").json()["errorCode"] == 2024
    assert alice.delete(base).status_code == 204
    assert alice.get(base).status_code == 404


# ----------------------------------------------------------------------------------------- figures


def test_figures_have_an_address_each_and_come_as_a_page_and_as_an_archive(alice: Caller) -> None:
    job = ended(alice, submit(alice, "index-apply", "own_draws", times=3, graphicsFlag=True))
    base = f"{JOBS}/{job['id']}/images"
    names = [f"{index}-{number}" for index in (1, 2, 3) for number in (1, 2)]
    listed = alice.get(base).json()
    assert listed["next"] is None
    assert [f"{image['index']}-{image['number']}" for image in listed["images"]] == names
    assert listed["images"][0]["title"] == "<1.1>"
    pngs = {}
    for name, image in zip(names, listed["images"], strict=True):
        answer = alice.get(image["href"])
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(b"\x89PNG")
        pngs[f"{name}.png"] = answer.content

    paged: list[dict[str, Any]] = []
    start: int | None = 0
    while start is not None:
        page = alice.get(base, params={"limit": 3, "from": start}).json()
        paged += page["images"]
        start = page["next"]
    assert paged == listed["images"]

    packed = alice.get(base, headers={"Accept": "application/zip"})
    assert packed.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == pngs

    page_of_all = alice.get(base, headers={"Accept": "text/html"})
    assert page_of_all.headers["content-security-policy"].startswith("default-src 'none'")
    assert page_of_all.text.count("<img") == len(names)
    assert "3 of 3 calls have returned." in page_of_all.text
    assert "&lt;1.1&gt;" in page_of_all.text
    assert not re.search(r"<script|<link|https?://|<1\.1>", page_of_all.text)

    for wrong in ("9-1.png", "1-3.png", "1-1.gif", "x", "0-0.png", "99999999999-1.png"):
        assert alice.get(f"{base}/{wrong}").status_code == 404


# ------------------------------------------------------------------------------------- going on


def test_an_extended_job_equals_one_that_was_as_long_from_the_start(alice: Caller) -> None:
    short = ended(alice, submit(alice, "index-apply", "own_random", times=40, seed=11))
    answer = alice.post(f"{JOBS}/{short['id']}/extend", json={"times": 100})
    assert answer.status_code == 201
    assert answer.json()["waiting"] == 60
    long = ended(alice, answer.headers["location"])
    fresh = ended(alice, submit(alice, "index-apply", "own_random", times=100, seed=11))
    values = _results(alice, long["id"])
    assert values == _results(alice, fresh["id"])
    assert values[:40] == _results(alice, short["id"])
    for body in ({"times": 40}, {"times": 0}, {"times": "50"}, {}, {"time": 50}):
        assert alice.post(f"{JOBS}/{short['id']}/extend", json=body).status_code == 400


def test_a_hundred_posts_with_one_key_make_one_job(alice: Caller, bob: Caller) -> None:
    key = {"Idempotency-Key": "sweep of 12 March"}

    def post(_: int) -> tuple[str, str]:
        answer = submitted(
            alice, "index-apply", "own_half", headers=key, times=3, comments="posted once"
        )
        return answer.headers["location"], answer.headers["fanfold-seed"]

    with ThreadPoolExecutor(10) as pool:
        answers = set(pool.map(post, range(100)))
    assert len(answers) == 1
    jobs = alice.get(JOBS, params={"comments": "posted once"}).json()["jobs"]
    assert len(jobs) == 1
    bob.store("own_half", "def own_half(i):\n    return i\n")
    theirs = submit(bob, "index-apply", "own_half", headers=key, times=3)
    assert id_of(theirs) != jobs[0]["id"]
    job = ended(alice, answers.pop()[0])
    for path, wanted in (("resume", {}), ("extend", {"times": 9})):
        again = {"Idempotency-Key": f"{path} once"}
        made = {
            alice.post(f"{JOBS}/{job['id']}/{path}", json=wanted, headers=again).json()["id"]
            for _ in range(3)
        }
        assert len(made) == 1
    asked = {"times": 3, "comments": "posted once", "asyncFlag": True}
    others: list[dict[str, Any]] = [
        {"times": 4}, {"graphicsFlag": True}, {"timeout": 2000}, {"service": "HIGH"}, {"seed": 1},
        {"onError": "continue"}, {"parallelFlag": True}, {"comments": "posted twice"},
    ]  # fmt: skip
    for members in others:
        body = {**asked, **members}
        other = alice.post(f"{RUNS}/v1/index-apply/own_half", json=body, headers=key)
        assert (other.status_code, other.json()["errorCode"]) == (409, 2028)
    reordered = json.dumps(dict(reversed(asked.items())), indent=2)
    same = alice.post(
        f"{RUNS}/v1/index-apply/own_half",
        content=reordered,
        headers={**key, "Content-Type": "application/json"},
    )
    assert id_of(same.headers["location"]) == job["id"], (
        "what is meant is compared, not how it is written"
    )
    for wrong in (b"", b"x" * 256, b"\xe9"):
        headers = {b"Idempotency-Key": wrong}
        answer = alice.post(
            f"{RUNS}/v1/do-eval/own_half", json={"asyncFlag": True}, headers=headers
        )
        assert answer.status_code == 400


# ------------------------------------------------------------------------------ failures, limits


def test_a_canary_costs_one_call(alice: Caller) -> None:
    alice.store("own_broken", "def own_broken(i):\n    return undefined\n")
    location = submit(
        alice, "index-apply", "own_broken", times=5_000, canary=True, onError="continue"
    )
    job = ended(alice, location)
    assert (job["state"], job["returned"], job["failed"]) == ("failed", 0, 1)
    assert job["error"]["errorMessage"].startswith("NameError")
    whole = ended(alice, submit(alice, "index-apply", "own_half", times=50, canary=True))
    assert whole["returned"] == 50


def test_more_failures_than_allowed_end_the_job(alice: Caller) -> None:
    alice.store("own_thirds", "def own_thirds(i):\n    return 1 / (i % 3)\n")
    members: dict[str, Any] = {"times": 30, "onError": "continue"}
    kept = ended(alice, submit(alice, "index-apply", "own_thirds", maxFailures=10, **members))
    assert (kept["state"], kept["failed"]) == ("partly_failed", 10)
    over = ended(alice, submit(alice, "index-apply", "own_thirds", maxFailures=3, **members))
    assert over["state"] == "failed"
    assert 3 < over["failed"] < 10


def test_a_call_that_takes_too_long_fails_alone(alice: Caller) -> None:
    alice.store(
        "own_hangs",
        "def own_hangs(i):\n    import time\n\n"
        "    if i == 2:\n        time.sleep(600)\n    return i\n",
    )
    location = submit(
        alice, "index-apply", "own_hangs", times=4, callTimeout=0.5, onError="continue"
    )
    job = ended(alice, location)
    assert (job["state"], job["returned"], job["failed"]) == ("partly_failed", 3, 1)
    [outcome] = alice.get(f"{JOBS}/{job['id']}/outcomes?state=failed").json()["outcomes"]
    assert (outcome["index"], outcome["error"]["code"]) == (2, 3007)
