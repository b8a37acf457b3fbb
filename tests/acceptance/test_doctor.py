"""`fanfold doctor` explains environments: what they lack, what is wrong, what builds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import ENGINE, run_fanfold

LIMIT_S = 120.0


@pytest.fixture(scope="module")
def environments(place: Path) -> Path:
    """Those that work, and whatever looks like one."""
    folder = place / "environments"
    bare = [sys.executable, "-m", "venv", "--without-pip"]
    subprocess.run([*bare, folder / "plain"], check=True, timeout=LIMIT_S)
    for name, script in (("moody", "#!/bin/sh\necho 'not today' >&2\nexit 3\n"), ("unmarked", "")):
        (folder / name / "bin").mkdir(parents=True)
        python = folder / name / "bin" / "python"
        python.write_text(script)
        python.chmod(0o755)
    (folder / "moody" / "pyvenv.cfg").touch()
    (folder / "orphan" / "bin").mkdir(parents=True)
    (folder / "orphan" / "pyvenv.cfg").touch()
    (folder / "orphan" / "bin" / "python").symlink_to("/opt/python9/bin/python9")
    (folder / "empty").mkdir()
    (folder / "lost").symlink_to(place / "nowhere")
    (folder / ".versions" / "cut" / "3").mkdir(parents=True)
    (folder / ".locks").mkdir()
    sick = folder / "sick"
    subprocess.run([*bare, sick], check=True, timeout=LIMIT_S)
    site = next(sick.glob("lib/python3*/site-packages"))
    (site / "numpy.py").write_text("raise OSError('built for another machine')\n")
    (site / "numpy-1.0.dist-info").mkdir()
    (site / "numpy-1.0.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 1.0\n")
    return folder


@pytest.fixture(scope="module")
def variables(place: Path) -> dict[str, str]:
    """A machine with a micromamba, as far as looking for it goes."""
    programs = place / "programs"
    programs.mkdir()
    (programs / "micromamba").write_text("#!/bin/sh\n")
    (programs / "micromamba").chmod(0o755)
    return {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "FANFOLD_DEFAULT_ENVIRONMENT": str(ENGINE),
    }


def doctor(place: Path, variables: dict[str, str], *words: str) -> str:
    folders = ("--data", str(place / "data"), "--environments", str(place / "environments"))
    return run_fanfold("doctor", *words, *folders, variables=variables, limit_s=LIMIT_S).stdout


@pytest.fixture(scope="module")
def report(place: Path, environments: Path, variables: dict[str, str]) -> dict[str, Any]:
    _ = environments
    said: dict[str, Any] = json.loads(doctor(place, variables, "--json"))
    return said


def test_it_says_what_each_environment_lacks_and_what_that_means(report: dict[str, Any]) -> None:
    found = {entry["name"]: entry for entry in report["environments"]}
    assert found["default"]["trouble"] is None
    assert found["default"]["lacks"] == {}
    assert found["plain"]["trouble"] is None
    assert found["plain"]["python"].startswith("3.")
    assert set(found["plain"]["lacks"]) == {"numpy", "pandas", "pyarrow", "matplotlib"}
    assert found["plain"]["lacks"]["matplotlib"] == '"graphicsFlag"'
    assert "numpy" not in found["sick"]["lacks"]
    assert found["sick"]["broken"]["numpy"] == "OSError: built for another machine"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("moody", "not today"),
        ("orphan", "its interpreter is a link to /opt/python9/bin/python9, which is not there"),
        ("lost", "nowhere, which is not there"),
        ("empty", "it has no bin/python"),
        ("unmarked", "neither pyvenv.cfg nor conda-meta/history"),
        ("cut@3", "a build that was killed has left it"),
    ],
)
def test_it_says_what_keeps_one_from_working(report: dict[str, Any], name: str, words: str) -> None:
    (entry,) = [entry for entry in report["environments"] if entry["name"] == name]
    assert words in entry["trouble"]
    assert entry["python"] is None


def test_it_says_what_builds_environments(report: dict[str, Any], place: Path) -> None:
    found = {entry["name"]: entry for entry in report["builders"]}
    assert list(found) == ["uv", "rattler", "conda", "mamba", "micromamba"]
    assert found["uv"]["found"].endswith("/uv")
    assert found["micromamba"]["found"] == str(place / "programs" / "micromamba")
    for entry in found.values():
        assert entry["found"] or entry["hint"]
    assert all(Path(path).exists() for path in report["pythons"].values())


def test_it_says_so_to_people_and_changes_nothing(
    place: Path, environments: Path, variables: dict[str, str], report: dict[str, Any]
) -> None:
    _ = report
    before = sorted(path for path in environments.rglob("*") if "__pycache__" not in path.parts)
    lines = doctor(place, variables).splitlines()
    assert "  plain                works: venv, Python 3." in "\n".join(lines)
    assert '    lacks matplotlib: no "graphicsFlag"' in lines
    assert any(line.startswith("  micromamba conda  /") for line in lines)
    assert any(line.startswith("  lost") and "does not work" in line for line in lines)
    after = sorted(path for path in environments.rglob("*") if "__pycache__" not in path.parts)
    assert before == after
    assert not (place / "data").exists()
