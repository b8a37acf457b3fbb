"""The client where pandas is installed: in the very environment in which functions run."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

from tests.acceptance.conftest import ENGINE, PASSWORD, Server
from tests.architecture.repository import ROOT

CODE = """
import pandas as pd
from fanfold import Client

def table(num=3):
    import pandas as pd
    return pd.DataFrame({"id": range(num), "half": [i / 2 for i in range(num)]})

def least(dat):
    return dat.nsmallest(1, "x")

with Client() as client:
    frame = client.do_eval(table, num=4)
    assert isinstance(frame, pd.DataFrame), frame
    assert list(frame.columns) == ["id", "half"] and frame["half"].sum() == 3
    assert client.using(frames=False).do_eval(table, num=1) == [{"id": 0, "half": 0}]
    assert [type(part) for part in client.index_apply(2, "def f(i): return [{'a': i}]")] == [
        pd.DataFrame, pd.DataFrame]
    given = pd.DataFrame({"kind": ["a", "a", "b"], "x": [3, 1, 2]})
    found = client.group_apply(given, "kind", least, oml_input_type="pandas.DataFrame")
    assert {name: int(part["x"].iloc[0]) for name, part in found.items()} == {"a": 1, "b": 2}
    joined = client.row_apply(given, "def f(dat): return dat", rows=2)
    pd.testing.assert_frame_equal(joined, given)
    assert not [table for table in client.tables.list() if table.name.startswith("adhoc_")]
    print("done")
"""


def test_frames_come_back_as_frames_and_go_there_as_rows(server: Server, tmp_path: Path) -> None:
    libraries = Path(sysconfig.get_path("purelib"))
    variables = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}",
        "FANFOLD_URL": server.url,
        "FANFOLD_USERNAME": "alice",
        "FANFOLD_PASSWORD": PASSWORD,
    }
    # Behind the environment's own: its pandas, and of this one only what it lacks.
    program = tmp_path / "program.py"
    program.write_text(f"import sys; sys.path.append({str(libraries)!r})\n{CODE}")
    done = subprocess.run(
        [ENGINE / "bin" / "python", program],
        capture_output=True,
        text=True,
        env=variables,
        timeout=180,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr
