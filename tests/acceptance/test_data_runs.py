"""table-apply, row-apply and group-apply as the compatible wire has them (W08 to W14, W16)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Caller, StartServer

FRAME = '{"oml_input_type":"pandas.DataFrame"}'

MY_PREDICT = """\
def my_predict(dat):
    import pandas as pd
    fit = 3.0 / 7.0 * dat["SEPAL_LENGTH"] + dat["PETAL_LENGTH"]
    return pd.DataFrame(
        {"Pred": fit, "SPECIES": dat["SPECIES"], "PETAL_WIDTH": dat["PETAL_WIDTH"]}
    )
"""
GROUP_COUNT = """\
def group_count(dat):
    import oml
    import pandas as pd
    return pd.DataFrame([(dat["SPECIES"][0], dat.shape[0])], columns=["SPECIES", "COUNT"])
"""
GROUP_FRAGMENT = """\
def group_count(dat):
    import pandas as pd
    return pd.DataFrame(
        [(dat["SEPAL_LENGTH"][0], dat["SPECIES"][0], dat.shape[0])],
        columns=["SEPAL_LENGTH", "SPECIES", "COUNT"],
    )
"""
BUILD_LM = """\
def build_rest(dat):
    import oml
    from sklearn import linear_model
    import pandas as pd
    dat = pd.get_dummies(dat, drop_first=True, dtype=float)
    x, y = dat[["SEPAL_WIDTH", "PETAL_LENGTH", "PETAL_WIDTH"]], dat[["SEPAL_LENGTH"]]
    mod = linear_model.LinearRegression().fit(x, y)
    return {"coef_": mod.coef_.tolist(), "init_params": mod.get_params()}
"""
KIND = """\
def kind(dat):
    return [type(dat).__name__, len(dat)]
"""
DRAW = """\
def draw(dat):
    import matplotlib.pyplot as plt
    plt.plot(dat["SEPAL_LENGTH"])
    plt.title(dat["SPECIES"][0])
    return len(dat) / 1
"""
SPECIES = ("setosa", "versicolor", "virginica")


def iris() -> list[tuple[float, float, float, float, str]]:
    """Make 150 rows that look like the famous ones; the wire's examples need the shape alone."""
    return [
        (
            round(4.5 + s + (i * 7 % 13) / 10, 1),
            round(2.2 + (i * 5 % 11) / 10, 1),
            round(1.2 + 1.8 * s + (i * 3 % 10) / 10, 1),
            round(0.2 + 0.8 * s + i % 5 / 10, 1),
            name,
        )
        for s, name in enumerate(SPECIES)
        for i in range(50)
    ]


@pytest.fixture(scope="module")
def ada(alice: Caller) -> Caller:
    """Alice, with IRIS and GRADE and the wire's scripts."""
    lines = ["SEPAL_LENGTH,SEPAL_WIDTH,PETAL_LENGTH,PETAL_WIDTH,SPECIES"]
    lines += [",".join(map(str, row)) for row in iris()]
    load(alice, "IRIS", lines)
    load(
        alice,
        "GRADE",
        [
            "NAME,GENDER,YEAR,SCORE,FINALGRADE",
            "Abbott,F,97,90,A",
            "Branford,M,98,92,A",
            "Crandell,M,98,81,B",
            "Dennison,M,97,85,A",
            "Edgar,F,98,95,",
        ],
    )
    scripts = {
        "my_predict": MY_PREDICT,
        "group_count": GROUP_COUNT,
        "group_fragment": GROUP_FRAGMENT,
        "build_lm_rest": BUILD_LM,
        "kind": KIND,
        "draw_part": DRAW,
    }
    for name, source in scripts.items():
        alice.store(name, source)
    return alice


