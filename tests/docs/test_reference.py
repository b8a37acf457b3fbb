"""The reference is what the code says, and links lead somewhere."""

import subprocess
import sys

import pytest

from fanfold_server.http.run_document import openapi_paths
from fanfold_server.model.outcome import FailureKind
from fanfold_server.settings import Settings
from tests.architecture.repository import ROOT, shown
from tests.docs.pages import Block, agrees, links, pages

REFERENCE = ROOT / "docs" / "reference"


def test_generated_pages_are_fresh() -> None:
    """`make reference` writes them anew."""
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("settings.md", list(Settings.model_fields)),
        ("errors.md", [kind.name for kind in FailureKind]),
        ("routes.md", [f"POST {path}" for path in openapi_paths()]),
        ("cli.md", ["serve", "user add", "env register", "migrate", "demo"]),
    ],
)
def test_the_reference_is_complete(page: str, names: list[str]) -> None:
    """The generator is not trusted with its own completeness."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    assert [name for name in names if name not in text] == []


def test_links_lead_to_files() -> None:
    broken = {
        f"{shown(page)}: {target}"
        for page in pages()
        for target in links(page)
        if not (page.parent / target.partition("#")[0]).exists()
    }
    assert broken == set()


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
    assert set(pages()) - reached == set()


@pytest.mark.parametrize(
    ("language", "wanted", "output", "is_same"),
    [
        ("json", '{"a": 1}\n', '{"a":1}\n', True),
        ("json", '{"a": 1}', '{"a":2}', False),
        ("json", '{"a":"…","b":1}', '{"a":"xyz","b":1}', True),
        ("json", '{"a":"…","b":1}', '{"a":"xyz","b":12}', False),
        ("text", "one …", "one two\nthree", True),
        ("text", "one", "one two", False),
    ],
)
def test_what_is_shown_is_compared(language: str, wanted: str, output: str, is_same: bool) -> None:
    assert agrees(Block(language, wanted, 1, ""), output) is is_same
