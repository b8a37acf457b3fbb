"""Environments that a server builds, of wheels, with uv: made, updated, turned back, removed."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import (
    ENGINE,
    FANFOLD,
    PASSWORD,
    Caller,
    Server,
    run_fanfold,
    serving,
)
from tests.acceptance.environment_calls import (
    BUILT_WITHIN_S,
    SEEN_WITHIN_S,
    WHERE,
    built,
    ended,
    leftovers,
    order,
    order_of,
    runs,
)
from tests.acceptance.processes import until
from tests.fakes.packages import requirements, write_wheel


@pytest.fixture(scope="module")
def server(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    users = {"root": "admin", "frida": "developer", "gustav": "developer"}
    options = ("--environments", str(place / "environments"), "--user-environments")
    folder = tmp_path_factory.mktemp("built")
    with serving(folder, *options, "--max-user-environments", "2", users=users) as running:
        yield running


@pytest.fixture(scope="module")
def frida(frida: Caller) -> Caller:
    frida.store("where", WHERE)
    return frida


@pytest.fixture(scope="module")
def lab(root: Caller, frida: Caller, wheels: Path) -> str:
    build = built(
        root,
        "lab",
        requirements(wheels, "labcolors<2", "palette"),
        description="Colours for the lab",
        tags={"purpose": "tests"},
    )
    assert (build["state"], build["step"], build["version"]) == ("ready", "ready", 1), build
    runs(frida, "lab", "1.0")
    return "lab"


def test_a_built_environment_runs_and_says_its_version(frida: Caller, lab: str) -> None:
    answer = frida.do_eval("where", {"envName": lab})
    assert answer.json()["result"]["version"] == "1.0"
    assert answer.headers["fanfold-environment-version"] == "1"
    assert "fanfold-environment-version" not in frida.do_eval("where").headers


def test_the_compatible_listing_shows_it_as_it_was_described(frida: Caller, lab: str) -> None:
    for version in ("v1", "v2"):
        listed = frida.get(f"/oml/api/py-scripts/{version}/envs").json()["result"]["envs"]
        entry = next(entry for entry in listed if entry["name"] == lab)
        assert list(entry) == [
            "size",
            "name",
            "description",
            "number_of_installed_packages",
            "tags",
        ]
        assert entry["description"] == "Colours for the lab"
        assert entry["number_of_installed_packages"] == 2
        assert entry["tags"]["application"] == "OML4PY"
        assert entry["tags"]["purpose"] == "tests"


def test_its_description_names_packages_and_who_uses_it(frida: Caller, lab: str) -> None:
    frida.do_eval("where", {"envName": lab})
    found = frida.get(f"/api/v1/environments/{lab}").json()
    assert found["packages"] == {"labcolors": "1.0", "palette": "0.1"}
    assert (found["version"], found["owner"], found["maker"]) == (1, "ROOT", "uv")
    assert (found["python"][:2], found["network"]["policy"]) == ("3.", "none")
    assert found["sizeBytes"] > 0
    assert [one["owner"] for one in found["warm"]] == ["FRIDA"]

    def is_noted() -> bool:
        noted = frida.get(f"/api/v1/environments/{lab}").json()["lastUsed"]
        return bool(noted and noted.startswith(time.strftime("%Y-", time.gmtime())))

    until(is_noted, SEEN_WITHIN_S, "its last use is noted")
    listed = frida.get("/api/v1/environments").json()["environments"]
    assert lab in [entry["name"] for entry in listed]


def test_the_same_order_again_makes_nothing(root: Caller, wheels: Path, lab: str) -> None:
    before = len(root.get("/api/v1/environment-builds").json()["builds"])
    found = order(root, lab, requirements(wheels, "labcolors<2", "palette"))
    assert (found["name"], found["version"]) == (lab, 1)
    assert len(root.get("/api/v1/environment-builds").json()["builds"]) == before


def test_another_order_for_the_same_name_is_refused_without_overwrite(
    root: Caller, wheels: Path, lab: str
) -> None:
    body = {"name": lab, "spec": requirements(wheels, "labcolors"), "format": "requirements.txt"}
    answer = root.post("/api/v1/environments", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (409, 2072)
    assert "version 1" in answer.json()["errorMessage"]


def test_workers_cannot_change_what_they_run_in(frida: Caller, server: Server, lab: str) -> None:
    source = """
