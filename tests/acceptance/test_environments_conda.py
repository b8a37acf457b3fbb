"""Conda environments, really solved and installed from a channel of files, and run in."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.acceptance.conftest import ENGINE, Caller, Server, run_fanfold, serving
from tests.acceptance.processes import until
from tests.fakes.conda import PLACEHOLDER, File, write_package, write_python, write_unpacked

rattler_index = pytest.importorskip("rattler.index")

BUILT_WITHIN_S = 150.0
SEEN_WITHIN_S = 100.0
PNG = b"\x89PNG\r\n"

ACTIVATE = b'export LAB_SHARE="$CONDA_PREFIX/share/lab"\nexport LAB_TWICE="$LAB_LEVEL$LAB_LEVEL"\n'

IDX = """
def test_seaborn_idx(index):
    import matplotlib.pyplot as plt
    plt.plot([0, index])
    plt.title(f"Title {index}")
    return index
"""
NOINP = """
def test_seaborn_noinp():
    import matplotlib.pyplot as plt
    import numpy as np
    plt.scatter(np.arange(3), np.arange(3))
    return [{"id": i, "val": i / 100} for i in range(1, 4)]
"""
LOOK = """
def look():
    import os, subprocess, sys, labcolors
    names = ("LAB_SHARE", "LAB_TWICE", "LAB_LEVEL", "LAB_STATED", "CONDA_PREFIX",
             "CONDA_DEFAULT_ENV")
    with open(sys.prefix + "/etc/lab.conf") as file:
        conf = file.read()
    said = subprocess.run(["labcolors"], stdout=subprocess.PIPE, check=True).stdout.decode()
    return {
        "version": labcolors.VERSION,
        "prefix": sys.prefix,
        "conf": conf,
        "said": said,
        "variables": {name: os.environ.get(name) for name in names},
    }
"""


def add_labcolors(channel: Path, version: str) -> None:
    """Publish a version of a package of every kind of content."""
    site = "site-packages"
    files = {
        f"{site}/labcolors.py": File(
            f"VERSION = {version!r}\n\n\ndef main():\n    print('colours', VERSION)\n".encode()
        ),
        "etc/lab.conf": File(f"root = {PLACEHOLDER}\n".encode()),
        "etc/conda/activate.d/lab.sh": File(ACTIVATE),
        "etc/conda/env_vars.d/lab.json": File(b'{"LAB_STATED": "yes"}'),
    }
    write_package(
        channel,
        "labcolors",
        version,
        files,
        depends=["python"],
        noarch="python",
        entry_points=["labcolors = labcolors:main"],
    )
    asyncio.run(rattler_index.index_fs(channel))


@pytest.fixture(scope="module")
def channel(place: Path) -> Path:
    """An interpreter, numpy, and a package that runs on every machine."""
    folder = place / "channel"
    minor = ".".join(write_python(folder).split(".")[:2])
    site = ENGINE / "lib" / f"python{minor}" / "site-packages"
    if site.is_dir():
        write_unpacked(folder, site, "numpy", depends=[f"python {minor}.*"])
    add_labcolors(folder, "1.0")
    return folder


@pytest.fixture(scope="module")
def server(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    users = {"root": "admin", "frida": "developer"}
    options = ("--environments", str(place / "environments"))
    with serving(tmp_path_factory.mktemp("conda"), *options, users=users) as running:
        yield running


@pytest.fixture(scope="module")
def frida(frida: Caller) -> Caller:
    frida.store("test_seaborn_idx", IDX)
    frida.store("test_seaborn_noinp", NOINP)
    frida.store("look", LOOK)
    return frida


def command(server: Server, place: Path, *words: str, fails: bool = False) -> str:
    """Run `fanfold env …` beside the server; gives what it says."""
    more = ("--data", str(server.data), "--environments", str(place / "environments"))
    done = run_fanfold("env", *words, *more, is_expected_to_fail=fails, limit_s=BUILT_WITHIN_S)
    return done.stdout + done.stderr


def is_seen(caller: Caller, name: str) -> None:
    """Wait until the server has seen an environment."""

    def listed() -> bool:
        entries = caller.get("/oml/api/py-scripts/v1/envs").json()["result"]["envs"]
        return any(entry["name"] == name for entry in entries)

    until(listed, SEEN_WITHIN_S, f"{name} is listed")


@pytest.fixture(scope="module")
def seaborn(server: Server, frida: Caller, place: Path, channel: Path) -> str:
    spec = place / "environment.yml"
    spec.write_text(f"""
name: seaborn
channels:
  - {channel.as_uri()}
  - nodefaults
dependencies:
  - python
  - numpy
  - labcolors <2
  - pip:
      - matplotlib
variables:
  LAB_LEVEL: 7
