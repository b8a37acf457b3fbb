"""`fanfold run --local` on rows: what a file's function gives here, it gives on the server."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from fanfold import Client
from tests.acceptance.conftest import ENGINE, FANFOLD, PASSWORD, Server

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

PYTHON = str(ENGINE / "bin" / "python")
FRAME = ("--param", "oml_input_type=pandas.DataFrame")
SEEN = """
def seen(dat, digits=3):
    return {
        "rows": len(dat),
        "kinds": [str(kind) for kind in dat.dtypes],
        "text": dat.astype(str).values.tolist(),
        "digits": digits,
    }
"""
CSV = """\
text,whole,real,flag,day,time,empty
b,1,1.5,true,2024-02-29,2024-02-29 12:30:00,
ä,2,NaN,false,2023-01-01,2024-02-29 12:30:00.25,
,-3,2.0,true,,,
"b, c",1,1e16,false,2024-02-29,2001-01-01 00:00:00,
B,,0.1,,2023-01-01,2024-02-29 12:30:00,
b,2,1.5,true,2024-02-29,,
NA,10,-inf,true,2023-01-01,2001-01-01 00:00:00,
"""


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """An interpreter that has no packages."""
    venv.create(tmp_path / "bare", symlinks=True)
    return str(tmp_path / "bare" / "bin" / "python")


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    """Run `fanfold run` in a folder of its own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FANFOLD_")}
    (tmp_path / "seen.py").write_text(SEEN)
    (tmp_path / "rows.csv").write_text(CSV)

    def started(*arguments: str, status: int = 0) -> Done:
        done = subprocess.run(
            [FANFOLD, "run", *arguments],
            capture_output=True,
            text=True,
            timeout=180,
            cwd=tmp_path,
            env={
                **own,
                "FANFOLD_URL": server.url,
                "FANFOLD_USERNAME": "alice",
                "FANFOLD_PASSWORD": PASSWORD,
                "COLUMNS": "200",
            },
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done

    return started


def both(run: Run, *arguments: str, status: int = 0) -> tuple[Done, Done]:
    """Run the same here and there."""
    here = run("--local", "--python", PYTHON, *arguments, status=status)
    return here, run(*arguments, status=status)


@pytest.mark.parametrize(
    "cut",
    [
        (),
        ("--rows", "3", "--parallel", "2"),
        ("--group-by", "text"),
        ("--group-by", "WHOLE"),
        ("--group-by", "real"),
        ("--group-by", "flag,day"),
        ("--group-by", "time"),
        ("--group-by", "empty"),
        ("--group-by", "flag", "--order-by", "whole,text", "--parallel"),
    ],
    ids=" ".join,
)
def test_rows_of_a_csv_file_are_cut_alike(run: Run, cut: tuple[str, ...]) -> None:
    """Types, nulls, order and names of groups are those that DuckDB gives."""
    here, there = both(run, "seen.py", "--data", "rows.csv", *cut, *FRAME)
    assert here.stdout == there.stdout
    assert here.stdout.count('"rows"') >= (2 if cut and cut[-1] != "empty" else 1)


@pytest.mark.parametrize("form", ["parquet", "arrow", "ndjson", "tsv"])
def test_rows_of_other_files_are_cut_alike(run: Run, tmp_path: Path, form: str) -> None:
    table = pa.table(
        {
            "kind": pa.array(["x", "y", None, "x"]).dictionary_encode(),
            "n": pa.array([1, 2, 3, None], pa.int32()),
            "real": pa.array([0.5, float("nan"), 3.0, None]),
            "day": [date(2024, 2, 29), None, date(2023, 1, 1), date(2024, 2, 29)],
            "at": pa.array([datetime(2024, 2, 29, 1, 2, 3, 500, tzinfo=UTC)] * 4),
        }
    )
    file = tmp_path / f"rows.{form}"
    match form:
        case "parquet":
            parquet.write_table(table, file)
        case "arrow":
            with pa.ipc.new_file(file, table.schema) as out:
                out.write_table(table)
        case "ndjson":
            file.write_text(
                '{"kind": "x", "n": 1}\n{"kind": null, "n": 2}\n{"kind": "x", "n": 3}\n'
            )
        case _:
            file.write_text("kind\tn\nx\t1\ny\t2\nx\t3\n")
    by = ("--group-by", "kind,n") if form in {"ndjson", "tsv"} else ("--group-by", "kind,day,at")
    for cut in ((), by):
        here, there = both(run, "seen.py", "--data", file.name, *cut, *FRAME)
        assert here.stdout == there.stdout


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        ("csv", ["18446744073709551617", "1", "-9223372036854775809"]),
        ("ndjson", ["18446744073709551617", "1", "-9223372036854775809"]),
        ("csv", ["1.5", "123456789012345680000"]),
        ("ndjson", ["1.5", "123456789012345680000"]),
    ],
)
def test_whole_numbers_keep_their_digits(
    run: Run, tmp_path: Path, form: str, texts: list[str]
) -> None:
    lines = ["A", *texts] if form == "csv" else [f'{{"A":{digits}}}' for digits in texts]
    (tmp_path / f"wide.{form}").write_text("\n".join(lines) + "\n")
    here, there = both(run, "seen.py", "--data", f"wide.{form}", *FRAME)
    assert here.stdout == there.stdout
    if "." not in texts[0]:
        assert all(f'"{digits}"' in here.stdout for digits in texts)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("csv", "A\n1.5\n9007199254740993\n"),
        ("ndjson", '{"A":0.5}\n{"A":9007199254740993}\n'),
    ],
)
def test_whole_numbers_that_no_float_keeps_are_refused(
    run: Run, tmp_path: Path, form: str, text: str
) -> None:
    (tmp_path / f"mixed.{form}").write_text(text)
    asked = ("seen.py", "--data", f"mixed.{form}")
    for done in (run("--local", "--python", PYTHON, *asked, status=1), run(*asked, status=3)):
        assert "the whole number 9007199254740993, which no float is equal to" in done.stderr


