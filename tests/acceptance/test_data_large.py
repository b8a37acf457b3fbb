"""Large and skewed input of the data family: what a plain model says of a million rows."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from tests.acceptance.conftest import Caller, Server, serving
from tests.acceptance.processes import workers

ROWS = 1_000_000
GROUPS = 1_000
CHUNK = 10_000
TINY = 100_000
WIDE = 2_000
TALL = 500
MIB = 2**20
FRAME = '{"oml_input_type":"pandas.DataFrame"}'

SCRIPTS = {
    "sums": """\
def sums(dat):
    return [int(dat["k"].iloc[0]), len(dat), int(dat["i"].sum()), len(dat.columns)]
""",
    "size": """\
def size(dat):
    return len(dat)
""",
    "edges": """\
def edges(dat):
    first, last = dat.columns[0], dat.columns[-1]
    return [len(dat.columns), int(dat[first].sum()), int(dat[last].sum())]
""",
}


BIG = f"""
    SELECT i, i * 7919 % {GROUPS} AS k, CASE i % 10 WHEN 0 THEN i % 77 ELSE -1 END AS skewed,
        i * 31 % {TINY} AS tiny, sqrt(i) AS x, CASE i % 5 WHEN 0 THEN NULL ELSE i / 7 END AS y,
        i % 2 = 0 AS flag, 'w' || (i % 50) || 'é' AS word,
        DATE '1970-01-01' + (i % 20000)::INT AS day,
        make_timestamptz(i * 1000000) AS at
    FROM (SELECT range AS i FROM range({ROWS}))
"""
"""Ten columns: `k` has a thousand values, `tiny` ten rows each, `skewed` nine tenths in one."""


def load(caller: Caller, name: str, query: str, folder: Path) -> None:
    file = folder / f"{name}.parquet"
    rows = duckdb.sql(query)
    assert rows is not None
    rows.write_parquet(str(file))
    answer = caller.put(
        f"/api/v1/tables/{name}",
        content=file.read_bytes(),
        headers={"Content-Type": "application/vnd.apache.parquet"},
        timeout=120,
    )
    assert answer.status_code in {200, 201}, answer.text


def run(caller: Caller, path: str, body: Mapping[str, Any]) -> Any:
    asked = {"parameters": FRAME, "parallelFlag": True, "parallel": 2, **body}
    answer = caller.post(f"/oml/api/py-scripts/v1/{path}", json=asked, timeout=240)
    assert answer.status_code == 200, answer.text[:2000]
    return answer.json()["result"]


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own: what the others hold in memory is not looked at."""
    with serving(tmp_path_factory.mktemp("large"), users={"alice": "developer"}) as running:
        yield running