def spoil():
    import sys, os, labcolors
    tried = []
    for path in (labcolors.__file__, sys.prefix + "/new", sys.prefix + "/bin/python2"):
        try:
            open(path, "a").close()
        except OSError:
            continue
        tried.append(path)
    return tried
"""
    frida.store("spoil", source)
    with server.client() as client:
        isolation = client.get("/health").json()["isolation"]
    spoilt = frida.do_eval("spoil", {"envName": lab}).json()["result"]
    if isolation["own_user_id"]:
        assert spoilt == []


def test_two_orders_at_once_are_built_once(server: Server, place: Path, wheels: Path) -> None:
    """Over HTTP and by two commands beside it: three processes that know nothing of one another."""
    spec = place / "twice.txt"
    spec.write_text(requirements(wheels, "palette"))
    more = ("--data", str(server.data), "--environments", str(place / "environments"))

    def by_command() -> str:
        return run_fanfold("env", "create", "twice", "--spec", str(spec), *more).stderr

    def by_http() -> object:
        with server.caller("root") as caller:
            found = order(caller, "twice", spec.read_text())
            return found["version"] if "id" not in found else ended(caller, str(found["id"]))

    with concurrent.futures.ThreadPoolExecutor() as pool:
        ways: list[Callable[[], object]] = [by_command, by_http, by_http, by_command]
        going = [pool.submit(way) for way in ways]
        for each in going:
            each.result(BUILT_WITHIN_S)
    assert leftovers(place, "twice") == ["1", "1.json", "1.lock", "1.use", "last"]
    logs = (place / "environments" / ".builds").glob("*.log")
    assert sum("/.versions/twice/1" in log.read_text() for log in logs) == 1


def test_a_build_that_fails_leaves_nothing_and_says_why(
    root: Caller, place: Path, wheels: Path
) -> None:
    build = built(root, "wrong", requirements(wheels, "nosuchthing"))
    assert build["state"] == "failed"
    assert "nosuchthing" in str(build["error"])
    log = root.get(f"/api/v1/environment-builds/{build['id']}/log")
    assert log.headers["content-type"].startswith("text/plain")
    assert "nosuchthing" in log.text
    assert leftovers(place, "wrong") == []
    assert root.get("/api/v1/environments/wrong").status_code == 404
    answer = root.do_eval("where", {"envName": "wrong"})
    assert (answer.status_code, answer.json()["errorCode"]) in {(400, 2012), (404, 2010)}


def test_an_environment_whose_preloading_fails_is_made_without_preloading(
    root: Caller, frida: Caller, wheels: Path
) -> None:
    """A package that preloading would import must not keep an environment from working."""
    write_wheel(wheels, "pandas", "0.1", "raise SystemExit('not for import')\n")
    build = built(root, "stubborn", requirements(wheels, "pandas", "labcolors"))
    assert build["state"] == "ready", build
    runs(frida, "stubborn", "2.0")
    assert "without preloading" in root.get(f"/api/v1/environment-builds/{build['id']}/log").text


def test_a_build_that_is_killed_is_made_again(server: Server, place: Path, wheels: Path) -> None:
    spec = place / "killed.txt"
    spec.write_text(requirements(wheels, "palette"))
    command = [str(FANFOLD), "env", "create", "killed", "--spec", str(spec)]
    more = ["--data", str(server.data), "--environments", str(place / "environments")]
    prefix = place / "environments" / ".versions" / "killed" / "1"
    process = subprocess.Popen(
        [*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until((prefix / "bin" / "python").exists, BUILT_WITHIN_S, "it is being built")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(SEEN_WITHIN_S)
    with server.caller("root") as caller:
        builds = caller.get("/api/v1/environment-builds").json()["builds"]
        cut = next(build for build in builds if build["name"] == "killed")
        assert cut["state"] == "failed"
        assert "interrupted" in cut["error"]
        names = {e["name"] for e in caller.get("/api/v1/environments").json()["environments"]}
        assert "killed" not in names
        listed = caller.get("/oml/api/py-scripts/v1/envs").json()["result"]["envs"]
        assert "killed" not in {entry["name"] for entry in listed}
    run_fanfold("env", "create", "killed", "--spec", str(spec), *more)
    assert leftovers(place, "killed") == ["2", "2.json", "2.lock", "2.use", "last"]


def test_an_update_is_another_version_and_what_has_begun_ends_where_it_began(
    root: Caller, frida: Caller, place: Path, wheels: Path
) -> None:
    built(root, "moving", requirements(wheels, "labcolors<2"))
    runs(frida, "moving", "1.0")
    body = {"envName": "moving", "asyncFlag": True, "parameters": '{"pause_s":6}'}
    job = frida.do_eval("where", body)
    assert (job.status_code, job.headers["fanfold-environment-version"]) == (201, "1")
    job_id = job.headers["location"].rpartition("/")[2]
    newer = built(root, "moving", requirements(wheels, "labcolors"), overwrite=True)
    assert newer["version"] == 2
    runs(frida, "moving", "2.0")

    described = frida.get(f"/api/v1/jobs/{job_id}").json()
    assert (described["environment"], described["environmentVersion"]) == ("moving", 1)
    assert root.get("/api/v1/environments/moving").json()["jobs"] == {"FRIDA": 1}
    refused = root.delete("/api/v1/environments/moving", params={"version": 1})
    assert (refused.status_code, refused.json()["errorCode"]) == (409, 2073)
    assert "1 of FRIDA" in refused.json()["errorMessage"]

    def has_ended() -> bool:
        return bool(frida.get(f"/api/v1/jobs/{job_id}").json()["state"] == "succeeded")

    until(has_ended, SEEN_WITHIN_S, "the job has ended")
    result = frida.get(f"/oml/api/py-scripts/v1/jobs/{job_id}/result").json()["result"]
    assert result["version"] == "1.0"

    assert root.post("/api/v1/environments/moving/rollback", json={"version": 1}).status_code == 204
    runs(frida, "moving", "1.0")
    unknown = root.post("/api/v1/environments/moving/rollback", json={"version": 7})
    assert (unknown.status_code, unknown.json()["errorCode"]) == (404, 2011)
    assert root.delete("/api/v1/environments/moving", params={"version": 1}).status_code == 204
    runs(frida, "moving", "2.0")
    assert root.delete("/api/v1/environments/moving").status_code == 204
    assert leftovers(place, "moving") == ["last"]

    def is_unknown() -> bool:
        return bool(frida.do_eval("where", {"envName": "moving"}).json().get("errorCode") == 2012)

    until(is_unknown, SEEN_WITHIN_S, "it is unknown")


def test_an_update_that_changes_no_package_makes_no_version(
    root: Caller, wheels: Path, lab: str
) -> None:
    text = requirements(wheels, "labcolors<2", "palette")
    build = built(root, lab, text, overwrite=True, tags={"purpose": "tests"})
    assert (build["state"], build["version"]) == ("ready", 1)
    assert root.get(f"/api/v1/environments/{lab}").json()["versions"] == [1]


def test_dropping_waits_for_runs_that_somebody_waits_for(
    root: Caller, frida: Caller, place: Path, wheels: Path
) -> None:
    built(root, "passing", requirements(wheels, "labcolors"))
    runs(frida, "passing", "2.0")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        body = {"envName": "passing", "parameters": '{"pause_s":2}'}
        run = pool.submit(frida.do_eval, "where", body)

        def is_busy() -> bool:
            warm = root.get("/api/v1/environments/passing").json()["warm"]
            return bool(warm and warm[0]["busy"])

        until(is_busy, SEEN_WITHIN_S, "it runs")
        assert root.delete("/api/v1/environments/passing").status_code == 204
        assert run.result(SEEN_WITHIN_S).json()["result"]["version"] == "2.0"
    assert leftovers(place, "passing") == ["last"]


def test_users_may_make_a_few_of_names_and_versions_and_change_their_own_alone(
    server: Server, root: Caller, frida: Caller, lab: str, wheels: Path
) -> None:
    answer = frida.post("/api/v1/environments", json={"name": "mine", "packages": ["--pre", "six"]})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2071)
    body = {
        "name": "mine",
        "spec": requirements(wheels, "labcolors"),
        "format": "requirements.txt",
    }
    refused = frida.post("/api/v1/environments", json=body)
    assert (refused.status_code, refused.json()["errorCode"]) == (400, 2071)
    assert "--no-index" in refused.json()["errorMessage"]
    found = ""
    for number in range(2):
        found = order_of(frida, f"mine{number}", packages=[])
        assert ended(frida, found)["state"] == "ready"
    third = frida.post("/api/v1/environments", json={"name": "mine3", "packages": []})
    assert (third.status_code, third.json()["errorCode"]) == (429, 2025)
    for call in (
        frida.delete(f"/api/v1/environments/{lab}"),
        frida.post(f"/api/v1/environments/{lab}/rollback", json={"version": 1}),
        frida.post(
            "/api/v1/environments", json={"name": lab, "packages": ["six"], "overwrite": True}
        ),
    ):
        assert (call.status_code, call.json()["errorCode"]) == (403, 2105)
    with server.caller("gustav") as gustav:
        path = f"/api/v1/environment-builds/{found}"
        assert (frida.get(path).status_code, root.get(path).status_code) == (200, 200)
        for hidden in (gustav.get(path), gustav.get(f"{path}/log")):
            assert (hidden.status_code, hidden.json()["errorCode"]) == (404, 2074)
        assert gustav.get("/api/v1/environment-builds").json() == {"builds": []}
        assert gustav.delete("/api/v1/environments/mine0").status_code == 403
    assert frida.delete("/api/v1/environments/mine0").status_code == 204
    assert root.delete("/api/v1/environments/mine1").status_code == 204


def test_other_pythons_than_the_servers_own(server: Server, frida: Caller, place: Path) -> None:
    found = sorted({*Path("/usr/bin").glob("python3.*"), *_pyenv()}, key=_minor)
    others = [path for path in found if 9 <= _minor(path) != _minor(ENGINE / "bin" / "python3.0")]
    others = [path for path in others if path.name[len("python3.") :].isdigit()]
    if not others:
        pytest.skip("this machine has one Python alone")
    frida.store(
        "which", "def which():\n    import sys\n    return '%d.%d' % sys.version_info[:2]\n"
    )
    for number, other in enumerate({others[0], others[-1]}):  # the oldest, the newest
        wanted, name = other.name.removeprefix("python"), f"other{number}"
        run_fanfold(
            *("env", "create", name, f"python={wanted}"),
            *("--data", str(server.data), "--environments", str(place / "environments")),
        )

        def is_there(name: str = name, wanted: str = wanted) -> bool:
            return bool(frida.do_eval("which", {"envName": name}).json().get("result") == wanted)

        until(is_there, SEEN_WITHIN_S, f"it runs in {wanted}")


def _pyenv() -> list[Path]:
    return sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3.*"))


def _minor(path: Path) -> int:
    digits = path.name.removeprefix("python3.")
    return int(digits) if digits.isdigit() else 0


def test_the_command_shows_and_lists(server: Server, frida: Caller, place: Path, lab: str) -> None:
    more = ("--data", str(server.data), "--environments", str(place / "environments"))
    line = next(
        entry
        for entry in run_fanfold("env", "list", *more).stdout.splitlines()
        if entry.startswith(f"{lab}\t")
    )
    assert "version 1\tPython 3." in line
    assert "2 packages" in line
    assert "\tapplication=OML4PY,purpose=tests\t" in line
    assert line.endswith((", warm", ", cold"))
    shown = json.loads(run_fanfold("env", "show", lab, "--json", *more).stdout)
    assert (shown["version"], shown["packages"]["labcolors"]) == (1, "1.0")
    assert (shown["maker"], shown["tags"]["purpose"], shown["jobs"]) == ("uv", "tests", {})

    def is_warm() -> bool:
        frida.do_eval("where", {"envName": lab})
        shown = json.loads(run_fanfold("env", "show", lab, "--json", *more).stdout)
        return bool(shown["warm"] and shown["last_used"])

    until(is_warm, SEEN_WITHIN_S, "an interpreter of the server's is seen from beside it")
    refused = run_fanfold("env", "register", lab, str(ENGINE), *more, is_expected_to_fail=True)
    assert "was built here" in refused.stderr
    unknown = run_fanfold("env", "drop", "nothing", *more, is_expected_to_fail=True)
    assert 'no environment "nothing"' in unknown.stderr
    assert PASSWORD not in shown
