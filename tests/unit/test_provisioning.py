"""Who may have environments made, and what is refused before anything is."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fanfold_server.environments.folders import Folders
from fanfold_server.environments.places import Places
from fanfold_server.environments.records import made_text
from fanfold_server.environments.shelf import BuiltShelf
from fanfold_server.model.actor import Actor, Role
from fanfold_server.model.environment import Environment, Hello, Made, Recipe
from fanfold_server.model.errors import (
    EnvironmentNotFound,
    Forbidden,
    InvalidEnvironment,
    UnknownBuild,
    UnknownEnvironment,
)
from fanfold_server.service.provisioning import Described, Provisioning
from fanfold_server.service.recipes import recipe_of

ADMIN = Actor(user_id=1, name="ROOT", role=Role.ADMIN)
USER = Actor(user_id=2, name="FRIDA", role=Role.DEVELOPER)


class NoJobs:
    async def open_jobs(self) -> Mapping[tuple[str, int | None], Mapping[str, int]]:
        return {}


async def _no_probe(
    _environment: Environment, _sources: tuple[str, ...]
) -> tuple[Hello, list[bytes]]:
    raise AssertionError("nothing is started here")


async def _unconfined(_environment: Environment, command: Sequence[str]) -> list[str]:
    return list(command)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path / "environments")
    found.prepare()
    return found


@pytest.fixture
def shelf(places: Places) -> BuiltShelf:
    return BuiltShelf(places, {}, _no_probe, _unconfined)


def provisioning(shelf: BuiltShelf, *, users_may: bool = False) -> Provisioning:
    return Provisioning(shelf, NoJobs(), users_may=users_may, per_user=2)


def put(places: Places, name: str, version: int = 1) -> Made:
    """Put a version onto the shelf as a build would leave it."""
    prefix = places.prefix(name, version)
    (prefix / "bin").mkdir(parents=True)
    (prefix / "pyvenv.cfg").touch()
    interpreter = prefix / "bin" / "python"
    interpreter.write_text("")
    interpreter.chmod(0o755)
    made = Made(
        name=name,
        version=version,
        owner="ROOT",
        recipe=recipe_of(["six"]),
        description="six",
        tags={"application": "OML4PY"},
        prefix=prefix,
        python="3.11.2",
        packages={f"p{number}": "1.0" for number in range(200)},
        size_bytes=300_000_000,
        variables={"A": "b"},
        preload=(),
        lock_digest="",
        created=datetime(2026, 11, 23, tzinfo=UTC),
    )
    use = places.use(name, version)
    use.touch()
    os.utime(use, (0, 0))
    places.lock(name, version).write_text("")
    places.manifest(name, version).write_text(made_text(made))
    places.point(name, version)
    return made


def test_only_administrators_order_unless_the_operator_lets_users(shelf: BuiltShelf) -> None:
    with pytest.raises(Forbidden, match="user_environments"):
        provisioning(shelf).order(USER, "mine", recipe_of(["six"]))
    assert provisioning(shelf).order(ADMIN, "mine", recipe_of(["six"])).owner == "ROOT"
    order = provisioning(shelf, users_may=True).order(USER, "mine", recipe_of(["six"]))
    assert (order.owner, order.tags) == ("FRIDA", {"application": "OML4PY"})


@pytest.mark.parametrize("name", ["", "..", "a/b", ".x", "a b", "x" * 65])
def test_a_name_is_one_before_anything_is_made(shelf: BuiltShelf, name: str) -> None:
    with pytest.raises(InvalidEnvironment, match="is no name"):
        provisioning(shelf).order(ADMIN, name, recipe_of(["six"]))
    with pytest.raises(EnvironmentNotFound):
        provisioning(shelf).versions(name)


def test_tags_and_descriptions_have_a_limit(shelf: BuiltShelf) -> None:
    wanted: Recipe = recipe_of(["six"])
    with pytest.raises(InvalidEnvironment, match="1000"):
        provisioning(shelf).order(ADMIN, "a", wanted, description="x" * 1001)
    with pytest.raises(InvalidEnvironment, match="20 tags"):
        provisioning(shelf).order(ADMIN, "a", wanted, tags={str(n): "" for n in range(21)})


def test_a_manifest_is_read_as_it_was_written(shelf: BuiltShelf, places: Places) -> None:
    made = put(places, "lab")
    assert shelf.current("lab") == made
    assert shelf.versions("lab") == [made]
    assert shelf.last_used(made) is None
    with pytest.raises(UnknownBuild):
        provisioning(shelf).build(ADMIN, "nothing")


def test_a_version_without_its_manifest_is_none(shelf: BuiltShelf, places: Places) -> None:
    """What a killed build or a drop that goes on has left is not to be run in."""
    made = put(places, "lab")
    folders = Folders(folders=(places.root,), default=None, fallback=Path("/usr"), shelf=shelf)
    assert folders.find("lab", 1).variables == {"A": "b"}
    places.manifest("lab", 1).unlink()
    assert shelf.current("lab") is None
    with pytest.raises(UnknownEnvironment, match="version 1"):
        folders.find("lab", 1)
    fresh = Folders(folders=(places.root,), default=None, fallback=Path("/usr"), shelf=shelf)
    with pytest.raises(UnknownEnvironment):
        fresh.find(made.name)


@dataclass
class Looks:
    """How often the disk is looked into below a directory, as the interpreter tells its auditors.

    Attributes:
        files: that were opened.
        folders: that were listed.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    is_on: bool = False

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_on and event in {"open", "os.listdir", "os.scandir"}:
            path = arguments[0]
            if isinstance(path, str | os.PathLike) and Path(path).is_relative_to(self.root):
                (self.files if event == "open" else self.folders).append(Path(path))