def test_numbers_come_as_an_array_and_what_lacks_a_value_can_be_left_out(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "numbers.csv").write_text("a,b\n1,2.5\n2,\n3,4\n")
    (tmp_path / "told.py").write_text(
        "def told(dat):\n    return [type(dat).__name__, str(dat.dtype), dat.tolist()]\n"
    )
    data = ("told.py", "--data", "numbers.csv")
    here, there = both(run, *data)
    assert here.stdout == there.stdout == '["ndarray", "float64", [[1, 2.5], [2, null], [3, 4]]]\n'
    here, there = both(run, *data, "--param", "oml_na_omit=true")
    assert here.stdout == there.stdout
    here, there = both(run, *data, "--param", "oml_input_type=numpy.recarray", "--rows", "2")
    assert here.stdout == there.stdout


def test_seeds_failures_and_figures_of_groups_are_those_of_the_server(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "odd.py").write_text(
        "def odd(dat, rng):\n"
        "    import matplotlib.pyplot as plt\n"
        "    print('rows', len(dat))\n"
        "    if dat['whole'].iloc[0] == 2:\n"
        "        raise ValueError('two')\n"
        "    plt.plot(dat['whole'])\n"
        "    return float(rng.random())\n"
    )
    data = ("odd.py", "--data", "rows.csv", "--group-by", "whole", "--seed", "7", "--continue")
    here, there = both(run, *data, "--json", *FRAME, status=1)
    mine, theirs = json.loads(here.stdout), json.loads(there.stdout)
    assert mine["result"] == theirs["result"]
    failures = [[(e["index"], e["name"], e["type"]) for e in a["errors"]] for a in (mine, theirs)]
    assert failures[0] == failures[1] == [(3, "2", "ValueError")]
    assert "[1] rows 1" in here.stderr
    for where in (("--local", "--python", PYTHON), ()):
        folder = f"figures{len(where)}"
        run(*data, *FRAME, "--images", folder, *where, status=1)
    named = [sorted(path.name for path in (tmp_path / f"figures{n}").iterdir()) for n in (3, 0)]
    assert named[0] == named[1] == ["-3-1.png", "1-1.png", "10-1.png", "null-1.png"]


def test_arguments_are_refused_as_by_the_server_and_before_anything_runs(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "typed.py").write_text(
        "print('loaded')\n\ndef typed(index, scale: float, word='x'):\n    return scale\n"
    )
    for wrong in (
        ("--param", "scal=2"),
        ("--param", "scale=two"),
        (),
        ("--param", "scale=1", "--param", "index=3"),
    ):
        here, there = both(run, "typed.py", "--times", "2", *wrong, status=3)
        assert here.stderr == there.stderr
        assert "TypeError: typed() " in here.stderr
        assert "loaded" not in here.stderr


@pytest.mark.parametrize("form", ["csv", "ndjson"])
@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("cp1252", ("--charset", "windows-1252")),
        ("iso8859-15", ("--charset", "ISO-8859-15")),
        ("utf-16-le", ("--charset", "utf-16le")),
        ("gb18030", ("--charset", "gbk")),
        ("utf-16", ()),
        ("utf-8-sig", ()),
        ("utf-8-sig", ("--charset", "utf-8")),
    ],
)
def test_text_in_any_charset_is_read_alike(
    run: Run, tmp_path: Path, form: str, codec: str, said: tuple[str, ...]
) -> None:
    text = "wört,n\né,1\n" if form == "csv" else '{"wört":"é","n":1}\n'
    (tmp_path / f"words.{form}").write_text(text, encoding=codec)
    here, there = both(run, "seen.py", "--data", f"words.{form}", *said, *FRAME)
    assert here.stdout == there.stdout
    assert json.loads(here.stdout)["text"] == [["é", "1"]]


