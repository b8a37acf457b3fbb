"""Datastores: `oml.ds` inside functions over real HTTP, and what the own API tells of them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.chaos import Cluster
from tests.acceptance.conftest import Caller, Server, StartServer
from tests.acceptance.job_calls import RUNS, ended, submit
from tests.acceptance.test_data_runs import FRAME, iris, load

STORES = "/api/v1/datastores"
DOES = """\
import oml
def does(code):
    return eval(code)
"""
FITS = """\
def build_lm_2(dat, dsname):
    import oml
    from sklearn import linear_model
    lm = linear_model.LinearRegression()
    lm.fit(dat[["PETAL_WIDTH"]], dat[["PETAL_LENGTH"]])
    name = "mod_" + dat.loc[dat.index[0], "SPECIES"]
    oml.ds.save(objs={name: lm}, name=dsname, append=True)
    return name
"""
SCORES = """\
def scores(dsname):
    import oml
    oml.ds.load(dsname)
    return [round(float(m.coef_[0][0]), 3) for m in (mod_setosa, mod_versicolor, mod_virginica)]
"""
SAVES_FOR_ANOTHER = """\
def plants(verb):
    import oml
    class Trap:
        def __reduce__(self):
            return print, ("it ran",)
    if verb == "save":
        oml.ds.save({"m": Trap()}, "planted", append=True)
    elif verb == "delete":
        oml.ds.delete("kept")
    elif verb == "grant":
        oml.grant("kept", typ="datastore", user="BOB")
    else:
        return oml.ds.load("kept", to_globals=False)["n"]
