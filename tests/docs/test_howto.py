"""The how-to pages work with a server and an account that are there."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import PASSWORD, Server, serving
from tests.architecture.repository import ROOT, shown
from tests.docs.pages import PRINTED, RUN, SHOWN, blocks, pages, steps
from tests.docs.sessions import (
    HOWTO,
    LIMIT_S,
    OWN_SERVER,
    PROGRAMS,
    README,
    TUTORIAL,
    differences,
    needs_a_shell,
    run_page,
)
from tests.fakes.ports import reserved_port


@pytest.fixture(scope="module")
def hook_port() -> Iterator[int]:
    """Where the server may call back."""
    with reserved_port() as port:
        yield port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, hook_port: int) -> Iterator[Server]:
    options = (
        *("--environment-dirs", str(ROOT / ".environments")),
        *("--callback-hosts", f"127.0.0.1:{hook_port}"),
    )
    folder = tmp_path_factory.mktemp("docs")
    assert PASSWORD == "correct horse battery"  # the pages say so
    with serving(folder, *options, users={"ada": "developer"}) as running:
        yield running


@pytest.mark.timeout(LIMIT_S + 60)
@needs_a_shell
@pytest.mark.parametrize("page", [page for page in HOWTO if page not in OWN_SERVER], ids=shown)
def test_a_how_to_prints_what_it_shows(
    page: Path, tmp_path: Path, server: Server, hook_port: int
) -> None:
    program = PROGRAMS.get(page.stem)
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"this machine has no {program}")
    variables = {"URL": server.url, "DATA": str(server.data), "HOOK_PORT": str(hook_port)}
    printed = run_page(page, tmp_path, variables)
    assert differences(page, printed) == []


@pytest.mark.parametrize("page", [README, *TUTORIAL, *HOWTO], ids=shown)
def test_every_block_is_run_or_compared_or_says_why_not(page: Path) -> None:
    used = [block for step in steps(page) for block in (step.commands, step.printed)]
    for block in blocks(page):
        place = f"{shown(page)}:{block.line}"
        assert block.language in {RUN, SHOWN, *PRINTED}, f"{place}: what is {block.language!r}?"
        if block.language == SHOWN:
            assert block.before.startswith("<!-- not run: "), f"{place}: why is it not run?"
        else:
            assert block in used, f"{place}: follows no commands"


def test_each_page_of_a_kind_is_known() -> None:
    assert {*OWN_SERVER, *HOWTO} <= set(pages())