def test_text_that_is_not_in_its_charset_is_refused_by_the_byte(run: Run, tmp_path: Path) -> None:
    """A library would make bytes of such a column, without a word."""
    (tmp_path / "words.csv").write_bytes(b"w\nplain\nk\xf6nnen\n")
    asked = ("seen.py", "--data", "words.csv")
    for place, status in (("--local", "--python", PYTHON), 1), ((), 3):
        done = run(*place, *asked, status=status)
        assert "byte 9 (0xf6), in line 3, is no character" in done.stderr
        done = run(*place, *asked, "--charset", "klingon", status=status)
        assert "klingon" in done.stderr
    for name in ("select 1", "seen.py"):
        refused = run("seen.py", "--data", name, "--charset", "utf-8", status=2)
        assert ".csv or .ndjson" in refused.stderr


def test_what_does_not_fit_says_what_would(run: Run, bare: str, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_text("no")
    data = ("--local", "--python", PYTHON, "seen.py", "--data")
    assert "a file: .csv" in run(*data, "select 1", status=2).stderr
    assert "read as parquet" in run(*data, "broken.parquet", status=1).stderr
    absent = run(*data, "rows.csv", "--group-by", "colour", status=1)
    assert "--group-by names the column 'colour'; there are: text, whole" in absent.stderr
    assert "--result-table" in run("seen.py", "--overwrite", status=2).stderr
    lacking = run("--local", "--python", bare, "seen.py", "--data", "rows.csv", status=1)
    assert "pyarrow" in lacking.stderr
    assert "--python" in lacking.stderr


def test_a_newcomers_first_mistakes_say_what_to_do(run: Run, bare: str, tmp_path: Path) -> None:
    assert "fanfold new" in run("missing.py", status=2).stderr
    assert "no file missing.py" in run("--local", "missing.py", status=2).stderr
    assert "no file stored" in run("--local", "stored", status=2).stderr
    (tmp_path / "draws.py").write_text("def draws(i, rng):\n    return 1\n")
    lacking = run("--local", "--python", bare, "draws.py", "--times", "2", status=1)
    assert f"runs in {bare}; --python names another" in lacking.stderr
    (tmp_path / "imports.py").write_text("def imports():\n    import pandas\n")
    lacking = run("--local", "--python", bare, "imports.py", status=1)
    assert "--python names another" in lacking.stderr
    assert "No module named 'pandas'" in lacking.stderr


@pytest.mark.parametrize("place", [("--local",), ()], ids=["here", "there"])
def test_a_script_in_another_encoding_is_read_as_python_reads_it(
    run: Run, place: tuple[str, ...], tmp_path: Path
) -> None:
    text = "def spelled():\r\n    return 'ä'\r\n"
    for head, encoding in (
        ("", "utf-8-sig"),
        ("# coding: latin-1\n", "latin-1"),
        ("#!/usr/bin/python3\n# -*- coding: windows-1252 -*-\n", "windows-1252"),
    ):
        (tmp_path / "spelled.py").write_bytes((head + text).encode(encoding))
        assert json.loads(run(*place, "spelled.py").stdout) == "ä"
    for content, told in (
        (text.encode("latin-1"), "spelled.py"),
        (b"#\n#\n" + text.encode("latin-1"), "spelled.py, line 4: this is not utf-8"),
        (b"# coding: nonsense\n", "unknown encoding"),
        (text.encode("utf-16"), "spelled.py"),
    ):
        (tmp_path / "spelled.py").write_bytes(content)
        refused = run(*place, "spelled.py", status=1).stderr
        assert told in refused
        assert "save it as UTF-8" in refused


def test_a_file_is_given_to_a_server_for_the_run_alone(run: Run, server: Server) -> None:
    assert json.loads(run("seen.py", "--data", "rows.csv", *FRAME).stdout)["rows"] == 7
    with Client(server.url, username="alice", password=PASSWORD) as client:
        assert [t.name for t in client.tables.list() if t.name.startswith("adhoc_")] == []


def test_a_result_becomes_a_table(run: Run, server: Server, tmp_path: Path) -> None:
    (tmp_path / "squared.py").write_text("def squared(i):\n    return {'n': i, 'square': i * i}\n")
    made = ("squared.py", "--times", "3", "--result-table", "CLI_SQUARES", "--overwrite")
    done = run(*made)
    assert done.stdout.splitlines()[-1] == '{"n": 3, "square": 9}'
    assert "wrote the table CLI_SQUARES" in done.stderr
    with Client(server.url, username="alice", password=PASSWORD) as client:
        rows = client.tables.preview("cli_squares", frames=False)
    assert rows == [{"INDEX": i, "n": i, "square": i * i} for i in (1, 2, 3)]
    taken = run("squared.py", "--times", "3", "--result-table", "CLI_SQUARES", status=3)
    assert "--overwrite" in taken.stderr
