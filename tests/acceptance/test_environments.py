"""Named environments over HTTP: functions run where nothing of ours is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.conftest import Caller, Server, run_fanfold, serving
from tests.acceptance.processes import until, zygotes
from tests.calm import Stopwatch

SEEN_WITHIN_S = 100.0
WHERE = """
def where(i=0):
    import importlib.metadata
    import os
    import sys

    return {
        "prefix": sys.prefix,
        "distributions": sorted({d.metadata["Name"] for d in importlib.metadata.distributions()}),
        "path": sys.path,
        "variables": dict(os.environ),
        "user_site": bool(sys.flags.no_user_site),
        "i": i,
    }
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    variables = {"PYTHONSTARTUP": "/nowhere", "LD_BIND_NOW": "1", "SECRET_OF_OURS": "1"}
    folder = tmp_path_factory.mktemp("environments")
    with serving(folder, users={"frida": "developer"}, variables=variables) as running:
        yield running


@pytest.fixture(scope="module")
def frida(frida: Caller) -> Caller:
    frida.store("where", WHERE)
    return frida


@pytest.fixture(scope="module")
def plain(server: Server, place: Path) -> Path:
    """A virtual environment without anything, registered as "plain" while the server runs."""
    prefix = _make_venv(place / "a venv")
    _register(server, "plain", prefix)
    return prefix


@pytest.fixture(scope="module")
def conda(server: Server, place: Path) -> Path:
    """What tells a conda prefix is its history."""
    prefix = _make_venv(place / "miniconda" / "envs" / "geo")
    history = prefix / "conda-meta" / "history"
    history.parent.mkdir()
    history.write_text("")
    _register(server, "geo", prefix)
    return prefix


def _make_venv(prefix: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True, timeout=200)
    return prefix


def _register(server: Server, name: str, prefix: Path) -> None:
    run_fanfold("env", "register", name, str(prefix), "--data", str(server.data))


def _run(caller: Caller, script: str, environment: str, **members: object) -> httpx2.Response:
    """Run a script once the server has seen the environment, which takes a second at most."""
    body = {"envName": environment, **members}
    answers: list[httpx2.Response] = []

    def is_known() -> bool:
        answers.append(caller.do_eval(script, body))
        return bool(answers[-1].json().get("errorCode") != 2012)

    until(is_known, SEEN_WITHIN_S, f"{environment} is known")
    return answers[-1]


def test_a_function_runs_in_a_plain_virtual_environment(frida: Caller, plain: Path) -> None:
    answer = _run(frida, "where", "plain")
    assert answer.status_code == 200, answer.text
    said = answer.json()["result"]
    assert said["prefix"] == str(plain)
    assert said["distributions"] == []
    assert not any("site-packages" in p and not p.startswith(str(plain)) for p in said["path"])
    assert said["user_site"] is True
    assert said["variables"]["VIRTUAL_ENV"] == str(plain)
    assert said["variables"]["PATH"].startswith(f"{plain}/bin:")


def test_a_function_runs_in_a_conda_prefix(frida: Caller, conda: Path) -> None:
    answer = _run(frida, "where", "geo")
    assert answer.status_code == 200, answer.text
    said = answer.json()["result"]
    assert (said["prefix"], said["distributions"]) == (str(conda), [])
    assert said["variables"]["CONDA_PREFIX"] == str(conda)
    assert said["variables"]["CONDA_DEFAULT_ENV"] == "geo"
    assert "VIRTUAL_ENV" not in said["variables"]


@pytest.mark.usefixtures("plain")
def test_nothing_of_the_servers_environment_leaks_in(frida: Caller) -> None:
    said = _run(frida, "where", "plain").json()["result"]
    assert not {"PYTHONSTARTUP", "LD_BIND_NOW", "SECRET_OF_OURS"} & set(said["variables"])
    assert not any("fanfold" in name.lower() for name in said["variables"])