""")
    words = ("--description", "Python package for seaborn", "--tag", "application=OML4PY")
    command(server, place, "create", "seaborn", "--spec", str(spec), *words)
    is_seen(frida, "seaborn")
    return "seaborn"


def test_w03_runs_in_the_conda_environment_seaborn(frida: Caller, seaborn: str) -> None:
    body = {"times": 2, "envName": seaborn, "graphicsFlag": True}
    answer = frida.index_apply("test_seaborn_idx", body)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert list(result) == ["0", "1"]
    for key, number in (("0", 1), ("1", 2)):
        image = result[key]
        assert list(image) == ["IMAGE", "DATA", "TIME", "TITLE", "ID"]
        assert base64.b64decode(image["IMAGE"]).startswith(PNG)
        rest = (image["DATA"], image["TIME"], image["TITLE"], image["ID"])
        assert rest == (str(number), number, f"Title {number}", 1)


def test_w07_runs_in_the_conda_environment_seaborn(frida: Caller, seaborn: str) -> None:
    answer = frida.do_eval("test_seaborn_noinp", {"envName": seaborn, "graphicsFlag": True})
    assert answer.status_code == 200, answer.text
    (image,) = answer.json()["result"]
    assert base64.b64decode(image["IMAGE"]).startswith(PNG)
    assert image["ID"] == 1
    assert "TIME" not in image
    assert json.loads(image["DATA"])[0] == {"id": 1, "val": 0.01}


def test_activation_is_found_out_once_and_prefixes_are_written_in(
    frida: Caller, place: Path, seaborn: str
) -> None:
    said = frida.do_eval("look", {"envName": seaborn}).json()["result"]
    prefix = said["prefix"]
    assert prefix == str(place / "environments" / ".versions" / "seaborn" / "1")
    assert said["conf"] == f"root = {prefix}\n"
    assert said["said"] == "colours 1.0\n"
    assert said["variables"] == {
        "LAB_SHARE": f"{prefix}/share/lab",
        "LAB_TWICE": "77",
        "LAB_LEVEL": "7",
        "LAB_STATED": "yes",
        "CONDA_PREFIX": prefix,
        "CONDA_DEFAULT_ENV": "seaborn",
    }
    variables = frida.get("/api/v1/environments/seaborn").json()["variables"]
    assert variables["LAB_TWICE"] == "77"


def test_the_lock_names_every_package_by_address_and_hash(
    place: Path, channel: Path, seaborn: str
) -> None:
    lock = json.loads((place / "environments" / ".versions" / seaborn / "1.lock").read_text())
    assert {package["name"] for package in lock["conda"]} == {"python", "numpy", "labcolors"}
    for package in lock["conda"]:
        assert package["url"].startswith(channel.as_uri())
        assert len(package["sha256"]) == 64
    # What conda has installed, the pip section does not install again.
    assert 'name = "matplotlib"' in lock["pip"]
    assert 'name = "numpy"' not in lock["pip"]


def test_it_is_solved_updated_turned_back_and_removed(
    server: Server, root: Caller, frida: Caller, place: Path, channel: Path
) -> None:
    lab = ("lab", "python", "labcolors", "--channel", channel.as_uri())
    assert "version 1" in command(server, place, "create", *lab)
    is_seen(frida, "lab")

    def has(version: str) -> None:
        def there() -> bool:
            found = frida.do_eval("look", {"envName": "lab"}).json().get("result")
            return isinstance(found, dict) and found["version"] == version

        until(there, SEEN_WITHIN_S, f"it is {version}")

    has("1.0")
    add_labcolors(channel, "2.0")
    assert "version 2" in command(server, place, "update", "lab", "--quiet")
    has("2.0")
    command(server, place, "rollback", "lab", "1")
    has("1.0")
    assert root.delete("/api/v1/environments/lab", params={"version": 2}).status_code == 204

    frida.store("frame", "def frame(dat):\n    return len(dat)\n")
    answer = frida.post(
        "/oml/api/py-scripts/v1/table-apply/frame",
        json={
            "input": "select 1 as a",
            "envName": "lab",
            "parameters": '{"oml_input_type":"pandas.DataFrame"}',
        },
    )
    error = answer.json()
    assert (answer.status_code, error["errorCode"]) == (400, 3012)
    assert '"lab"' in error["errorMessage"]
    assert any(name in error["errorMessage"] for name in ("pandas", "pyarrow"))

    create = {"micromamba": ["create", "--yes"], "conda": ["env", "create"]}
    for program, verb in create.items():
        argv, asked = make_with_a_program_of_this_machine(program, server, place, channel)
        prefix, file = argv[len(verb) + 1], argv[len(verb) + 3]
        assert argv == [*verb, "--prefix", prefix, "--file", file]
        assert prefix.endswith(f"/.versions/{program}/1")
        assert asked == {
            "channels": [channel.as_uri(), "nodefaults"],
            "dependencies": ["python", "labcolors"],
        }
        command(server, place, "drop", program)
    command(server, place, "drop", "lab")
    assert sorted(p.name for p in (place / "environments" / ".versions" / "lab").iterdir()) == [
        "last"
    ]


def make_with_a_program_of_this_machine(
    name: str, server: Server, place: Path, channel: Path
) -> tuple[list[str], dict[str, object]]:
    """Have a stand-in for conda asked; gives what it was told: its arguments and its file.

    It makes the environment by copying one, which is as far as a test can go without the program.
    """
    programs = place / f"programs-{name}"
    programs.mkdir()
    program = programs / name
    program.write_text(f"""#!/bin/sh
printf '%s\\n' "$@" > {programs}/argv
cp "$6" {programs}/asked.yml
cp -a {place}/environments/.versions/lab/1 "$4"
""")
    program.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    more = ("--data", str(server.data), "--environments", str(place / "environments"))
    words = ("python", "labcolors", "--channel", channel.as_uri(), "--with", name)
    run_fanfold("env", "create", name, *words, *more, variables={"PATH": path})
    asked: dict[str, object] = yaml.safe_load((programs / "asked.yml").read_text())
    return (programs / "argv").read_text().splitlines(), asked


def test_what_cannot_be_solved_is_said_in_the_solvers_words(
    server: Server, place: Path, channel: Path
) -> None:
    words = ("wrong", "python", "labcolors >=9", "--channel", channel.as_uri())
    said = command(server, place, "create", *words, fails=True)
    assert "labcolors" in said
    assert "9" in said
    assert not (place / "environments" / ".versions" / "wrong" / "1").exists()
    none = command(server, place, "create", "wrong", "labcolors", "--with", "mamba", fails=True)
    assert "no mamba" in none