def load(caller: Caller, name: str, lines: list[str]) -> None:
    answer = caller.put(
        f"/api/v1/tables/{name}",
        content="\n".join(lines).encode() + b"\n",
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code in {200, 201}, answer.text


def run(
    caller: Caller, path: str, body: Mapping[str, Any], *, version: str = "v1"
) -> httpx2.Response:
    return caller.post(f"/oml/api/py-scripts/{version}/{path}", json=dict(body))


def result(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("owner", ["", "/alice"])
def test_w08_table_apply_of_a_frame_is_its_records(ada: Caller, version: str, owner: str) -> None:
    """Floats of DataFrames have ten decimals, and a float without fraction loses its `.0`."""
    body = {"input": "select * from IRIS", "parameters": FRAME, "parallelFlag": True}
    answer = run(ada, f"table-apply/my_predict{owner}", body, version=version)
    records = result(answer)
    expected = [
        {"Pred": round(3.0 / 7.0 * a + c, 10), "SPECIES": s, "PETAL_WIDTH": d}
        for a, _, c, d, s in iris()
    ]
    assert records == expected
    assert b'"PETAL_WIDTH":1,' in answer.content or b'"PETAL_WIDTH":1}' in answer.content
    assert not re.search(rb"\.0[,}]", answer.content)


def test_w09_table_apply_of_a_dict_has_full_precision(ada: Caller) -> None:
    found = result(
        run(ada, "table-apply/build_lm_rest", {"input": "select * from IRIS", "parameters": FRAME})
    )
    assert found["init_params"]["fit_intercept"] is True
    assert any(len(repr(value)) > 14 for value in found["coef_"][0])


def test_w10_a_bare_table_name_is_all_of_it(ada: Caller) -> None:
    whole = result(run(ada, "table-apply/my_predict", {"input": "iris", "parameters": FRAME}))
    assert len(whole) == 150


def test_w11_table_apply_with_figures_is_a_list(ada: Caller) -> None:
    body = {"input": "select * from IRIS", "parameters": FRAME, "graphicsFlag": True}
    (image,) = result(run(ada, "table-apply/draw_part", body))
    assert image.keys() == {"IMAGE", "DATA", "TITLE", "ID"}
    assert base64.b64decode(image["IMAGE"]).startswith(b"\x89PNG")
    assert (image["DATA"], image["TITLE"], image["ID"]) == ("150.0", "setosa", 1)


@pytest.mark.parametrize("owner", ["", "/ALICE"])
def test_w12_row_apply_is_one_flat_list_in_input_order(ada: Caller, owner: str) -> None:
    body = {
        "input": "select * from IRIS",
        "rows": 4,
        "parameters": FRAME,
        "parallelFlag": True,
        "service": "LOW",
    }
    whole = result(
        run(ada, "table-apply/my_predict", {"input": "select * from IRIS", "parameters": FRAME})
    )
    assert result(run(ada, f"row-apply/my_predict{owner}", body)) == whole


@pytest.mark.parametrize(("rows", "chunks"), [(50, 3), (10, 15), (40, 4), (1000, 1)])
def test_chunks_have_at_most_so_many_rows(ada: Caller, rows: int, chunks: int) -> None:
    """Values that are no DataFrames are elements of the list; the last chunk may be smaller."""
    found = result(run(ada, "row-apply/kind", {"input": "IRIS", "rows": rows}))
    assert len(found) == chunks
    assert found == [["DataFrame", min(rows, 150 - k * rows)] for k in range(chunks)]


def test_w13_order_by_cuts_groups_into_numbered_fragments(ada: Caller) -> None:
    """The runs of each value are counted: `versicolor_7` and `versicolor_8` are both printed.

    With one number for all, two of the same value could not follow one another.
    """
    body = {
        "input": "select * from IRIS",
        "parameters": FRAME,
        "groupBy": "Species",
        "orderBy": "Sepal_Length",
        "parallelFlag": True,
    }
    found = result(run(ada, "group-apply/group_fragment", body))
    assert sum(records[0]["COUNT"] for records in found.values()) == 150
    numbers: dict[str, list[tuple[int, float]]] = {}
    for key, records in found.items():
        species, _, number = key.rpartition("_")
        assert records[0]["SPECIES"] == species
        numbers.setdefault(species, []).append((int(number), records[0]["SEPAL_LENGTH"]))
    assert set(numbers) == {"setosa", "versicolor", "virginica"}
    for fragments in numbers.values():
        assert [number for number, _ in fragments] == list(range(1, len(fragments) + 1))
        lengths = [length for _, length in fragments]
        assert lengths == sorted(lengths)


def test_order_within_keeps_groups_whole(ada: Caller) -> None:
    body = {
        "input": "select * from IRIS",
        "parameters": FRAME,
        "groupBy": "Species",
        "orderBy": "Sepal_Length",
        "orderWithin": True,
    }
    found = result(run(ada, "group-apply/group_fragment", body))
    assert {key: records[0]["SEPAL_LENGTH"] for key, records in found.items()} == {
        name: min(row[0] for row in iris() if row[4] == name) for name in SPECIES
    }


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_w14_groups_are_an_object_by_their_values(ada: Caller, version: str) -> None:
    body = {
        "input": "select * from IRIS",
        "groupBy": "SPECIES",
        "parallelFlag": True,
        "service": "MEDIUM",
        "parameters": FRAME,
    }
    answer = run(ada, "group-apply/group_count", body, version=version)
    assert result(answer) == {name: [{"SPECIES": name, "COUNT": 50}] for name in SPECIES}


def test_several_columns_make_one_key(ada: Caller) -> None:
    body = {"input": "select * from GRADE", "groupBy": "gender, YEAR", "parameters": "{}"}
    found = result(run(ada, "group-apply/kind", body))
    assert found == {
        "F_97": ["DataFrame", 1],
        "F_98": ["DataFrame", 1],
        "M_97": ["DataFrame", 1],
        "M_98": ["DataFrame", 2],
    }


@pytest.mark.parametrize(
    ("verb", "members", "names"),
    [
        ("row-apply", {"rows": 50}, ["1", "2", "3"]),
        ("group-apply", {"groupBy": "SPECIES"}, list(SPECIES)),
    ],
)
def test_figures_of_parts_say_which_part(
    ada: Caller, verb: str, members: dict[str, object], names: list[str]
) -> None:
    body = {"input": "IRIS", "parameters": FRAME, "graphicsFlag": True, **members}
    found = result(run(ada, f"{verb}/draw_part", body))
    assert list(found) == ["0", "1", "2"]
    assert [image["NAME"] for image in found.values()] == names
    assert [image["TITLE"] for image in found.values()] == list(SPECIES)
    assert all((image["DATA"], image["ID"]) == ("50.0", 1) for image in found.values())


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        (None, "ndarray"),
        ("default", "ndarray"),
        ("pandas.DataFrame", "DataFrame"),
        ("numpy.recarray", "recarray"),
    ],
)
def test_numbers_come_as_the_input_type_says(ada: Caller, kind: str | None, seen: str) -> None:
    parameters = {} if kind is None else {"oml_input_type": kind}
    body = {"input": "select SEPAL_LENGTH, PETAL_WIDTH from IRIS", "parameters": parameters}
    assert result(run(ada, "table-apply/kind", body)) == [seen, 150]