@pytest.mark.usefixtures("plain")
def test_all_of_a_run_works_there(frida: Caller) -> None:
    """With the standard library alone: values, order, seeds, errors, output, parameters."""
    source = """
def all_of_it(i, x=0):
    import random
    print("on its way")
    if i == 3:
        raise LookupError(i)
    return {"i": i, "x": x, "r": random.random(), "f": 6.0, "nan": float("nan"), "t": (1, 2)}
"""
    frida.store("all_of_it", source)
    _run(frida, "where", "plain")
    body = {
        "times": 4,
        "envName": "plain",
        "parallel": 2,
        "onError": "continue",
        "seed": 9,
        "parameters": '{"x":1180591620717411303424}',
    }
    answers = [frida.index_apply("all_of_it", body) for _ in range(2)]
    assert answers[0].content == answers[1].content
    said = answers[0].json()
    assert [error["index"] for error in said["errors"]] == [3]
    assert said["result"][2] is None
    first = said["result"][0]
    assert (first["i"], first["x"], first["nan"], first["t"]) == (1, 2**70, None, [1, 2])
    assert b'"f":6,' in answers[0].content


def test_the_same_script_runs_in_several_environments(
    frida: Caller, plain: Path, conda: Path
) -> None:
    prefixes = {}
    for _ in range(2):
        for name in ("plain", "geo", "default"):
            prefixes[name] = _run(frida, "where", name).json()["result"]["prefix"]
    assert (prefixes["plain"], prefixes["geo"]) == (str(plain), str(conda))
    assert prefixes["default"] not in (str(plain), str(conda))
    assert frida.do_eval("where").json()["result"]["prefix"] == prefixes["default"]


