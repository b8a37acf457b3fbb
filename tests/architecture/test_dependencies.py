import re

import pytest

from tests.architecture.repository import (
    ROOT,
    engine_dependencies,
    locked,
    project_dependencies,
    required_name,
)

PAGE = ROOT / "docs" / "explanation" / "dependencies.md"


def explained() -> list[str]:
    """Return the packages that have a row of their own in the page's tables."""
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [required_name(row) for row in rows]


def test_every_direct_dependency_is_explained_once_and_no_other_is() -> None:
    """A library that nobody can say the reason for is a library that nobody can remove."""
    assert sorted(set(explained())) == sorted(project_dependencies() | engine_dependencies())
    assert len(explained()) == len(set(explained()))


def test_every_direct_dependency_is_locked() -> None:
    """After a change of pyproject.toml or engine.in comes `make lock`."""
    assert project_dependencies() - locked("server.lock") == set()
    assert engine_dependencies() - locked("engine.lock") == set()


@pytest.mark.parametrize("lock", ["server.lock", "engine.lock"])
def test_every_pinned_package_carries_hashes_and_no_address(lock: str) -> None:
    """What is installed is what was reviewed, whichever registry or mirror serves it."""
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    pins = re.findall(r"^[A-Za-z0-9].*(?:\n .*)*", text, re.MULTILINE)
    assert pins
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert re.findall(r"\w+://|^--.*", text, re.MULTILINE) == []


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("sqlalchemy[asyncio]>=2.1", "sqlalchemy"),
        ("Pydantic_Settings >= 2", "pydantic-settings"),
        ("uvloop>=0.23; sys_platform != 'win32'", "uvloop"),
    ],
)
def test_a_requirement_is_known_by_its_normal_name(requirement: str, name: str) -> None:
    assert required_name(requirement) == name