"""


@pytest.fixture
def ada(alice: Caller, bob: Caller, admin: Caller) -> Iterator[Caller]:
    """Alice, without a datastore; and nobody else has one."""
    for caller in (alice, bob, admin):
        caller.store("ds_does", DOES)
    yield alice
    for caller in (alice, bob, admin):
        for each in caller.get(STORES, params={"type": "user"}).json()["datastores"]:
            assert caller.delete(f"{STORES}/{each['name']}").status_code == 204


def does(caller: Caller, code: str) -> Any:
    answer = caller.do_eval("ds_does", {"parameters": {"code": code}})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def refusal(caller: Caller, code: str) -> dict[str, Any]:
    answer = caller.do_eval("ds_does", {"parameters": {"code": code}})
    assert answer.status_code == 400, answer.text
    told: dict[str, Any] = answer.json()
    return told


def loaded(caller: Caller, name: str, **more: str) -> Any:
    members = "".join(f", {key}={value!r}" for key, value in more.items())
    return does(caller, f"oml.ds.load({name!r}, to_globals=False{members})")


# ------------------------------------------------------------------ saving and loading


def test_what_is_saved_is_loaded_by_another_run(ada: Caller) -> None:
    does(ada, "oml.ds.save({'a': [1, 'ü'], 'b': {'x': None}}, 'd')")
    assert loaded(ada, "d") == {"a": [1, "ü"], "b": {"x": None}}
    assert does(ada, "oml.ds.load('d', objs='a', to_globals=False)") == {"a": [1, "ü"]}
    assert does(ada, "oml.ds.load('d', objs=['b'])") == ["b"]
    assert does(ada, "sorted(oml.ds.load('d')) and [a, b]") == [[1, "ü"], {"x": None}]


def test_the_published_example_keeps_a_model_for_each_group(ada: Caller) -> None:
    """Calls of one run append to a datastore that the first of them makes."""
    lines = ["SEPAL_LENGTH,SEPAL_WIDTH,PETAL_LENGTH,PETAL_WIDTH,SPECIES"]
    load(ada, "DS_IRIS", lines + [",".join(map(str, row)) for row in iris()])
    ada.store("build_lm_2", FITS)
    ada.store("ds_scores", SCORES)
    parameters = {**json.loads(FRAME), "dsname": "ds-1", "oml_connect": 1}
    answer = ada.post(
        f"{RUNS}/v1/group-apply/build_lm_2",
        json={
            "input": "select * from DS_IRIS",
            "groupBy": "SPECIES",
            "parameters": json.dumps(parameters),
            "parallelFlag": True,
            "service": "MEDIUM",
        },
    )
    assert sorted(answer.json()["result"].values()) == [
        "mod_setosa",
        "mod_versicolor",
        "mod_virginica",
    ], answer.text
    scored = ada.do_eval("ds_scores", {"parameters": {"dsname": "ds-1"}})
    assert len(scored.json()["result"]) == 3, scored.text
    described = does(ada, "oml.ds.describe('ds-1').to_dict('records')")
    assert [each["class"] for each in described] == ["LinearRegression"] * 3


def test_a_job_keeps_and_reads_as_a_run_does(ada: Caller) -> None:
    ada.store(
        "ds_job",
        "def ds_job(i):\n    import oml\n    oml.ds.save({f'o{i}': i}, 'j', append=True)\n",
    )
    location = submit(ada, "index-apply", "ds_job", times=30, parallelFlag=True, service="HIGH")
    assert ended(ada, location)["state"] == "succeeded"
    assert loaded(ada, "j") == {f"o{i}": i for i in range(1, 31)}


def test_overwriting_appending_and_refusing(ada: Caller) -> None:
    does(ada, "oml.ds.save({'a': 1}, 'd', description='first')")
    told = refusal(ada, "oml.ds.save({'b': 1}, 'd')")
    assert told["errorMessage"].startswith('oml.Refused: You have a datastore "d": save with')
    does(ada, "oml.ds.save({'b': 2, 'a': 0}, 'd', append=True)")
    assert loaded(ada, "d") == {"a": 0, "b": 2}
    does(ada, "oml.ds.save({'c': 3}, 'd', overwrite=True, description='second')")
    assert loaded(ada, "d") == {"c": 3}
    assert ada.get(f"{STORES}/d").json()["description"] == "second"


def test_large_and_compressed_objects_come_back_whole(ada: Caller) -> None:
    """Larger than a piece, and than what goes through memory."""
    made = "__import__('random').Random(7).randbytes(40_000_000)"
    does(ada, f"oml.ds.save({{'x': {made}, 'y': 1, 'e': b''}}, 'big')")
    assert does(ada, f"oml.ds.load('big', to_globals=False)['x'] == {made}") is True
    does(ada, "oml.ds.save({'z': 'z' * 1_000_000}, 'small', compression=True)")
    assert does(ada, "len(oml.ds.load('small', to_globals=False)['z'])") == 1_000_000
    assert ada.get(f"{STORES}/small").json()["sizeBytes"] < 10_000


def test_what_cannot_be_pickled_is_named(ada: Caller) -> None:
    told = refusal(ada, "oml.ds.save({'good': 1, 'bad': lambda: 1}, 'd')")
    assert "oml.ds.save: 'bad' cannot be pickled" in told["errorMessage"]
    assert ada.get(f"{STORES}/d").status_code == 404


def test_a_frame_that_stands_for_rows_can_be_kept(ada: Caller) -> None:
    load(ada, "DS_ROWS", ["A", "1", "2"])
    does(ada, "oml.ds.save({'t': oml.sync(table='DS_ROWS')}, 'd')")
    assert does(ada, "oml.ds.load('d', to_globals=False)['t'].shape") == [2, 1]
    assert ada.get(f"{STORES}/d").json()["objects"][0]["className"] == "oml.DataFrame"


# ------------------------------------------------------------------ listings


def test_dir_and_describe_have_the_documented_columns(ada: Caller) -> None:
    does(ada, "oml.ds.save({'l': [1, 2], 'f': oml.push([[1, 2]] * 3).pull()}, 'd', 'about it')")
    listing = does(ada, "oml.ds.dir().drop(columns='date').to_dict('records')")
    (entry,) = listing
    assert entry.pop("size") > 0
    assert entry == {"datastore_name": "d", "object_count": 2, "description": "about it"}
    assert does(ada, "str(oml.ds.dir()['date'].dtype)[:10]") == "datetime64"
    described = does(ada, "oml.ds.describe('d').drop(columns='size').to_dict('records')")
    assert described == [
        {"object_name": "f", "class": "DataFrame", "length": 3, "row_count": 3, "col_count": 2},
        {"object_name": "l", "class": "list", "length": 2, "row_count": 1, "col_count": 2},
    ]
    assert does(ada, "oml.ds.dir('x').shape[0]") == 0
    assert does(ada, "oml.ds.dir('D|d', regex_match=True).shape[0]") == 1


def test_things_are_deleted_by_name_and_by_pattern(ada: Caller) -> None:
    for name in ("d1", "d2", "other"):
        does(ada, f"oml.ds.save({{'a1': 1, 'a2': 2, 'b': 3}}, {name!r})")
    assert does(ada, "oml.ds.delete('d1', objs='b')") == ["b"]
    assert does(ada, "sorted(oml.ds.delete('d1', objs='a.', regex_match=True))") == ["a1", "a2"]
    assert loaded(ada, "d1") == {}
    assert does(ada, "sorted(oml.ds.delete('d.', regex_match=True))") == ["d1", "d2"]
    assert does(ada, "oml.ds.delete(['other'])") == ["other"]
    assert refusal(ada, "oml.ds.delete('other')")["errorType"] == "oml.Refused"


def test_the_own_api_tells_and_deletes(ada: Caller) -> None:
    does(ada, "oml.ds.save({'a': 1, 'b': 2}, 'd', grantable=True)")
    (listed,) = ada.get(STORES).json()["datastores"]
    assert (listed["name"], listed["owner"], listed["objectCount"]) == ("d", "ALICE", 2)
    assert listed["grantable"] is True
    described = ada.get(f"{STORES}/d").json()
    assert [each["name"] for each in described["objects"]] == ["a", "b"]
    assert ada.delete(f"{STORES}/d/objects/a").status_code == 204
    assert ada.delete(f"{STORES}/d/objects/a").status_code == 404
    assert [each["name"] for each in ada.get(f"{STORES}/d").json()["objects"]] == ["b"]
    assert ada.delete(f"{STORES}/d").status_code == 204
    assert ada.get(f"{STORES}/d").json()["errorCode"] == 2061


# ------------------------------------------------------------------ rights


def test_a_grantee_loads_and_changes_nothing(ada: Caller, bob: Caller) -> None:
    does(ada, "oml.ds.save({'n': 42}, 'kept')")
    told = refusal(ada, "oml.grant('kept', typ='datastore', user='BOB')")
    assert "may not be granted: save it with grantable=True" in told["errorMessage"]
    does(ada, "oml.ds.save({}, 'kept', append=True, grantable=True)")
    does(ada, "oml.grant('kept', typ='datastore', user='bob')")
    assert loaded(bob, "kept", owner="alice") == {"n": 42}
    assert does(bob, "oml.ds.dir(dstype='granted')['owner'].tolist()") == ["ALICE"]
    assert does(ada, "oml.ds.dir(dstype='grant').to_dict('records')") == [
        {"datastore_name": "kept", "grantee": "BOB"}
    ]
    does(bob, "oml.ds.save({'n': 1}, 'kept')")  # his own, of the same name
    assert loaded(ada, "kept") == {"n": 42}
    assert loaded(bob, "kept", owner="ALICE") == {"n": 42}
    does(ada, "oml.revoke('kept', typ='datastore', user='BOB')")
    assert refusal(bob, "oml.ds.load('kept', owner='ALICE')")["errorType"] == "oml.Refused"


def test_grants_are_made_over_rest_too(ada: Caller, bob: Caller, admin: Caller) -> None:
    does(ada, "oml.ds.save({'n': 42}, 'kept')")
    assert ada.put(f"{STORES}/kept/grants/bob").status_code == 409
    does(ada, "oml.ds.save({}, 'kept', append=True, grantable=True)")
    assert ada.put(f"{STORES}/kept/grants/nobody").status_code == 404
    assert ada.put(f"{STORES}/kept/grants/*").status_code == 204
    assert ada.get(f"{STORES}/kept/grants").json() == {"grants": [{"grantee": "PUBLIC"}]}
    assert loaded(admin, "kept", owner="ALICE") == {"n": 42}
    assert ada.delete(f"{STORES}/kept/grants/PUBLIC").status_code == 204
    assert ada.delete(f"{STORES}/kept/grants/PUBLIC").status_code == 404
    assert bob.get(f"{STORES}/kept", params={"owner": "ALICE"}).status_code == 404


@pytest.mark.parametrize(
    "code",
    [
        "oml.ds.load('kept', owner='ALICE')",
        "oml.ds.load('kept', owner='alice')",
        "oml.ds.load('ALICE.kept')",
        "oml.ds.load('kept')",
        "oml.ds.load('../ALICE/kept')",
        "oml.ds.load('ke\\0pt', owner='ALICE')",
        "oml.ds.describe('kept', owner='ALICE')",
        "oml.ds.delete('kept')",
        "oml.ds.delete('kept', objs='n')",
        "oml.grant('kept', typ='datastore', user='BOB')",
        "oml.revoke('kept', typ='datastore', user='BOB')",
        "ask('ds.load', name='kept', owner='ALICE', objects=None, reader='ALICE')",
        "ask('ds.delete', name='kept', objects=None, owner='ALICE')",
        "ask('ds.load', name='kept', owner=['ALICE'], objects=None)",
    ],
)
def test_anothers_datastore_is_not_there(ada: Caller, bob: Caller, code: str) -> None:
    does(ada, "oml.ds.save({'n': 42}, 'kept', grantable=True)")
    asked = code.replace("ask(", "__import__('fanfold_runtime.asking').asking.ask(", 1)
    assert refusal(bob, asked)["errorType"] == "oml.Refused"
    assert loaded(ada, "kept") == {"n": 42}


@pytest.mark.parametrize("verb", ["save", "delete", "grant"])
def test_anothers_script_changes_none_of_its_callers(ada: Caller, bob: Caller, verb: str) -> None:
    """A pickle that it planted would run as its caller at the next load."""
    does(ada, "oml.ds.save({'n': 42}, 'kept', grantable=True)")
    bob.store("ds_plants", SAVES_FOR_ANOTHER)
    assert bob.put("/api/v1/scripts/ds_plants/grants/alice").status_code == 204
    path = f"{RUNS}/v1/do-eval/ds_plants/bob"
    answer = ada.post(path, json={"parameters": {"verb": verb}})
    assert answer.status_code == 400
    assert "BOB's may read your datastores and change none" in answer.json()["errorMessage"]
    assert ada.post(path, json={"parameters": {"verb": "load"}}).json()["result"] == 42
    assert [each["name"] for each in ada.get(STORES).json()["datastores"]] == ["kept"]


# ------------------------------------------------------------------ limits


def test_limits_are_named(start_server: StartServer) -> None:
    server = start_server(
        *("--max-object-mib", "1", "--max-user-datastore-mib", "2"), users={"ann": "developer"}
    )
    with server.caller("ann") as ann:
        ann.store("ds_does", DOES)
        told = refusal(ann, "oml.ds.save({'ok': 1, 'x': b'x' * 1_100_000}, 'd')")
        assert '"x" takes 1100' in told["errorMessage"]
        assert "1 MiB, max_object_mib" in told["errorMessage"]
        for name in ("d1", "d2"):
            does(ann, f"oml.ds.save({{'x': b'x' * 1_000_000}}, {name!r})")
        told = refusal(ann, "oml.ds.save({'x': b'x' * 200_000}, 'd3')")
        assert "2 MiB, max_user_datastore_mib" in told["errorMessage"]
        assert blobs_of(server) == 2
        does(ann, "oml.ds.save({'x': b'x' * 900_000}, 'd2', overwrite=True)")
        does(ann, "oml.ds.delete('d1')")
        assert blobs_of(server) == 1


def blobs_of(server: Server) -> int:
    return sum(1 for each in (server.data / "blobs" / "datastores").rglob("*") if each.is_file())


@pytest.mark.parametrize(
    "forged",
    [
        {"objects": [{"name": "a", "class": "x", "size": 1 << 60, "length": 1, "rows": 1,
                      "columns": 1}]},
        {"objects": [{"name": "a", "class": "x", "size": -1, "length": 1, "rows": 1,
                      "columns": 1}]},
        {"objects": [{"name": "a", "class": "x", "size": 1, "length": 1, "rows": 1,
                      "columns": 1}]},
        {"objects": [{"name": "a"}]},
        {"objects": [{"name": n, "class": "x", "size": 0, "length": 1, "rows": 1, "columns": 1}
                     for n in ("a", "a")]},
        {"name": "x" * 129},
        {"name": ""},
        {"name": "a/b"},
        {"name": "a\0b"},
        {"name": 1},
        {"description": "x" * 2001},
        {"grantable": "yes"},
        {"owner": "BOB"},
    ],
)  # fmt: skip
def test_forged_asks_save_nothing(ada: Caller, forged: Mapping[str, object]) -> None:
    members: dict[str, object] = {
        "name": "forged",
        "objects": [],
        "description": " ",
        "grantable": None,
        "overwrite": False,
        "append": False,
    }
    members.update(forged)
    code = f"__import__('fanfold_runtime.asking').asking.ask('ds.save', **{members!r})"
    assert refusal(ada, code)["errorType"] == "oml.Refused"
    assert ada.get(STORES).json() == {"datastores": []}


def test_what_was_not_made_by_pickle_is_an_error_of_the_call(ada: Caller) -> None:
    """Whoever forges his own objects spoils his own calls."""
    object_ = {"name": "a", "class": "x", "size": 4, "length": 1, "rows": 1, "columns": 1}
    code = (
        "(lambda os, f, ask: [os.write(f, b'junk'), __import__('fcntl').fcntl(f, 1033, 14), "
        f"ask('ds.save', payload=f, name='d', objects=[{object_!r}], description=' ', "
        "grantable=None, overwrite=True, append=False)])(__import__('os'), "
        "__import__('os').memfd_create('x', 2), "
        "__import__('fanfold_runtime.asking').asking.ask)"
    )
    does(ada, code)
    assert refusal(ada, "oml.ds.load('d')")["errorType"] == "_pickle.UnpicklingError"


# ------------------------------------------------------------------ the death of processes


SWAPS = """\
def swaps(generation):
    import oml
    oml.ds.save(
        {"a": generation, "b": bytes([generation % 256]) * 3_000_000, "c": generation},
        "swapped", overwrite=True,
    )
    return generation
