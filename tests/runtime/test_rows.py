"""What a function is given of rows, in a real worker of the environment that `make setup` makes."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
import pytest_asyncio

from fanfold_server.engine.limits import Limits
from fanfold_server.engine.local import LocalEngine
from fanfold_server.engine.options import EngineOptions
from fanfold_server.engine.port import Work
from fanfold_server.engine.running import RunLimits
from fanfold_server.engine.sandbox import Sandbox
from fanfold_server.model.environment import Environment
from fanfold_server.model.outcome import FailureKind
from fanfold_server.model.rows import InputType, Rowset
from fanfold_server.service.folding import Gathered
from tests.fakes.rowsets import write_rowset
from tests.fakes.words import script_of
from tests.runtime.bench import ladder

PREFIX = Path(__file__).parents[2] / ".environments" / "default"
PLACE = Environment(name="default", prefix=PREFIX, kind="venv")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalEngine]:
    limits = RunLimits(
        max_len=5000, max_value_bytes=1 << 20, max_log_bytes=4096, refuse_output=False
    )
    engine = LocalEngine(
        options=EngineOptions(
            workers=4,
            pools=4,
            max_queued_runs=100,
            reuse="auto",
            preload=("numpy", "pandas"),
            limits=limits,
        ),
        sandbox=Sandbox(Limits(memory_mib=2048, files=256, processes=256, file_mib=64), ladder()),
        cache=tmp_path_factory.mktemp("cache"),
        spare=None,
    )
    engine.open()
    yield engine
    await engine.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


def work(
    rows: Rowset | None,
    body: str,
    *,
    input_type: InputType = InputType.DATAFRAME,
    na_omit: bool = False,
    caller: str = "ALICE",
    **more: Any,
) -> Work:
    source = f"def f({'rows' if rows else ''}):\n    " + body.replace("\n", "\n    ") + "\n"
    members: dict[str, Any] = {
        "environment": PLACE,
        "start": 0 if rows is None or rows.offsets is None else 1,
        "count": 1 if rows is None else rows.calls,
        "indexed": False,
        "parameters": b"{}",
        "degree": 2,
        "seed": 1,
        "graphics": False,
        "keep_point_zero": True,
        "keep_logs": False,
        "stop_on_failure": True,
        "timeout_s": 60,
    }
    return Work(
        script=script_of(source),
        caller=caller,
        rows=rows,
        input_type=input_type,
        na_omit=na_omit,
        **{**members, **more},
    )


async def values(engine: LocalEngine, asked: Work) -> list[Any]:
    """Run a work and return its values in index order."""
    gathered = Gathered()
    await engine.start(asked, gathered).done
    assert not gathered.failed, gathered.failed
    stretches = sorted(gathered.values_, key=lambda v: v.start)
    return [value for v in stretches for value in json.loads(b"[" + v.json + b"]")]


async def test_a_worker_that_was_meant_for_one_run_is_used_again_after_rows(
    engine: LocalEngine, tmp_path: Path
) -> None:
    """The files of the rows that it is given are not there before, and not after."""
    rows = write_rowset(tmp_path, pa.table({"n": [1, 2]}))
    tell = "import os\nreturn os.getpid()"
    await values(engine, work(None, tell, caller="BOB"))
    async with asyncio.timeout(10):
        # the next one is forked ahead; no event tells
        while not any(pool.untouched for pool in engine.pools):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    first = await values(engine, work(rows, tell))
    assert await values(engine, work(rows, tell)) == first


async def test_each_call_has_its_slice_with_a_fresh_index(
    engine: LocalEngine, tmp_path: Path
) -> None:
    """Public scripts read `dat["SPECIES"][0]` in each group (wire reference, §9)."""
    table = pa.table({"n": list(range(20)), "s": [f"é{i}" for i in range(20)]})
    rows = write_rowset(tmp_path, table, offsets=[0, 3, 3, 10, 20])
    got = await values(
        engine, work(rows, "return [list(rows['n']), list(rows.index), list(rows['s'])]")
    )
    assert got == [
        [list(range(a, b)), list(range(b - a)), [f"é{i}" for i in range(a, b)]]
        for a, b in [(0, 3), (3, 3), (3, 10), (10, 20)]
    ]


@pytest.mark.parametrize(
    ("columns", "input_type", "kind"),
    [
        ({"a": [1, 2], "b": [0.5, None]}, InputType.DEFAULT, "ndarray float64 (2, 2)"),
        ({"a": [Decimal("1.25"), None]}, InputType.DEFAULT, "ndarray float64 (2, 1)"),
        ({"a": [1, 2], "s": ["x", "y"]}, InputType.DEFAULT, "DataFrame None (2, 2)"),
        ({"a": [True, False]}, InputType.DEFAULT, "DataFrame None (2, 1)"),
        ({"a": [1.0, 2.0]}, InputType.DATAFRAME, "DataFrame None (2, 1)"),
        (
            {"a": [1, 2], "s": ["x", "y"]},
            InputType.RECARRAY,
            "recarray (numpy.record, [('a', '<i8'), ('s', 'O')]) (2,)",
        ),
    ],
)
async def test_the_input_type_is_as_the_wire_says(
    engine: LocalEngine,
    tmp_path: Path,
    columns: dict[str, list[Any]],
    input_type: InputType,
    kind: str,
) -> None:
    body = "return f\"{type(rows).__name__} {getattr(rows, 'dtype', None)} {rows.shape}\""
    rows = write_rowset(tmp_path, pa.table(columns))
    assert await values(engine, work(rows, body, input_type=input_type)) == [kind]


TYPES: list[tuple[Any, list[Any], str, list[Any]]] = [
    (pa.int32(), [1, 2], "int32", [1, 2]),
    (pa.int64(), [1, None], "float64", [1.0, None]),
    (pa.int64(), [2**60 + 1, None], "Int64", [2**60 + 1, None]),
    (pa.decimal128(38, 0), [Decimal(7), Decimal(9)], "int64", [7, 9]),
    (pa.decimal128(38, 0), [Decimal(10) ** 30, None], "object", [10**30, None]),
    (pa.decimal128(5, 2), [Decimal("1.25"), None], "float64", [1.25, None]),
    (pa.bool_(), [True, False], "bool", [True, False]),
    (pa.bool_(), [True, None], "object", [True, None]),
    (pa.string(), ["ä", None], "str", ["ä", None]),
    (pa.binary(), [b"\0", None], "object", ["AA==", None]),
    (pa.date32(), [date(2020, 1, 2), None], "datetime64[us]", ["2020-01-02T00:00:00", None]),
    (
        pa.timestamp("us", "Europe/Berlin"),
        [datetime(2020, 1, 1, tzinfo=UTC), None],
        "datetime64[us, Europe/Berlin]",
        ["2020-01-01T01:00:00+01:00", None],
    ),
    (pa.list_(pa.int64()), [[1, 2], None], "object", [[1, 2], None]),
    (
        pa.struct([("a", pa.int64())]),
        [{"a": 1}, None],
        "object",
        [{"a": 1}, None],
    ),
    (pa.map_(pa.string(), pa.int64()), [{"a": 1}, None], "object", [{"a": 1}, None]),
    (pa.null(), [None, None], "object", [None, None]),
]


@pytest.mark.parametrize(("arrow", "given", "dtype", "seen"), TYPES, ids=lambda v: str(v)[:30])
async def test_an_arrow_type_keeps_its_meaning(  # noqa: PLR0917 a table's columns
    engine: LocalEngine, tmp_path: Path, arrow: Any, given: list[Any], dtype: str, seen: list[Any]
) -> None:
    """One type for a column, in the call that has the null and in the one that has not."""
    rows = write_rowset(tmp_path, pa.table({"c": pa.array(given, arrow)}), offsets=[0, 1, 2])
    body = "return [str(rows['c'].dtype), rows['c']]"
    got = await values(engine, work(rows, body))
    assert got == [[dtype, [seen[0]]], [dtype, [seen[1]]]]


async def test_rows_may_be_written_to_and_nobody_else_sees_it(
    engine: LocalEngine, tmp_path: Path
) -> None:
    table = pa.table({"a": [1.0, 2.0], "b": ["x", "y"]})
    for given in (table, table.select(["a"])):
        rows = write_rowset(tmp_path, given, batch_rows=100)
        body = "rows.loc[0, 'a'] = 7.0\nrows['a'] *= 2\nreturn list(rows['a'])"
        for _ in range(2):
            assert await values(engine, work(rows, body)) == [[14.0, 4.0]]
    rows = write_rowset(tmp_path, table.select(["a"]))
    body = "rows[0, 0] = 7.0\nreturn rows"
    got = await values(engine, work(rows, body, input_type=InputType.DEFAULT))
    assert got == [[[7.0], [2.0]]]


@pytest.mark.parametrize(
    ("input_type", "body", "seen"),
    [
        (InputType.DATAFRAME, "return [list(rows['a']), list(rows.index)]", [[2.0], [0]]),
        (InputType.DEFAULT, "return rows", [[2.0, 4.0]]),
        (InputType.RECARRAY, "return list(rows.a)", [2.0]),
    ],
)
async def test_na_omit_drops_every_row_with_a_missing_value(
    engine: LocalEngine, tmp_path: Path, input_type: InputType, body: str, seen: list[Any]
) -> None:
    rows = write_rowset(tmp_path, pa.table({"a": [1, 2, None], "b": [None, 4.0, 5.0]}))
    assert await values(engine, work(rows, body, input_type=input_type, na_omit=True)) == [seen]


async def test_no_rows_is_an_empty_object(engine: LocalEngine, tmp_path: Path) -> None:
    empty = pa.table({"a": pa.array([], pa.float64()), "s": pa.array([], pa.string())})
    rows = write_rowset(tmp_path, empty)
    assert await values(engine, work(rows, "return [len(rows), list(rows)]")) == [[0, ["a", "s"]]]
    numbers = write_rowset(tmp_path, empty.select(["a"]))
    asked = work(numbers, "return list(rows.shape)", input_type=InputType.DEFAULT)
    assert await values(engine, asked) == [[0, 1]]


async def test_a_worker_is_warm_after_rows_and_holds_nothing_of_them(
    engine: LocalEngine, tmp_path: Path
) -> None:
    """A mapping left behind would be memory and a descriptor that the next run inherits."""
    rows = write_rowset(tmp_path, pa.table({"a": [1.0, 2.0], "s": ["x", "y"]}))
    body = (
        "import os\n"
        "maps = open('/proc/self/maps').read().count('.arrow')\n"
        "return [os.getpid(), len(os.listdir('/proc/self/fd')), maps]"
    )
    asked = work(rows, body, degree=1)
    first, second = await values(engine, asked), await values(engine, asked)
    assert first == second


async def test_a_worker_cannot_open_or_change_the_file(engine: LocalEngine, tmp_path: Path) -> None:
    """It has an open descriptor of it and nothing else; the file stays the server's."""
    if os.geteuid() != 0:
        pytest.skip("workers have a user id of their own only if the server is root")
    rows = write_rowset(tmp_path, pa.table({"a": [1.0]}))
    body = (
        "import os\n"
        "found = []\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    path = '/proc/self/fd/' + name\n"
        "    if '.arrow' in os.path.realpath(path):\n"
        "        for target in (path, os.path.realpath(path)):\n"
        "            for act in (lambda: open(target, 'r+b'), lambda: os.chmod(target, 0o666)):\n"
        "                try:\n"
        "                    act()\n"
        "                    found.append(target)\n"
        "                except OSError as exc:\n"
        "                    found.append(type(exc).__name__)\n"
        "return found"
    )
    (found,) = await values(engine, work(rows, body))
    assert len(found) == 4
    assert set(found) <= {"PermissionError", "FileNotFoundError"}