def test_oml_na_omit_leaves_rows_out(ada: Caller) -> None:
    body = {"input": "GRADE", "parameters": '{"oml_na_omit":true}'}
    assert result(run(ada, "table-apply/kind", body)) == ["DataFrame", 4]


W16 = [
    ("table-apply", {"input": "GRADE", "parameters": '{"oml_na_omit":true}', "service": "LOW"}),
    (
        "row-apply",
        {
            "input": "select name, finalgrade from GRADE where score > 90",
            "rows": 5,
            "parameters": FRAME,
            "parallelFlag": True,
        },
    ),
    (
        "group-apply",
        {
            "input": "select * from GRADE",
            "groupBy": "GENDER, YEAR",
            "orderBy": "GENDER",
            "parameters": '{"oml_input_type":"default"}',
            "parallelFlag": True,
        },
    ),
]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(("verb", "body"), W16, ids=[verb for verb, _ in W16])
def test_w16_bodies_of_the_old_reference_are_accepted(
    ada: Caller, version: str, verb: str, body: dict[str, object]
) -> None:
    assert result(run(ada, f"{verb}/kind", body, version=version))


@pytest.mark.parametrize(
    ("verb", "members", "empty"),
    [
        ("row-apply", {"rows": 5}, []),
        ("group-apply", {"groupBy": "SPECIES"}, {}),
        ("table-apply", {}, ["DataFrame", 0]),
    ],
)
def test_no_rows_is_an_answer(
    ada: Caller, verb: str, members: dict[str, object], empty: object
) -> None:
    body = {"input": "select * from IRIS where 1 = 0", "parameters": FRAME, **members}
    assert result(run(ada, f"{verb}/kind", body)) == empty


