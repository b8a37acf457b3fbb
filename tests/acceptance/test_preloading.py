"""Preloading, as on the compatible wire: environments that are kept started for whoever asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Caller, Server, serving
from tests.acceptance.environment_calls import SEEN_WITHIN_S, WHERE, built, ended, order_of, runs
from tests.acceptance.processes import until
from tests.fakes.packages import requirements


@pytest.fixture(scope="module")
def server(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    users = {"root": "admin", "frida": "developer"}
    options = ("--environments", str(place / "environments"))
    with serving(tmp_path_factory.mktemp("preloaded"), *options, users=users) as running:
        yield running


@pytest.fixture(scope="module")
def frida(frida: Caller) -> Caller:
    frida.store("where", WHERE)
    return frida


@pytest.fixture(scope="module")
def lab(root: Caller, frida: Caller, wheels: Path) -> str:
    built(root, "lab", requirements(wheels, "labcolors<2"))
    runs(frida, "lab", "1.0")
    return "lab"


PRELOAD = "/oml/api/py-scripts/v2/preload/conda"
MOMENT = re.compile(r"[A-Z][a-z]{2} \d{2}, \d{4} \d{2}:\d{2}:\d{2} UTC")


def test_the_round_trip_of_preloading(frida: Caller, root: Caller, lab: str) -> None:
    assert frida.get(PRELOAD).json() == {"environments": []}
    answer = frida.post(PRELOAD, json={"envName": lab, "unknownMember": 1})
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["jobId", "envName", "created", "expires"]
    (entry,) = frida.get(PRELOAD).json()["environments"]
    assert list(entry) == ["duration", "expires", "created", "envName"]
    assert entry["envName"] == lab
    assert re.fullmatch(r"0 hrs, 0 mins, \d+ secs", entry["duration"])
    assert MOMENT.fullmatch(entry["created"])
    assert MOMENT.fullmatch(entry["expires"])
    assert root.get(PRELOAD).json() == {"environments": []}  # each has their own

    def is_warm() -> bool:
        warm = frida.get(f"/api/v1/environments/{lab}").json()["warm"]
        own = [one for one in warm if one["owner"] == "FRIDA" and one["preloaded"]]
        return bool(own and own[0]["workers"] > own[0]["busy"])

    until(is_warm, SEEN_WITHIN_S, "a worker waits for the first run")
    cancel = frida.post(f"/oml/api/py-scripts/v2/jobs/{answer.json()['jobId']}/cancel")
    assert (cancel.status_code, cancel.json()["errorCode"]) == (400, 2024)
    assert "preload" in cancel.json()["errorMessage"]
    again = frida.post(PRELOAD, json={"envName": lab})
    assert (again.status_code, again.json()["errorCode"]) == (400, 2076)
    assert "overwrite" in again.json()["errorMessage"]
    assert frida.post(PRELOAD, json={"envName": lab, "overwrite": True}).status_code == 200
    assert len(frida.get(PRELOAD).json()["environments"]) == 1
    gone = frida.delete(f"{PRELOAD}/{lab}")
    assert gone.status_code == 200
    assert gone.json() == {"result": f"Preloaded environment '{lab}' deleted successfully"}
    unknown = frida.delete(f"{PRELOAD}/{lab}")
    assert (unknown.status_code, unknown.json()["errorCode"]) == (404, 2077)
    message = unknown.json()["errorMessage"]
    assert message.startswith(f"Preloaded environment not found with name '{lab}")


def test_what_cannot_be_preloaded_is_400(root: Caller, frida: Caller, lab: str) -> None:
    for body, code in (
        ({}, 2002),
        ({"envName": 3}, 2002),
        ({"envName": ""}, 2002),
        ({"envName": "nothing"}, 2012),
    ):
        answer = frida.post(PRELOAD, json=body)
        assert (answer.status_code, answer.json()["errorCode"]) == (400, code), answer.text
    answer = root.post(
        "/api/v1/environments",
        json={"name": "private", "packages": [], "tags": {"application": "none"}},
    )
    assert ended(root, answer.json()["id"])["state"] == "ready"

    def is_refused() -> bool:
        answer = frida.post(PRELOAD, json={"envName": "private"})
        return bool((answer.status_code, answer.json()["errorCode"]) == (400, 2076))

    until(is_refused, SEEN_WITHIN_S, "it has not the tag")
    for name in (lab, "default"):
        assert frida.post(PRELOAD, json={"envName": name}).status_code == 200
    root.delete("/api/v1/environments/private")
    build = order_of(root, "third", packages=[])
    assert ended(root, build)["state"] == "ready"

    def is_too_many() -> bool:
        answer = frida.post(PRELOAD, json={"envName": "third"})
        return "may have 2" in answer.json()["errorMessage"]

    until(is_too_many, SEEN_WITHIN_S, "it would be one too many")
    for name in (lab, "default"):
        assert frida.delete(f"{PRELOAD}/{name}").status_code == 200


def test_an_update_is_preloaded_when_that_is_asked_for(
    root: Caller, frida: Caller, wheels: Path, lab: str
) -> None:
    """What is kept is a version; it does not keep an update, or a drop, from coming about."""
    assert frida.post(PRELOAD, json={"envName": lab}).status_code == 200
    built(root, lab, requirements(wheels, "labcolors"), overwrite=True)
    runs(frida, lab, "2.0")
    assert root.delete(f"/api/v1/environments/{lab}", params={"version": 1}).status_code == 204
    assert frida.post(PRELOAD, json={"envName": lab, "overwrite": True}).status_code == 200

    def is_warm() -> bool:
        warm = frida.get(f"/api/v1/environments/{lab}").json()["warm"]
        return [one["preloaded"] for one in warm if one["owner"] == "FRIDA"] == [True]

    until(is_warm, SEEN_WITHIN_S, "the new version is kept, and it alone")
    assert frida.delete(f"{PRELOAD}/{lab}").status_code == 200
