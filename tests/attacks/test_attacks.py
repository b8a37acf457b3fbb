"""Every attack on every rung comes out as the table says, which the docs show."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.expected import COLUMNS, EXPECTED, outcome
from tests.attacks.field import AT_THE_START, SOURCES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIMIT_S = 280


@pytest.mark.timeout(LIMIT_S + 20)
@pytest.mark.parametrize(("who", "rung"), COLUMNS, ids=map("-".join, COLUMNS))
def test_attacks_come_out_as_the_table_says(who: str, rung: str) -> None:
    if who == "root" and os.geteuid() != 0:
        pytest.skip("only root can be attacked as root")
    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.field", who, rung],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    if "skipped" in results:
        pytest.skip(f"{rung} does not work here: {results['skipped']}")
    wrong = {name: said for name, said in results.items() if said[0] != outcome(name, who, rung)}
    assert results.keys() == EXPECTED.keys()
    assert wrong == {}


def test_the_table_has_every_attack_and_a_letter_for_each_rung() -> None:
    trees = [ast.parse((HERE / name).read_text(encoding="utf-8")) for name in SOURCES]
    nodes = [node for tree in trees for node in tree.body]
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    attacks = {name for name in functions if not name.startswith("_")} - {"attack"}
    planted = {name for name in EXPECTED if name.endswith(AT_THE_START)}
    assert {name.removesuffix(AT_THE_START) for name in planted} < attacks
    assert attacks | planted == EXPECTED.keys()
    assert {len(row.replace(" ", "")) for row in EXPECTED.values()} == {len(COLUMNS)}