async def test_forty_environments_are_listed_without_walking_through_them(
    shelf: BuiltShelf, places: Places
) -> None:
    """From what was written down when they were built: what they hold is never looked at.

    Counted, and not timed: a directory is listed a few times each, a manifest read once for ever.
    """
    for number in range(40):
        for version in (1, 2):
            put(places, f"lab{number:02}", version)
    registered = places.root / "registered"
    shutil.copytree(places.prefix("lab00", 1), registered)
    site = registered / "lib" / "python3.12" / "site-packages"
    for number in range(300):
        (site / f"p{number}-1.dist-info").mkdir(parents=True)
    folders = Folders(folders=(places.root,), default=registered, fallback=registered, shelf=shelf)
    decisions = provisioning(shelf)
    looks = Looks(places.root)
    sys.addaudithook(looks.hear)  # for as long as the process lives: it is turned off instead

    async def list_all() -> tuple[list[dict[str, object]], list[Described]]:
        looks.files.clear()
        looks.folders.clear()
        looks.is_on = True
        try:
            return await folders.listing(ADMIN), await decisions.listing()
        finally:
            looks.is_on = False

    await list_all()
    assert len(looks.files) == 80  # the manifests
    listed, described = await list_all()
    assert looks.files == []
    assert not [path for path in looks.folders if path.parent.parent == places.versions]
    assert not [path for path in looks.folders if path.is_relative_to(site)]
    assert Counter(looks.folders).most_common(1)[0][1] <= 2
    assert len(looks.folders) <= 2 * 40 + 6

    assert len(described) == 40
    assert [entry["name"] for entry in listed if str(entry["name"]).startswith("lab")] == [
        f"lab{number:02}" for number in range(40)
    ]
    assert described[0].versions == [2, 1]
    entries = {entry["name"]: entry for entry in listed}
    assert entries["lab39"]["number_of_installed_packages"] == 200
    assert entries["registered"]["number_of_installed_packages"] == 300
    (site / "one-more-1.dist-info").mkdir()  # what others change is seen
    later = {entry["name"]: entry for entry in await folders.listing(ADMIN)}
    assert later["registered"]["number_of_installed_packages"] == 301


def test_rolling_back_is_a_link(shelf: BuiltShelf, places: Places) -> None:
    first, second = put(places, "lab", 1), put(places, "lab", 2)
    assert shelf.current("lab") == second
    provisioning(shelf).make_current(ADMIN, "lab", 1)
    assert shelf.current("lab") == first == replace(second, version=1, prefix=first.prefix)
    with pytest.raises(Forbidden, match="ROOT"):
        provisioning(shelf, users_may=True).make_current(USER, "lab", 2)
