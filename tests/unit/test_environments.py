"""Finding environments in folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fanfold_server.environments.folders import NAME, Folders, human_size, kind_of
from fanfold_server.model.actor import Actor, Role
from fanfold_server.model.errors import UnknownEnvironment

FALLBACK = Path(sys.prefix)


def _make(prefix: Path, kind: str = "venv", *, python: str = "3.12", packages: int = 0) -> Path:
    (prefix / "bin").mkdir(parents=True)
    interpreter = prefix / "bin" / "python"
    interpreter.write_text("#!/bin/sh\n")
    interpreter.chmod(0o755)
    site = prefix / "lib" / f"python{python}" / "site-packages"
    site.mkdir(parents=True)
    for number in range(packages):
        (site / f"p{number}-1.dist-info").mkdir()
    if kind == "venv":
        (prefix / "pyvenv.cfg").write_text("")
    else:
        (prefix / "conda-meta").mkdir()
        (prefix / "conda-meta" / "history").write_text("")
    return prefix


def _folders(*folders: Path, default: Path | None = None) -> Folders:
    return Folders(folders=folders, default=default, fallback=FALLBACK)


@pytest.mark.parametrize("kind", ["venv", "conda"])
def test_the_kind_is_told_by_its_file(tmp_path: Path, kind: str) -> None:
    assert kind_of(_make(tmp_path / "e", kind)) == kind


def test_what_has_no_interpreter_or_no_mark_is_no_environment(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    unmarked = _make(tmp_path / "unmarked")
    (unmarked / "pyvenv.cfg").unlink()
    locked = _make(tmp_path / "locked")
    (locked / "bin" / "python").chmod(0o644)
    assert [kind_of(p) for p in (empty, unmarked, locked, tmp_path / "absent")] == [None] * 4
    with pytest.raises(UnknownEnvironment, match="default"):
        _folders(tmp_path).find("unmarked")


def test_a_conda_prefix_is_told_before_a_virtual_environment(tmp_path: Path) -> None:
    prefix = _make(tmp_path / "both", "conda")
    (prefix / "pyvenv.cfg").write_text("")
    assert kind_of(prefix) == "conda"


def test_a_link_gives_another_name_and_leads_to_the_real_prefix(tmp_path: Path) -> None:
    prefix = _make(tmp_path / "real")
    folder = tmp_path / "names"
    folder.mkdir()
    (folder / "alias").symlink_to(prefix)
    found = _folders(folder).find("alias")
    assert (found.name, found.prefix, found.kind) == ("alias", prefix, "venv")
    assert found.interpreter == prefix / "bin" / "python"


def test_the_first_folder_that_has_a_name_wins(tmp_path: Path) -> None:
    first, second = _make(tmp_path / "a" / "e"), _make(tmp_path / "b" / "e")
    assert _folders(first.parent, second.parent).find("e").prefix == first
    assert _folders(second.parent, first.parent, tmp_path / "absent").find("e").prefix == second


def test_the_default_is_the_named_prefix_then_the_folders_then_ours(tmp_path: Path) -> None:
    ours = _folders()
    assert ours.find(None).prefix == FALLBACK.resolve()
    assert ours.uses_own_interpreter
    named = _make(tmp_path / "folder" / "default")
    assert _folders(named.parent).find(None).prefix == named
    other = _make(tmp_path / "other", "conda")
    chosen = _folders(named.parent, default=other)
    assert (chosen.find(None).prefix, chosen.find("default").kind) == (other, "conda")
    assert not chosen.uses_own_interpreter


@pytest.mark.parametrize(
    "name", ["..", "../a", "a/..", "/etc", ".hidden", "", "a\0b", "a b", "-a", "x" * 65, "é", "a\n"]
)
def test_a_name_is_looked_up_and_never_joined_to_a_path(tmp_path: Path, name: str) -> None:
    _make(tmp_path / "a")
    _make(tmp_path / ".hidden")
    _make(tmp_path / "a b")
    assert NAME.fullmatch(name) is None
    folders = _folders(tmp_path)
    if name:
        with pytest.raises(UnknownEnvironment):
            folders.find(name)


def test_an_unknown_name_is_told_with_those_there_are_and_the_likeliest(tmp_path: Path) -> None:
    for name in ("seaborn", "geo"):
        _make(tmp_path / name)
    with pytest.raises(UnknownEnvironment) as caught:
        _folders(tmp_path).find("seabron")
    assert caught.value.details["field"] == "envName"
    assert "default, geo, seaborn" in caught.value.message
    assert 'did you mean "seaborn"?' in caught.value.message


def test_a_new_environment_is_seen_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("fanfold_server.environments.folders.time.monotonic", lambda: now)
    folders = _folders(tmp_path)
    with pytest.raises(UnknownEnvironment):
        folders.find("late")
    _make(tmp_path / "late")
    now += 1.1
    assert folders.find("late").name == "late"


async def test_the_listing_has_the_compatible_shape(tmp_path: Path) -> None:
    _make(tmp_path / "geo", "conda", packages=3)
    listed = await _folders(tmp_path, default=_make(tmp_path / "base" / "x")).listing(
        Actor(user_id=1, name="ANN", role=Role.DEVELOPER)
    )
    assert [entry["name"] for entry in listed] == ["default", "geo"]
    entry = listed[1]
    size = entry.pop("size")
    assert isinstance(size, str)
    assert size.split()[1] in {"B", "KiB"}
    assert entry == {
        "name": "geo",
        "description": "conda environment with Python 3.12",
        "number_of_installed_packages": 3,
        "tags": {"python": "3.12", "application": "OML4PY"},
    }


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0.0 B"),
        (1023, "1023.0 B"),
        (1536, "1.5 KiB"),
        (1825361100, "1.7 GiB"),
        (2**50, "1024.0 TiB"),
    ],
)
def test_sizes_are_written_for_people(size_bytes: int, text: str) -> None:
    assert human_size(size_bytes) == text