@pytest.mark.usefixtures("plain", "conda")
def test_the_listing_shows_them(frida: Caller) -> None:
    _run(frida, "where", "geo")
    listed = frida.get("/oml/api/py-scripts/v1/envs").json()["result"]["envs"]
    by_name = {entry["name"]: entry for entry in listed}
    assert set(by_name) >= {"default", "geo", "plain"}
    assert by_name["plain"]["number_of_installed_packages"] == 0
    assert by_name["geo"]["tags"]["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.usefixtures("plain")
def test_an_unknown_environment_is_400_at_once(server: Server, frida: Caller) -> None:
    """No process is started for it, and the answer says which there are."""
    _run(frida, "where", "plain")
    before = {process.pid for process in zygotes(server.pid)}
    took_s = []
    for _ in range(5):  # the machine may be busy with something else; not each time
        watch = Stopwatch()
        for verb, body in (("do-eval", {}), ("index-apply", {"times": 100})):
            path = f"/oml/api/py-scripts/v1/{verb}/where"
            answer = frida.post(path, json={**body, "envName": "plian"})
            error = answer.json()
            told = (answer.status_code, error["errorCode"], error["field"])
            assert told == (400, 2012, "envName")
            assert all(word in error["errorMessage"] for word in ('"plian"', "default", "plain"))
            assert 'did you mean "plain"?' in error["errorMessage"]
        took_s.append(watch.counted_s())
    assert min(took_s) < 1
    assert {process.pid for process in zygotes(server.pid)} <= before


@pytest.mark.usefixtures("plain")
def test_figures_without_matplotlib_are_400_naming_package_and_environment(frida: Caller) -> None:
    for more in ({}, {"onError": "continue"}):
        answer = _run(frida, "where", "plain", graphicsFlag=True, **more)
        error = answer.json()
        assert (answer.status_code, error["errorCode"]) == (400, 3009)
        assert "matplotlib" in error["errorMessage"]
        assert '"plain"' in error["errorMessage"]
    body = {"times": 1000, "envName": "plain", "graphicsFlag": True, "onError": "continue"}
    answer = frida.index_apply("where", body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 3009)


@pytest.mark.usefixtures("plain")
def test_a_generator_without_numpy_is_400_naming_package_and_environment(frida: Caller) -> None:
    frida.store("wants_rng", "def wants_rng(rng):\n    return 1 if rng == 5 else rng.random()\n")
    answer = _run(frida, "wants_rng", "plain")
    error = answer.json()
    assert (answer.status_code, error["errorCode"]) == (400, 3010)
    assert all(word in error["errorMessage"] for word in ("rng", "numpy", '"plain"'))
    given = _run(frida, "wants_rng", "plain", parameters='{"rng":5}')
    assert given.json() == {"result": 1}


@pytest.mark.usefixtures("plain")
def test_an_import_that_the_environment_lacks_is_the_scripts_error(frida: Caller) -> None:
    frida.store("wants_numpy", "def wants_numpy():\n    import numpy\n    return numpy.pi\n")
    answer = _run(frida, "wants_numpy", "plain")
    error = answer.json()
    assert (answer.status_code, error["errorType"]) == (400, "ModuleNotFoundError")
    assert frida.do_eval("wants_numpy").json() == {"result": 3.141592653589793}


def test_an_interpreter_that_cannot_start_is_told_with_its_last_words(
    server: Server, frida: Caller, place: Path
) -> None:
    prefix = place / "broken"
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin" / "python"
    python.write_text("#!/bin/sh\necho 'not today' >&2\nexit 3\n")
    python.chmod(0o755)
    (prefix / "pyvenv.cfg").write_text("")
    _register(server, "broken", prefix)
    for _ in range(2):
        answer = _run(frida, "where", "broken")
        error = answer.json()
        assert (answer.status_code, error["errorCode"]) == (503, 5002)
        assert "broken" in error["errorMessage"]
        assert "not today" in error["errorMessage"]
    assert frida.do_eval("where").status_code == 200


def test_an_environment_that_is_gone_is_unknown(server: Server, frida: Caller, place: Path) -> None:
    prefix = _make_venv(place / "passing")
    _register(server, "passing", prefix)
    assert _run(frida, "where", "passing").status_code == 200
    shutil.rmtree(prefix)

    def is_unknown() -> bool:
        return bool(frida.do_eval("where", {"envName": "passing"}).json().get("errorCode") == 2012)

    until(is_unknown, SEEN_WITHIN_S, "it is unknown")


def test_a_name_can_be_pointed_elsewhere_while_its_old_runs_go_on(
    server: Server, frida: Caller, place: Path
) -> None:
    """What has begun ends where it began; what begins then runs in the new one."""
    old, new = _make_venv(place / "v1"), _make_venv(place / "v2")
    source = """
def slow(i=0, pause_s=0):
    import sys, time
    time.sleep(pause_s)
    return sys.prefix
"""
    frida.store("slow", source)
    _register(server, "moving", old)
    assert _run(frida, "slow", "moving").json() == {"result": str(old)}
    answers: list[httpx2.Response] = []

    def wait() -> None:
        body = {"times": 4, "envName": "moving", "parameters": json.dumps({"pause_s": 1})}
        with Caller(server.url, "frida", frida.token) as own:
            answers.append(own.index_apply("slow", body))

    thread = threading.Thread(target=wait)
    thread.start()
    _register(server, "moving", new)

    def has_moved() -> bool:
        answer = frida.do_eval("slow", {"envName": "moving"})
        return bool(answer.json() == {"result": str(new)})

    until(has_moved, SEEN_WITHIN_S, "new runs take place in the new one")
    thread.join(100)
    assert [answer.json() for answer in answers] == [{"result": [str(old)] * 4}]


@pytest.mark.usefixtures("plain")
def test_workers_have_a_user_id_of_their_own_where_the_server_is_root(
    server: Server, frida: Caller
) -> None:
    frida.store("who", "def who():\n    import os\n    return [os.getuid(), os.getgroups()]\n")
    uid, groups = _run(frida, "who", "plain").json()["result"]
    with server.client() as client:
        isolation = client.get("/health").json()["isolation"]
    if isolation["own_user_id"]:
        assert uid >= 70_000
        assert groups in ([], [uid])
    else:
        assert any("user id" in text for text in isolation["missing"])


def test_the_doctor_says_what_is_in_force(server: Server) -> None:
    said = json.loads(run_fanfold("doctor", "--json", "--data", str(server.data)).stdout)
    with server.client() as client:
        assert client.get("/health").json()["isolation"]["rung"] == said["isolation"]["rung"]
    assert said["ok"]
    assert [rung["rung"] for rung in said["rungs"]] == ["none", "basic", "confined", "bwrap"]
    assert [rung["rung"] for rung in said["rungs"] if rung["in_force"]] == [
        said["isolation"]["rung"]
    ]
    for rung in said["rungs"]:
        assert rung["works"] or rung["why_not"]


def test_a_server_does_not_start_below_what_is_required(tmp_path: Path) -> None:
    options = ("--isolation", "none", "--isolation-required", "basic")
    done = run_fanfold(
        "serve", "--port", "0", "--data", str(tmp_path), *options, is_expected_to_fail=True
    )
    assert "isolation_required: basic is required, and none is what works here" in done.stderr
