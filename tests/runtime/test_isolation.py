"""The ladder: what is found, refused and said; attacks on it are in tests/attacks."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from fanfold_runtime import seccomp
from fanfold_server.engine.ladder import IsolationMissing, Ladder, Rung, climb, require
from fanfold_server.engine.limits import Limits
from fanfold_server.engine.places import find_places
from fanfold_server.engine.sandbox import Openings, Sandbox
from fanfold_server.engine.zygote import copy_plain_file
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import EngineUnavailable
from fanfold_server.model.network import Networks
from tests.runtime.bench import Engine, ladder, opened

LIMITS = Limits(memory_mib=512, files=256, processes=64, file_mib=16)
NETWORK = """
import socket
def f(i):
    with socket.socket() as one, socket.create_server(("127.0.0.1", 0)) as other:
        one.connect(other.getsockname())
    return "connected"
"""


@pytest.mark.parametrize("rung", ["none", "basic", "confined", "bwrap"])
def test_a_rung_that_is_asked_for_is_in_force_or_refused(rung: str) -> None:
    if rung in {r.word for r in climb(try_all=True).why_not}:
        with pytest.raises(IsolationMissing, match=f"{rung} does not work here: "):
            climb(rung)
    else:
        assert climb(rung).rung.word == rung


def test_what_is_required_and_missing_is_said() -> None:
    poor = Ladder(rung=Rung.BASIC, why_not={Rung.BWRAP: "bubblewrap is not installed"})
    require(poor, "basic")
    with pytest.raises(IsolationMissing, match=r"confined is required, and basic is .*bubblewrap"):
        require(poor, "confined")


def test_what_is_missing_says_what_it_leaves_open() -> None:
    poor = Ladder(rung=Rung.BASIC, why_not={Rung.CONFINED: "no Landlock"})
    said = Sandbox(LIMITS, poor).describe()
    assert said["rung"] == "basic"
    assert any("no Landlock; so functions read" in text for text in said["missing"])
    assert said["network"] == "all environments"


@pytest.mark.parametrize("rung", ["none", "basic"])
def test_functions_do_not_run_as_root_unless_that_is_allowed(
    rung: str, tmp_path: Path, libraries: Environment
) -> None:
    if os.geteuid() != 0:
        pytest.skip("this is about root's server")
    tmp_path.chmod(0o700)
    (tmp_path / "private").symlink_to(libraries.prefix)
    private = Environment(name="private", prefix=tmp_path / "private", kind="venv")
    with opened(
        private, tmp_path / "cache", isolation=rung, preload=(), allow_root=False
    ) as strict:
        error = strict.run("def f(i): return i").error
    assert isinstance(error, EngineUnavailable)
    assert "functions would run as root" in str(error)
    assert "--allow-root-functions" in str(error)


def test_only_a_named_environment_has_the_network(libraries: Environment, tmp_path: Path) -> None:
    """On the rungs that can keep it away: with bubblewrap, a function has a loopback of its own."""
    if ladder().rung < Rung.CONFINED:
        pytest.skip("no rung that works here keeps the network away")
    with opened(libraries, tmp_path, isolation="confined", preload=()) as engine:
        assert engine.run(NETWORK).failure.type == "OSError"
    openings = Openings(network=Networks({libraries.name}))
    with opened(libraries, tmp_path, preload=(), openings=openings) as engine:
        assert engine.run(NETWORK).value == "connected"


def test_further_directories_can_be_read_and_written(
    libraries: Environment, tmp_path: Path, engine: Engine
) -> None:
    """`engine.shared` is one that may be written; see `Engine`."""
    assert engine.run(f"def f(i): open({str(engine.shared / 'x')!r}, 'w').close()").value is None
    assert (engine.shared / "x").exists()
    lent = engine.shared / "lent"
    lent.mkdir()
    (lent / "model").write_text("weights")
    openings = Openings(readable=(lent, tmp_path / "missing"))
    source = f"def f(i): return open({str(lent / 'model')!r}, 'a' if i == 2 else 'r').read()"
    with opened(libraries, tmp_path, preload=(), openings=openings) as other:
        record = other.run(source, count=2)
    assert record.returned[1] == "weights"
    assert record.failures[2].type in {"PermissionError", "OSError"}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("fixed_modes", [False, True])
def test_every_jump_of_the_filter_lands_inside_it(machine: str, fixed_modes: bool) -> None:
    text = seccomp.program([1, 2, 10, 16], fixed_modes=fixed_modes, machine=machine)
    steps = list(struct.iter_unpack("=HBBI", text))
    assert steps[-1][0] == 0x06  # it ends with a return
    for at, (code, if_true, if_false, _) in enumerate(steps):
        if code & 0x07 == 0x05:
            assert at + 1 + max(if_true, if_false) < len(steps)


def test_there_is_no_filter_for_an_unknown_machine() -> None:
    with pytest.raises(OSError, match="no system call filter for pdp11"):
        seccomp.program([], fixed_modes=False, machine="pdp11")


def test_the_places_of_an_environment_are_its_own_and_its_interpreters(tmp_path: Path) -> None:
    """A link on the way there does not open the directory in which it lies."""
    base = tmp_path / "python-3"
    (base / "lib" / "python3.11").mkdir(parents=True)
    (base / "lib" / "python3.11" / "os.py").touch()
    (base / "bin").mkdir()
    (base / "bin" / "python3").touch()
    (tmp_path / "home" / "bin").mkdir(parents=True)
    shim = tmp_path / "home" / "bin" / "python3"
    shim.symlink_to(base / "bin" / "python3")
    prefix = tmp_path / "environment"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "python").symlink_to(shim)
    (prefix / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\n")
    places = find_places(Environment(name="e", prefix=prefix, kind="venv"))
    assert set(places.folders) == {prefix, base}
    assert places.links == (shim,)


def test_only_plain_files_are_copied(tmp_path: Path) -> None:
    secret, kept = tmp_path / "secret", tmp_path / "kept"
    secret.write_text("secret")
    (tmp_path / "link").symlink_to(secret)
    (tmp_path / "hard").hardlink_to(secret)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "hard", "pipe", "missing"):
        copy_plain_file(tmp_path / name, kept)
        assert not kept.exists()
    (tmp_path / "plain").write_text("fonts")
    copy_plain_file(tmp_path / "plain", kept)
    assert kept.read_text() == "fonts"
