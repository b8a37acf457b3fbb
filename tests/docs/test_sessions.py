"""The pages that begin with nothing work from nothing."""

from pathlib import Path

import pytest

from tests.architecture.repository import shown
from tests.docs.sessions import (
    LIMIT_S,
    OWN_SERVER,
    differences,
    needs_a_shell,
    run_page,
)
from tests.fakes.ports import reserved_port


@pytest.mark.timeout(LIMIT_S + 60)
@needs_a_shell
@pytest.mark.parametrize("page", OWN_SERVER, ids=shown)
def test_a_session_from_nothing_prints_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    """Only the port is another: 8000 may be taken here."""
    with reserved_port() as port:
        variables = {"FANFOLD_PORT": str(port), "URL": f"http://127.0.0.1:{port}"}
        printed = run_page(page, tmp_path, variables, port=port)
    assert differences(page, printed) == []