"""


def test_a_save_is_whole_or_not_at_all_whoever_is_killed(tmp_path: Path) -> None:
    """The agent and the server, in the middle of one save after the other."""
    with Cluster(tmp_path, agents=1) as cluster:
        cluster.request("PUT", "/api/v1/scripts/swaps", json={"source": SWAPS})
        cluster.request("PUT", "/api/v1/scripts/ds_does", json={"source": DOES})
        ends = threading.Event()
        done: list[int] = []

        def keep_saving() -> None:
            generation = 0
            while not ends.is_set():
                generation += 1
                path = "/oml/api/py-scripts/v1/do-eval/swaps"
                try:
                    answer = cluster.request(
                        "POST", path, json={"parameters": {"generation": generation}}
                    )
                except httpx2.HTTPError:
                    continue
                if answer.status_code == 200:
                    done.append(generation)

        saving = threading.Thread(target=keep_saving)
        saving.start()
        try:
            for round_ in range(4):
                before = len(done)
                deadline = time.monotonic() + 60
                while len(done) < before + 3:
                    assert time.monotonic() < deadline, "nothing is saved any more"
                    time.sleep(0.003 * (round_ + 1))
                agent = cluster.agents.pop()
                os.kill(agent.pid, signal.SIGKILL)
                agent.close()
                cluster.agents.append(cluster._start_agent())
        finally:
            ends.set()
            saving.join(120)
        code = (
            "(lambda d: [d['a'], d['c'], d['b'] == bytes([d['a'] % 256]) * 3_000_000])"
            "(oml.ds.load('swapped', to_globals=False))"
        )
        path = "/oml/api/py-scripts/v1/do-eval/ds_does"
        answer = cluster.request("POST", path, json={"parameters": {"code": code}})
        a, c, is_whole = answer.json()["result"]
        assert is_whole is True
        assert a == c
        assert a >= done[-1]
