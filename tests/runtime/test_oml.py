"""The module `oml` inside functions: importable everywhere, and honest about what it lacks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fanfold_server.engine.local import LocalEngine
from fanfold_server.model.outcome import FailureKind
from fanfold_server.service.folding import Gathered
from tests.runtime.bench import opened
from tests.runtime.conftest import MakeEnvironment
from tests.runtime.test_rows import engine, values, work

__all__ = ["engine"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMPORT = "import oml\nfrom oml import automl, ds\n"


async def test_scripts_that_merely_import_it_run(engine: LocalEngine) -> None:
    """Most public scripts do (wire reference, §16)."""
    text = "return [oml.isconnected(), isinstance(1, oml.Table), oml.__version__, oml.connect()]"
    assert await values(engine, work(None, IMPORT + text)) == [[True, False, "fanfold", None]]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("oml.cursor()", "oml.sync(query=…).pull() gives the rows"),
        ("oml.create([1], table='T')", '"resultTable"'),
        ("oml.automl.Pipeline()", "oml.automl.Pipeline is not available"),
        ("automl.FeatureSelection('classification')", "scikit-learn has estimators"),
        ("oml.something_new()", "oml.something_new is not available"),
        ("oml.grant('f', user='BOB')", 'available for typ="datastore"'),
        ("oml.connect(user='BOB', password='x')", "connected as its caller"),
        ("oml.push([[1]])['A']", "pull() gives a DataFrame of pandas"),
        ("oml.push([[1]]).crosstab('A')", "oml.DataFrame.crosstab is not available: pull()"),
        ("list(oml.push([[1]]))", "pull() its rows"),
    ],
)
async def test_what_is_not_there_says_so(engine: LocalEngine, call: str, said: str) -> None:
    gathered = Gathered()
    await engine.start(work(None, IMPORT + f"return {call}"), gathered).done
    failure = gathered.failed[0].failure
    assert (failure.kind, failure.type) == (FailureKind.RAISED, "oml.NotAvailable")
    assert said in failure.message


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("oml.sync()", "needs one of table, view and query"),
        ("oml.sync(table='A', query='B')", "needs one of table, view and query"),
        ("oml.sync(query='select 1', schema='A')", "goes without schema"),
        ("oml.ds.save({'a': 1}, 'd', overwrite=True, append=True)", "exclude each other"),
    ],
)
async def test_wrong_arguments_are_a_value_error(engine: LocalEngine, call: str, said: str) -> None:
    gathered = Gathered()
    await engine.start(work(None, IMPORT + f"return {call}"), gathered).done
    failure = gathered.failed[0].failure
    assert failure.type == "ValueError"
    assert said in failure.message


async def test_what_is_pushed_comes_back_as_a_copy(engine: LocalEngine) -> None:
    text = """\
import pandas as pd
given = pd.DataFrame({"a": [1, 2, 3], "b": list("xyz")})
pushed = oml.push(given)
pulled = pushed.pull()
pulled["a"] = 0
again = oml.DataFrame(pushed).head(2)
return [pushed.shape, pushed.columns, len(again), list(again.pull()["a"]), repr(pushed)]"""
    assert await values(engine, work(None, IMPORT + text)) == [
        [[3, 2], ["a", "b"], 2, [1, 2], "<oml.DataFrame of 3 rows>"]
    ]


async def test_it_is_there_in_the_oldest_interpreter_without_any_package(
    bare: MakeEnvironment, tmp_path: Path
) -> None:
    source = """\
        import oml
        def f(i):
            try:
                oml.push([[1]])
            except NotImplementedError as exc:
                return [oml.isconnected(), str(exc)]
    """

    def run() -> object:
        with opened(bare("3.9"), tmp_path) as bench:
            return bench.run(source).value

    said = "oml.DataFrame needs pandas, which this environment lacks"
    assert await asyncio.to_thread(run) == [True, said]
