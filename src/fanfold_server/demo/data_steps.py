"""The steps of the demo that have rows: tables are loaded, and a model is fitted per group."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from importlib.resources import files
from pathlib import Path
from statistics import linear_regression
from typing import Final

from fanfold_server.demo.curl import Curl, Request
from fanfold_server.demo.functions import SOURCES
from fanfold_server.demo.step import RUN, Finding, Step, compact, expect, shortened

TABLES: Final = ("iris", "grade", "penguins")
"""The tables that come with fanfold, each a CSV file beside this one.

IRIS: Fisher (1936), The use of multiple measurements in taxonomic problems, Annals of Eugenics 7.
"""

_ACCURACY: Final = 1e-9


def load(curl: Curl, folder: Path) -> Step:
    """Load the tables.

    Args:
        folder: where the files are put for curl to send.
    """
    shown: list[str] = []
    answers: list[str] = []
    findings: list[Finding] = []
    for name in TABLES:
        text = _read(name)
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
        request = Request(method="PUT", path=f"/api/v1/tables/{name}", csv=f"{name}.csv")
        answer = curl.send(request)
        rows = expect(answer, 201, f"loading {name}")["rows"]
        shown.append(curl.shown(request))
        answers.append(answer.body.decode())
        is_right = rows == len(_records(text))
        findings.append(Finding(text=f"{name.upper()} has {rows} rows", is_right=is_right))
    return Step(
        title="Load tables",
        about="Three small tables come with fanfold; a CSV file becomes a table that SQL can read.",
        request=shown[0],
        answer=answers[0],
        findings=findings,
    )


def fit(curl: Curl) -> Step:
    """Fit one linear model per species, and compare the slopes with our own."""
    body = {
        "input": "select * from IRIS",
        "groupBy": "SPECIES",
        "parameters": compact({"oml_input_type": "pandas.DataFrame"}),
    }
    request = Request(method="POST", path=RUN + "group-apply/petals", json=compact(body))
    answer = curl.send(request)
    models = expect(answer, 200, "group-apply")["result"]
    wanted = _slopes()
    is_right = models.keys() == wanted.keys() and all(
        abs(models[species]["slope"] - slope) < _ACCURACY for species, slope in wanted.items()
    )
    return Step(
        title="Fit a model per group",
        about="group-apply calls the function once per species, with that species' rows.",
        source=SOURCES["petals"],
        request=curl.shown(request),
        answer=shortened(answer),
        findings=[
            Finding(
                text=f"{len(models)} models; their slopes are those of Python's statistics module",
                is_right=is_right,
            )
        ],
    )


def _slopes() -> dict[str, float]:
    """Compute the slope of petal width over petal length for each species, without a server."""
    lengths: dict[str, list[float]] = defaultdict(list)
    widths: dict[str, list[float]] = defaultdict(list)
    for row in _records(_read("iris")):
        lengths[row["Species"]].append(float(row["Petal_Length"]))
        widths[row["Species"]].append(float(row["Petal_Width"]))
    return {name: linear_regression(lengths[name], widths[name]).slope for name in lengths}


def _records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def _read(name: str) -> str:
    return (files("fanfold_server.demo") / f"{name}.csv").read_text(encoding="utf-8")