@pytest.fixture(scope="module")
def ada(roomy: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    folder = tmp_path_factory.mktemp("tables")
    with roomy.caller("alice") as caller:
        for name, source in SCRIPTS.items():
            caller.store(name, source)
        load(caller, "BIG", BIG, folder)
        columns = ", ".join(f"i + {n} AS c{n}" for n in range(WIDE))
        load(
            caller, "WIDE", f"SELECT {columns} FROM (SELECT range AS i FROM range({TALL}))", folder
        )
        yield caller


def sums(rows: Iterable[int]) -> list[int]:
    """What the script `sums` says of those rows of BIG."""
    held = list(rows)
    return [held[0] * 7_919 % GROUPS, len(held), sum(held), 10]


def test_a_thousand_groups_of_a_million_rows(ada: Caller) -> None:
    found = run(ada, "group-apply/sums", {"input": "BIG", "groupBy": "k"})
    rows: dict[str, list[int]] = {}
    for i in range(ROWS):
        rows.setdefault(str(i * 7_919 % GROUPS), []).append(i)
    assert found == {key: sums(held) for key, held in rows.items()}


def test_a_hundred_chunks_of_ten_thousand_rows(ada: Caller) -> None:
    found = run(ada, "row-apply/sums", {"input": "BIG", "rows": CHUNK})
    assert found == [sums(range(start, start + CHUNK)) for start in range(0, ROWS, CHUNK)]


def test_one_group_with_nine_tenths_of_the_rows(ada: Caller) -> None:
    query = "select i, skewed from BIG"
    found = run(ada, "group-apply/size", {"input": query, "groupBy": "skewed"})
    expected = Counter(str(i % 77 if i % 10 == 0 else -1) for i in range(ROWS))
    assert expected["-1"] == ROWS * 9 // 10
    assert found == expected


def test_a_hundred_thousand_tiny_groups(ada: Caller) -> None:
    query = "select i, tiny from BIG"
    found = run(ada, "group-apply/size", {"input": query, "groupBy": "tiny"})
    assert found == dict.fromkeys(map(str, range(TINY)), ROWS // TINY)


def test_two_thousand_columns(ada: Caller) -> None:
    total = TALL * (TALL - 1) // 2
    last = total + TALL * (WIDE - 1)
    assert run(ada, "table-apply/edges", {"input": "WIDE"}) == [WIDE, total, last]
    halves = run(ada, "row-apply/edges", {"input": "WIDE", "rows": TALL // 2})
    assert [columns for columns, _, _ in halves] == [WIDE, WIDE]
    assert sum(first for _, first, _ in halves) == total
    assert sum(end for _, _, end in halves) == last


@contextmanager
def watched(server: Server) -> Iterator[dict[str, float]]:
    """Note the most memory of its own, in MiB, that each kind of process had meanwhile.

    Mapped files are not counted: the rows are one, and the system takes it back when it wants to.
    """
    peaks: dict[str, float] = {}
    over = threading.Event()
    main = psutil.Process(server.pid)

    def look() -> None:
        while not over.wait(0.01):
            working = {process.pid for process in workers(server.pid)}
            for process in (main, *main.children(recursive=True)):
                role = (
                    "server" if process.pid == server.pid
                    else "worker" if process.pid in working
                    else "data" if "fanfold_server.rows" in " ".join(_command(process))
                    else "other"
                )  # fmt: skip
                peaks[role] = max(peaks.get(role, 0.0), _own_mib(process.pid))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield peaks
    finally:
        over.set()
        looking.join()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _own_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    anonymous = next((line for line in lines if line.startswith("RssAnon:")), "RssAnon: 0 kB")
    return int(anonymous.split()[1]) * 1024 / MIB


@pytest.mark.parametrize(
    ("verb", "cut"), [("row-apply/size", {"rows": CHUNK}), ("group-apply/size", {"groupBy": "k"})]
)
def test_memory_does_not_grow_with_the_table(
    ada: Caller, roomy: Server, verb: str, cut: dict[str, Any]
) -> None:
    """Four times the rows: no process takes more of its own than for one time, but for noise."""
    narrow = "select i, k, x, y from BIG where i < {0}"
    peaks = []
    run(ada, verb, {"input": narrow.format(ROWS // 4), **cut})  # everybody has started
    for rows in (ROWS // 4, ROWS):
        with watched(roomy) as peak:
            run(ada, verb, {"input": narrow.format(rows), **cut})
        peaks.append(peak)
    small, large = peaks
    grown = 3 * ROWS // 4 * 4 * 8 / MIB
    assert grown > 20
    for role in ("server", "worker"):
        assert large[role] < small[role] + grown / 2, f"{role}: {small[role]} → {large[role]} MiB"


@pytest.mark.soak
def test_a_table_beyond_the_data_process_s_memory_is_spilled(tmp_path: Path) -> None:
    """Eight million rows are sorted by way of the disk: a query has its share of the memory."""
    limit_mib = 256
    users = {"alice": "developer"}
    options = ("--data-memory-mib", str(limit_mib))
    with (
        serving(tmp_path, *options, users=users) as server,
        server.caller("alice") as caller,
    ):
        caller.store("size", SCRIPTS["size"])
        load(caller, "BIG", BIG, tmp_path)
        times = ", ".join(f"({n})" for n in range(8))
        query = f"select i, k, x, y, n from BIG, (values {times}) as times(n)"
        body = {"input": query, "groupBy": "k"}
        with watched(server) as peak:
            found = run(caller, "group-apply/size", body)
        assert found == dict.fromkeys(map(str, range(GROUPS)), 8 * ROWS // GROUPS)
        assert limit_mib < 8 * ROWS * 5 * 8 / MIB, "else nothing is shown"
        assert peak["data"] < limit_mib, peak
