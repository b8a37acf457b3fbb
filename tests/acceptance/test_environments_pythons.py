"""Conda environments of the oldest Python and of the newest; and one that is carried away."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import FANFOLD, Caller, Server, run_fanfold, serving
from tests.acceptance.environment_calls import BUILT_WITHIN_S, SEEN_WITHIN_S, without_network
from tests.acceptance.processes import until
from tests.acceptance.test_environments_conda import LOOK, add_labcolors
from tests.fakes.conda import write_python
from tests.fakes.packages import write_wheel
from tests.runtime.conftest import VERSIONS, find_interpreter

pytest.importorskip("rattler.index")

WHICH = """
def which(i):
    import random, sys
    import labcolors
    print("on its way")
    return ["%d.%d" % sys.version_info[:2], sys.prefix, labcolors.VERSION, random.random()]
"""


@pytest.fixture(scope="module")
def pythons() -> dict[str, Path]:
    """The oldest Python that this machine has, and the newest."""
    found = {version: path for version in VERSIONS if (path := find_interpreter(version))}
    return {version: found[version] for version in (next(iter(found)), list(found)[-1])}


@pytest.fixture(scope="module")
def channel(place: Path, pythons: dict[str, Path]) -> Path:
    folder = place / "channel"
    for interpreter in pythons.values():
        write_python(folder, interpreter)
    add_labcolors(folder, "1.0")
    return folder


@pytest.fixture(scope="module")
def server(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    users = {"root": "admin", "frida": "developer"}
    options = ("--environments", str(place / "environments"))
    with serving(tmp_path_factory.mktemp("pythons"), *options, users=users) as running:
        yield running


@pytest.fixture(scope="module")
def frida(frida: Caller) -> Caller:
    frida.store("which", WHICH)
    frida.store("look", LOOK)
    return frida


def command(server: Server, place: Path, *words: str) -> str:
    more = ("--data", str(server.data), "--environments", str(place / "environments"))
    return run_fanfold("env", *words, *more, limit_s=BUILT_WITHIN_S).stderr


def test_functions_run_in_the_oldest_python_and_in_the_newest(
    server: Server, frida: Caller, place: Path, channel: Path, pythons: dict[str, Path]
) -> None:
    seeds = []
    for number, version in enumerate(pythons):
        name = f"python{number}"
        wanted = (f"python {version}.*", "labcolors", "--channel", channel.as_uri())
        command(server, place, "create", name, *wanted, "--quiet")
        body = {"envName": name, "times": 3, "seed": 5}

        def answered(body: dict[str, object] = body) -> bool:
            return bool(frida.index_apply("which", body).json().get("errorCode") != 2012)

        until(answered, SEEN_WITHIN_S, f"{name} is seen")
        answer = frida.index_apply("which", body)
        assert answer.status_code == 200, answer.text
        values = answer.json()["result"]
        prefix = str(place / "environments" / ".versions" / name / "1")
        assert [value[:3] for value in values] == [[version, prefix, "1.0"]] * 3
        seeds.append([value[3] for value in values])
        figure = frida.index_apply("which", {**body, "graphicsFlag": True})
        assert (figure.status_code, figure.json()["errorCode"]) == (400, 3009)
        assert all(word in figure.json()["errorMessage"] for word in ("matplotlib", f'"{name}"'))
    assert all(seed == seeds[0] for seed in seeds)  # whichever Python, the same numbers


def test_a_conda_environment_is_carried_with_its_pip_section(
    server: Server, place: Path, channel: Path, tmp_path: Path, pythons: dict[str, Path]
) -> None:
    """Made again where there is no network, after all that it was made of is gone."""
    version = list(pythons)[-1]
    wheel = write_wheel(tmp_path / "wheels", "palette", "0.1", "SHADES = 7\n")
    spec = tmp_path / "environment.yml"
    spec.write_text(f"""
name: carried
channels: [{channel.as_uri()}]
dependencies:
  - python {version}.*
  - labcolors
  - pip: ["--no-index", "--find-links {wheel.parent.as_uri()}", palette]
variables: {{LAB_LEVEL: 7}}
""")
    command(server, place, "create", "carried", "--spec", str(spec), "--quiet")
    parcel = tmp_path / "carried.tar"
    command(server, place, "export", "carried", str(parcel))
    wheel.unlink()
    aside = channel.rename(channel.with_name("gone"))
    try:
        words = [*without_network(), str(FANFOLD), "env", "import", str(parcel)]
        more = ["--data", str(tmp_path / "data"), "--environments", str(place / "apart")]
        done = subprocess.run(
            [*words, *more], capture_output=True, text=True, timeout=BUILT_WITHIN_S, check=False
        )
    finally:
        aside.rename(channel)
    assert done.returncode == 0, done.stderr
    versions = {
        where: place / where / ".versions" / "carried" for where in ("environments", "apart")
    }
    made, again = (json.loads((folder / "1.json").read_text()) for folder in versions.values())
    for member in ("packages", "python", "lock_digest", "description"):
        assert made[member] == again[member]
    assert again["packages"]["palette"] == "0.1"
    assert again["variables"]["LAB_TWICE"] == "77"  # activation is found out anew
    conf = (versions["apart"] / "1" / "etc" / "lab.conf").read_text()
    assert conf == f"root = {versions['apart'] / '1'}\n"
