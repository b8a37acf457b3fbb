"""The decisions of scripts/setup.py; what it installs is proven by every other test."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.architecture.repository import ROOT

SETUP = ROOT / "scripts" / "setup.py"


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_script", SETUP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_old_python_can_read_the_script_and_say_that_it_is_too_old(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    ast.parse(SETUP.read_text(encoding="utf-8"), feature_version=(3, 6))
    monkeypatch.setattr(setup, "OLDEST", (99, 0))
    with pytest.raises(setup.SetupError, match=r"Python 99\.0 or newer is needed"):
        setup.check_interpreter()


def test_an_environment_is_made_again_when_what_it_is_made_from_changes(
    setup: ModuleType, tmp_path: Path
) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("one")
    first = setup.fingerprint(lock)
    assert setup.fingerprint(lock) == first
    lock.write_text("two")
    assert setup.fingerprint(lock) != first


def test_an_environment_without_its_stamp_or_its_python_is_not_current(
    setup: ModuleType, tmp_path: Path
) -> None:
    """The stamp is written last, so an interrupted run is never taken for a finished one."""
    assert not setup.is_current(tmp_path, "wanted")
    (tmp_path / setup.STAMP).write_text("wanted")
    assert not setup.is_current(tmp_path, "wanted")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert setup.is_current(tmp_path, "wanted")
    assert not setup.is_current(tmp_path, "something newer")


def test_an_interpreter_in_a_private_home_is_seen_as_closed(
    setup: ModuleType, tmp_path: Path
) -> None:
    """Workers that give up root could not start it."""
    home = tmp_path / "home"
    python = home / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.touch()
    python.chmod(0o755)
    home.chmod(0o700)
    assert setup.first_closed_directory(python) in [home, *home.parents]
    assert setup.first_closed_directory("/usr/bin") is None


def test_pip_and_uv_share_certificates_and_mirrors_and_never_skip_bytecode(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_CERT", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/company.pem")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    env = setup.child_environment()
    assert env["PIP_CERT"] == "/etc/ssl/company.pem"
    assert env["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert "PYTHONDONTWRITEBYTECODE" not in env


def test_a_download_that_fails_is_tried_again(
    setup: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first setup of a machine should not end because a mirror was away for a moment."""
    monkeypatch.setattr(setup, "PAUSES_S", (0, 0))
    tries = tmp_path / "tries"
    good_at = "import pathlib, sys; f = pathlib.Path(sys.argv[1]); f.open('a').write('x'); "
    good_at += "sys.exit(f.stat().st_size < int(sys.argv[2]))"
    setup.downloading(setup.run, sys.executable, "-c", good_at, tries, 3)
    assert tries.read_text() == "xxx"
    assert "a download failed (1); trying again in 0 s (2 of 2)" in capsys.readouterr().out
    tries.unlink()
    with pytest.raises(subprocess.CalledProcessError):
        setup.downloading(setup.run, sys.executable, "-c", good_at, tries, 4)
    assert tries.read_text() == "xxx"
