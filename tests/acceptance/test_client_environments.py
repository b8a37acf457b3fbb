"""The client has environments built, and somebody looks on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold import AsyncClient, Client, errors
from fanfold.faults import BuildFailed, NotSendable
from fanfold.records import Build, BuiltEnvironment
from tests.acceptance.conftest import PASSWORD, Server, serving
from tests.acceptance.environment_calls import SEEN_WITHIN_S
from tests.acceptance.processes import until
from tests.acceptance.test_progress import terminal
from tests.fakes.packages import requirements

VERSION = "def version():\n    import labcolors\n    return labcolors.VERSION\n"


@pytest.fixture(scope="module")
def specs(place: Path, wheels: Path) -> dict[str, Path]:
    """Files that say what an environment is made of, by the version that they want."""
    made = {}
    for version in ("1.0", "2.0"):
        made[version] = place / f"lab-{version}.txt"
        made[version].write_text(requirements(wheels, f"labcolors=={version}"))
    made["none"] = place / "requirements.txt"
    made["none"].write_text(requirements(wheels, "nosuchthing"))
    return made


@pytest.fixture(scope="module")
def server(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sdk-built")
    users = {"root": "admin", "alice": "developer"}
    with serving(folder, "--environments", str(place / "environments"), users=users) as running:
        yield running


@pytest.fixture(scope="module")
def root(server: Server) -> Iterator[Client]:
    with Client(server.url, username="root", password=PASSWORD) as client:
        yield client


def test_an_environment_is_built_updated_turned_back_and_dropped(
    root: Client, specs: dict[str, Path]
) -> None:
    first = root.environments.create("lab", spec=specs["1.0"], description="colours")
    assert isinstance(first, BuiltEnvironment)
    assert (first.version, first.packages) == (1, {"labcolors": "1.0"})
    lab = root.using(environment="lab")
    until(lambda: "lab" in [e.name for e in root.environments.list()], SEEN_WITHIN_S, "it is known")
    assert lab.do_eval(VERSION) == "1.0"
    again = root.environments.create("lab", spec=specs["1.0"])
    assert isinstance(again, BuiltEnvironment)
    assert again.version == 1
    second = root.environments.create("lab", spec=specs["2.0"], overwrite=True)
    assert isinstance(second, BuiltEnvironment)
    assert (second.version, second.versions) == (2, [2, 1])
    until(lambda: lab.do_eval(VERSION) == "2.0", SEEN_WITHIN_S, "runs are in the new version")
    root.environments.roll_back("lab", 1)
    assert root.environments.describe("lab").version == 1
    assert {build.state for build in root.environments.builds()} == {"ready"}
    root.environments.drop("lab")
    with pytest.raises(errors.EnvironmentNotFound):
        root.environments.describe("lab")


def test_a_build_shows_a_bar_in_a_terminal(
    server: Server, specs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "build.py").write_text(
        "import sys, fanfold, fanfold.progress\n"
        "fanfold.progress.SHOW_AFTER_S = 0\n"
        f"client = fanfold.Client(username='root', password={PASSWORD!r})\n"
        "print(client.environments.create('shown', spec=sys.argv[1]).packages)\n"
    )
    with terminal(server, tmp_path, sys.executable, "build.py", specs["1.0"]) as shell:
        shell.shown("building shown")
        assert shell.end() == 0
    assert "{'labcolors': '1.0'}" in shell.text


async def test_a_build_need_not_be_waited_for(server: Server, specs: dict[str, Path]) -> None:
    async with AsyncClient(server.url, username="root", password=PASSWORD) as client:
        build = await client.environments.create("later", spec=specs["1.0"], wait=False)
        assert isinstance(build, Build)
        assert (build.name, build.has_ended) == ("later", False)
        made = await client.environments.create("later", spec=specs["1.0"])
        assert isinstance(made, BuiltEnvironment)
        assert (await client.environments.build(build.id)).state == "ready"
        assert "labcolors" in await client.environments.log(build.id)


def test_a_build_that_fails_says_why(root: Client, specs: dict[str, Path]) -> None:
    with pytest.raises(BuildFailed, match=r'"wrong" was not made: (?s:.*)nosuchthing') as told:
        root.environments.create("wrong", spec=specs["none"])
    assert "nosuchthing" in str(told.value.details["log"])
    with pytest.raises(NotSendable, match=r"missing\.txt"):
        root.environments.create("wrong", spec="missing.txt")


def test_who_may_not_build_is_told(server: Server, specs: dict[str, Path]) -> None:
    with (
        Client(server.url, username="alice", password=PASSWORD) as alice,
        pytest.raises(errors.Forbidden),
    ):
        alice.environments.create("lab", spec=specs["1.0"])
