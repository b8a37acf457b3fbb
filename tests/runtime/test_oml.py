"""The module `oml` inside functions: importable everywhere, and honest about what it lacks."""

from __future__ import annotations

import pytest

from fanfold_server.engine.local import LocalEngine
from fanfold_server.model.outcome import FailureKind
from fanfold_server.service.folding import Gathered
from tests.runtime.test_rows import engine, values, work

__all__ = ["engine"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def body(text: str) -> str:
    return "import oml\nfrom oml import automl, ds\n" + text


async def test_scripts_that_merely_import_it_run(engine: LocalEngine) -> None:
    """Most public scripts do (wire reference, §16)."""
    text = body("return [oml.isconnected(), isinstance(1, oml.DataFrame), oml.__version__]")
    assert await values(engine, work(None, text)) == [[False, False, "fanfold"]]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("oml.ds.load(name='x', to_globals=False)", "oml.ds.load is not available"),
        ("ds.save(objs={}, name='x')", "return what is to be kept"),
        ("oml.sync(table='IRIS')", 'name the table in "input"'),
        ("oml.something_new()", "oml.something_new is not available"),
    ],
)
async def test_what_is_not_there_says_so(engine: LocalEngine, call: str, said: str) -> None:
    gathered = Gathered()
    await engine.start(work(None, body(f"return {call}")), gathered).done
    failure = gathered.failed[0].failure
    assert (failure.kind, failure.type) == (FailureKind.RAISED, "oml.NotAvailable")
    assert said in failure.message