REFUSED: list[tuple[str, dict[str, object], int, str]] = [
    ("table-apply", {}, 2002, '"input"'),
    ("row-apply", {"input": "IRIS"}, 2002, '"rows"'),
    ("row-apply", {"input": "IRIS", "rows": 0}, 2002, '"rows"'),
    ("group-apply", {"input": "IRIS"}, 2002, '"groupBy"'),
    ("group-apply", {"input": "IRIS", "groupBy": "A,,B"}, 2002, '"groupBy"'),
    ("group-apply", {"input": "IRIS", "groupBy": "COLOUR"}, 2042, "COLOUR"),
    ("table-apply", {"input": "select * from NOWHERE"}, 2041, "NOWHERE"),
    ("table-apply", {"input": "drop table IRIS"}, 2040, ""),
    (
        "table-apply",
        {"input": "IRIS", "parameters": '{"oml_input_type":"list"}'},
        2003,
        "oml_input_type",
    ),
]


@pytest.mark.parametrize(("verb", "body", "code", "named"), REFUSED)
def test_what_is_wrong_is_named(
    ada: Caller, verb: str, body: dict[str, object], code: int, named: str
) -> None:
    answer = run(ada, f"{verb}/kind", body)
    assert answer.status_code in {400, 404}
    error = answer.json()
    assert error["errorCode"] == code
    assert named in error["errorMessage"]


def test_a_failed_group_is_named(ada: Caller) -> None:
    ada.store("picky", "def picky(dat):\n    return 1 / (dat['SPECIES'][0] != 'versicolor')\n")
    body = {"input": "IRIS", "groupBy": "SPECIES"}
    answer = run(ada, "group-apply/picky", body)
    assert answer.status_code == 400
    assert (answer.json()["name"], answer.json()["index"]) == ("versicolor", 2)
    answer = run(ada, "group-apply/picky", {**body, "onError": "continue"})
    assert result(answer) == {"setosa": 1, "versicolor": None, "virginica": 1}
    assert [error["name"] for error in answer.json()["errors"]] == ["versicolor"]


def test_another_users_script_sees_the_callers_rows(ada: Caller, bob: Caller) -> None:
    """The script is its owner's, the rows are the caller's: bob has no IRIS."""
    ada.put("/api/v1/scripts/kind/grants/BOB")
    refused = run(bob, "table-apply/kind/alice", {"input": "select * from IRIS"})
    assert refused.json()["errorCode"] == 2041
    load(bob, "OWN", ["a,b", "1,x", "2,y"])
    found = run(bob, "table-apply/kind/alice", {"input": "select * from OWN"})
    assert result(found) == ["DataFrame", 2]


def test_the_same_seed_gives_the_same_randomness_by_chunk(ada: Caller) -> None:
    """What a chunk draws depends on the seed and its number, not on who ran it when."""
    ada.store("noisy", "def noisy(dat):\n    import random\n    return random.random()\n")
    body = {"input": "IRIS", "rows": 10, "seed": 7}
    once = result(run(ada, "row-apply/noisy", body))
    parallel = {**body, "parallelFlag": True, "service": "HIGH"}
    assert result(run(ada, "row-apply/noisy", parallel)) == once
    assert len(set(once)) == 15


def test_an_operator_may_have_the_frames_of_groups_by_columns(start_server: StartServer) -> None:
    """The form of releases before 2025: column, then row label (wire reference, §10)."""
    server = start_server("--group-frames", "columns", users={"alice": "developer"})
    with server.caller("alice") as caller:
        load(caller, "T", ["SPECIES,N", "setosa,1", "setosa,2", "virginica,3"])
        caller.store("group_count", GROUP_COUNT)
        body = {"input": "T", "groupBy": "SPECIES", "parameters": FRAME}
        assert result(run(caller, "group-apply/group_count", body)) == {
            "setosa": {"SPECIES": {"0": "setosa"}, "COUNT": {"0": 2}},
            "virginica": {"SPECIES": {"0": "virginica"}, "COUNT": {"0": 1}},
        }