async def test_a_script_of_another_owner_gets_the_rows_too(
    engine: LocalEngine, tmp_path: Path
) -> None:
    rows = write_rowset(tmp_path, pa.table({"a": list(range(9))}), offsets=[0, 3, 6, 9])
    asked = work(rows, "return int(rows['a'].sum())", caller="BOB")
    assert await values(engine, asked) == [3, 12, 21]


async def test_an_environment_without_pyarrow_says_so(
    engine: LocalEngine, tmp_path: Path, bare: Environment
) -> None:
    rows = write_rowset(tmp_path, pa.table({"a": [1]}))
    gathered = Gathered()
    await engine.start(work(rows, "return 1", environment=bare), gathered).done
    failure = gathered.failed[0].failure
    assert failure.kind is FailureKind.NO_ARROW
    assert "pyarrow" in failure.message
    assert "bare" in failure.message


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with Python and nothing else."""
    import venv  # noqa: PLC0415  # of this one test

    prefix = tmp_path_factory.mktemp("environments") / "bare"
    for folder in (prefix.parent, prefix.parent.parent):
        folder.chmod(0o755)
    venv.create(prefix, symlinks=True)
    return Environment(name="bare", prefix=prefix, kind="venv")


def flat(parts: Sequence[list[Any]]) -> list[Any]:
    return [value for part in parts for value in part]


async def test_splice_tells_records_from_values(engine: LocalEngine, tmp_path: Path) -> None:
    """Chunks that are DataFrames are joined to one list; other values are its elements."""
    rows = write_rowset(tmp_path, pa.table({"a": [1, 2, 3, 4, 5]}), offsets=[0, 2, 4, 5])
    got = await values(engine, work(rows, "return rows", splice=True))
    assert flat(got) == [{"a": n} for n in (1, 2, 3, 4, 5)]
    got = await values(engine, work(rows, "return [len(rows)]", splice=True))
    assert flat(got) == [[2], [2], [1]]


async def test_a_frame_by_columns_has_its_row_labels(engine: LocalEngine, tmp_path: Path) -> None:
    """The form of older releases: column, then row label (wire reference, §10)."""
    rows = write_rowset(tmp_path, pa.table({"SPECIES": ["setosa"], "COUNT": [0.1 + 0.2]}))
    got = await values(engine, work(rows, "return rows", column_frames=True))
    assert got == [{"SPECIES": {"0": "setosa"}, "COUNT": {"0": 0.3}}]


async def test_a_zone_is_kept(engine: LocalEngine, tmp_path: Path) -> None:
    moments = [datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo"))]
    rows = write_rowset(
        tmp_path, pa.table({"t": pa.array(moments, pa.timestamp("us", "Asia/Tokyo"))})
    )
    assert await values(engine, work(rows, "return rows['t'][0].hour")) == [12]


async def test_a_worker_that_dies_costs_its_chunk_and_no_other(
    engine: LocalEngine, tmp_path: Path
) -> None:
    """The next worker is given the same files."""
    table = pa.table({"a": list(range(12))})
    rows = write_rowset(tmp_path, table, offsets=range(0, 13, 2))
    body = (
        "import os\nif rows['a'][0] == 6:\n    os.kill(os.getpid(), 9)\nreturn int(rows['a'].sum())"
    )
    gathered = Gathered()
    await engine.start(work(rows, body, stop_on_failure=False), gathered).done
    assert [(f.index, f.failure.kind) for f in gathered.failed] == [(4, FailureKind.LOST)]
    stretches = sorted(gathered.values_, key=lambda v: v.start)
    sums = [n for v in stretches for n in json.loads(b"[" + v.json + b"]")]
    assert sums == [1, 5, 9, 17, 21]


async def test_the_server_holds_no_file_of_a_run_that_is_over(
    engine: LocalEngine, tmp_path: Path
) -> None:
    rows = write_rowset(tmp_path, pa.table({"a": [1, 2]}), offsets=[0, 1, 2])
    for body in ("return 1", "raise ValueError"):
        await engine.start(work(rows, body), Gathered()).done
    held = {path.resolve() for path in Path("/proc/self/fd").iterdir()}  # noqa: ASYNC240  # no disk
    assert not held & {rows.path, rows.offsets}
