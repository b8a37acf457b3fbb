"""Environments that are exported by one server and imported by another that has no network."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold_server.engine.ladder import climb
from tests.acceptance.conftest import FANFOLD, Caller, Server, run_fanfold, serving
from tests.acceptance.environment_calls import (
    BUILT_WITHIN_S,
    SEEN_WITHIN_S,
    WHERE,
    built,
    ended,
    leftovers,
    runs,
    without_network,
)
from tests.acceptance.processes import until
from tests.fakes.packages import requirements, write_wheel

TAR = {"Content-Type": "application/x-tar"}


@pytest.fixture(scope="module")
def server(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    users = {"root": "admin", "frida": "developer"}
    limits = ("--max-body-mib", "1", "--max-table-mib", "2")
    options = ("--environments", str(place / "environments"), "--user-environments", *limits)
    with serving(tmp_path_factory.mktemp("carried"), *options, users=users) as running:
        yield running


@pytest.fixture(scope="module")
def frida(frida: Caller) -> Caller:
    frida.store("where", WHERE)
    return frida


@pytest.fixture(scope="module")
def parcels(root: Caller, place: Path, wheels: Path) -> dict[str, Path]:
    """Two versions of "lab", exported over HTTP; where their wheels came from is gone then."""
    found = {}
    for version, wanted in (("1.0", "labcolors<2"), ("2.0", "labcolors")):
        text = requirements(wheels, wanted, "palette")
        build = built(root, "lab", text, overwrite=True, description="Colours", tags={"a": "b"})
        assert build["state"] == "ready", build
        answer = root.get("/api/v1/environments/lab/archive")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/x-tar"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert f"lab-{build['version']}.tar" in answer.headers["content-disposition"]
        found[version] = place / f"{version}.tar"
        found[version].write_bytes(answer.content)
    older = root.get("/api/v1/environments/lab/archive", params={"version": 1})
    assert older.content == found["1.0"].read_bytes()
    return found


@pytest.fixture(scope="module")
def gone(parcels: dict[str, Path], wheels: Path) -> dict[str, Path]:
    for wheel in wheels.iterdir():
        wheel.unlink()
    return parcels


def test_a_command_imports_where_there_is_no_network_and_what_it_was_made_of_is_gone(
    place: Path, tmp_path: Path, gone: dict[str, Path]
) -> None:
    command = [*without_network(), str(FANFOLD), "env", "import", str(gone["1.0"])]
    more = ["--data", str(tmp_path), "--environments", str(place / "apart"), "--name", "colours"]
    done = subprocess.run(
        [*command, *more], capture_output=True, text=True, timeout=BUILT_WITHIN_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "version 1" in done.stderr
    manifest = json.loads((place / "apart" / ".versions" / "colours" / "1.json").read_text())
    assert manifest["packages"] == {"labcolors": "1.0", "palette": "0.1"}
    assert (manifest["description"], manifest["tags"]["a"]) == ("Colours", "b")
    first = place / "environments" / ".versions" / "lab" / "1.lock"
    assert (place / "apart" / ".versions" / "colours" / "1.lock").read_text() == first.read_text()
    assert list((place / "apart" / ".parcels").iterdir()) == []


def test_it_is_imported_over_http_as_another_name_and_version(
    root: Caller, frida: Caller, place: Path, gone: dict[str, Path]
) -> None:
    path = "/api/v1/environments/moved/archive"

    def brought(version: str, **query: str) -> dict[str, object]:
        answer = root.put(path, content=gone[version].read_bytes(), headers=TAR, params=query)
        assert answer.status_code == 202, answer.text
        build_id = answer.json()["id"]
        assert answer.headers["location"].endswith(f"/api/v1/environment-builds/{build_id}")
        return ended(root, build_id)

    build = brought("1.0")
    assert (build["state"], build["version"]) == ("ready", 1), build
    runs(frida, "moved", "1.0")
    again = root.put(path, content=gone["1.0"].read_bytes(), headers=TAR)
    assert (again.status_code, again.json()["version"]) == (200, 1)  # it is there already
    other = root.put(path, content=gone["2.0"].read_bytes(), headers=TAR)
    assert (other.status_code, other.json()["errorCode"]) == (409, 2072)
    assert brought("2.0", overwrite="true")["version"] == 2
    runs(frida, "moved", "2.0")
    shown = root.get("/api/v1/environments/moved").json()
    assert (shown["versions"], shown["tags"]["a"], shown["maker"]) == ([2, 1], "b", "uv")
    # What it was made of is not here: it cannot go on from here, and says so.
    answer = root.get(path)
    assert (answer.status_code, answer.json()["errorCode"]) == (409, 2078)
    assert "cannot be had" in answer.json()["errorMessage"]
    assert list((place / "environments" / ".parcels").iterdir()) == []


def test_two_imports_at_once_are_built_once(
    server: Server, root: Caller, place: Path, gone: dict[str, Path]
) -> None:
    content = gone["1.0"].read_bytes()

    def bring(_: int) -> int:
        with server.caller("root") as caller:
            path = "/api/v1/environments/twice/archive"
            answer = caller.put(path, content=content, headers=TAR)
            assert answer.status_code in {200, 202}, answer.text
            found = answer.json()
            if "id" in found:
                found = ended(caller, found["id"])
            return int(found["version"])

    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert list(pool.map(bring, range(3), timeout=BUILT_WITHIN_S)) == [1, 1, 1]
    assert leftovers(place, "twice") == ["1", "1.json", "1.lock", "1.use", "last"]
    assert root.get("/api/v1/environments/twice").json()["versions"] == [1]

    def is_tidy() -> bool:
        return list((place / "environments" / ".parcels").iterdir()) == []

    until(is_tidy, SEEN_WITHIN_S, "what was unpacked is gone")


def test_an_import_that_is_killed_is_made_again(
    place: Path, tmp_path: Path, gone: dict[str, Path]
) -> None:
    command = [str(FANFOLD), "env", "import", str(gone["1.0"]), "--name", "killed"]
    more = ["--data", str(tmp_path), "--environments", str(place / "killing")]
    root = place / "killing"
    process = subprocess.Popen([*command, *more], stderr=subprocess.DEVNULL)
    prefix = root / ".versions" / "killed" / "1"
    until((prefix / "bin" / "python").exists, BUILT_WITHIN_S, "it is being built")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(SEEN_WITHIN_S)
    assert not (root / "killed").exists()
    assert len(list((root / ".parcels").iterdir())) == 1  # what it had unpacked
    run_fanfold(*command[1:], *more, limit_s=BUILT_WITHIN_S)
    assert (root / "killed").resolve() == root / ".versions" / "killed" / "2"
    kept = sorted(path.name for path in (root / ".versions" / "killed").iterdir())
    assert kept == ["2", "2.json", "2.lock", "2.use", "last"]
    assert list((root / ".parcels").iterdir()) == []


def test_on_a_disk_that_is_full_it_is_told_and_nothing_is_left(
    place: Path, tmp_path: Path, gone: dict[str, Path]
) -> None:
    """A disk of a few pages, mounted where the environments would lie."""
    small = place / "small"
    small.mkdir()
    bubble = climb().bubble
    if bubble is None:
        pytest.skip("no file system can be mounted here")
    mount = [bubble.program, "--dev-bind", "/", "/", "--size", str(8 << 10), "--tmpfs", str(small)]
    command = (
        f"{FANFOLD} env import {gone['1.0']} --environments {small} --data {tmp_path / 'data'}"
    )
    look = f"; ls -A {small}/.versions {small}/.parcels"
    done = subprocess.run(
        [*mount, "sh", "-c", command + look], capture_output=True, text=True, check=False
    )
    assert "no room" in done.stderr or "No space left" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.split() == [f"{small}/.parcels:", f"{small}/.versions:"]


def test_where_a_file_cannot_be_it_is_told_before_anything_is_packed(
    server: Server, place: Path, tmp_path: Path
) -> None:
    here = ("--data", str(server.data), "--environments", str(place / "environments"))
    nowhere = str(tmp_path / "nowhere" / "lab.tar")
    said = run_fanfold("env", "export", "lab", nowhere, *here, is_expected_to_fail=True).stderr
    assert "nowhere cannot be written to" in said
    said = run_fanfold("env", "export", "unknown", "x.tar", *here, is_expected_to_fail=True).stderr
    assert 'no environment "unknown"' in said


def test_what_is_spoilt_or_too_large_leaves_nothing(
    root: Caller, place: Path, gone: dict[str, Path]
) -> None:
    whole = gone["1.0"].read_bytes()
    spoilt = bytearray(whole)
    spoilt[whole.rindex(b"labcolors-1.0.dist-info")] ^= 1
    path = "/api/v1/environments/spoilt/archive"
    for content, status, code, words in (
        (bytes(spoilt), 400, 2071, "not what its lock says"),
        (whole[: len(whole) // 2], 400, 2071, "too early"),
        (b"", 400, 2071, "too early"),
        (bytes(spoilt) + bytes(1 << 20), 400, 2071, "not what its lock says"),
        (whole + bytes(2 << 20), 413, 2006, "2097152"),
    ):
        answer = root.put(path, content=content, headers=TAR)
        assert (answer.status_code, answer.json()["errorCode"]) == (status, code), answer.text
        assert words in answer.json()["errorMessage"]
    assert root.get("/api/v1/environments/spoilt").status_code == 404
    assert leftovers(place, "spoilt") == []
    assert list((place / "environments" / ".parcels").iterdir()) == []


def test_packages_of_ones_own_are_for_administrators_and_what_is_anothers_stays(
    server: Server, frida: Caller, gone: dict[str, Path]
) -> None:
    for answer in (
        frida.put(
            "/api/v1/environments/mine/archive", content=gone["1.0"].read_bytes(), headers=TAR
        ),
        frida.get("/api/v1/environments/lab/archive"),
    ):
        assert (answer.status_code, answer.json()["errorCode"]) == (403, 2105)
    with server.client() as nobody:
        assert nobody.get("/api/v1/environments/lab/archive").status_code == 401


def test_an_administrators_token_that_only_runs_or_publishes_brings_nothing(
    server: Server, root: Caller, gone: dict[str, Path]
) -> None:
    """What is imported may bring the interpreter that compiles it: that takes the scope "admin"."""
    for scope, may_export in (("run", False), ("publish", True)):
        body = {"name": f"only-{scope}", "scopes": [scope]}
        token = root.post("/api/v1/tokens", json=body).json()["token"]
        with Caller(server.url, "holder", token) as holder:
            path = "/api/v1/environments/lab/archive"
            answer = holder.put(path, content=gone["1.0"].read_bytes(), headers=TAR)
            assert (answer.status_code, answer.json()["errorCode"]) == (403, 2105)
            asked = holder.get(path, params={"version": 9})
            assert asked.status_code == (404 if may_export else 403)


def test_a_version_or_a_name_that_is_not_there_is_404(root: Caller, parcels: object) -> None:
    _ = parcels
    answer = root.get("/api/v1/environments/lab/archive", params={"version": 9})
    assert (answer.status_code, answer.json()["errorCode"]) == (404, 2011)
    assert root.get("/api/v1/environments/nothing/archive").json()["errorCode"] == 2070
    assert root.put("/api/v1/environments/..%2Fx/archive", content=b"").status_code in {400, 404}


def test_the_command_exports_what_it_imports_again(
    server: Server, place: Path, tmp_path: Path
) -> None:
    write_wheel(place / "more", "labcolors", "3.0", "VERSION = '3.0'\n")
    spec = tmp_path / "requirements.txt"
    spec.write_text(requirements(place / "more", "labcolors"))
    here = ("--data", str(server.data), "--environments", str(place / "environments"))
    run_fanfold("env", "create", "third", "--spec", str(spec), *here)
    parcel = tmp_path / "third.tar"
    said = run_fanfold("env", "export", "third", str(parcel), *here).stderr
    assert f"{parcel.stat().st_size:,} bytes" in said
    assert [path.name for path in tmp_path.glob("*.tar")] == ["third.tar"]
    first = hashlib.sha256(parcel.read_bytes()).hexdigest()
    run_fanfold("env", "export", "third", str(parcel), *here)
    assert hashlib.sha256(parcel.read_bytes()).hexdigest() == first
    refused = run_fanfold("env", "import", str(spec), *here, is_expected_to_fail=True)
    assert "ends too early" in refused.stderr
    assert "version 1" in run_fanfold("env", "import", str(parcel), *here).stderr
    other = run_fanfold("env", "import", str(parcel), "--name", "fourth", "-q", *here)
    assert other.stderr.strip().endswith("/.versions/fourth/1, version 1")
