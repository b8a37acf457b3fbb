"""`client.ds`: what OML4Py's users know, without a pickle on this side."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold import AsyncClient, Client, errors
from fanfold.faults import NotSendable
from tests.acceptance.conftest import ENGINE, PASSWORD, Server
from tests.architecture.repository import ROOT


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, username="alice", password=PASSWORD) as found:
        yield found


@pytest.fixture
def name() -> str:
    """A name that no other test has taken."""
    return f"sdk_{uuid.uuid4().hex[:8]}"


def fit(name):  # type: ignore[no-untyped-def]  # as a notebook has it
    import numpy as np  # noqa: PLC0415  # a script's imports are inside
    import oml  # type: ignore[import-not-found]  # noqa: PLC0415
    from sklearn.linear_model import (  # type: ignore[import-not-found]  # noqa: PLC0415
        LinearRegression,
    )

    model = LinearRegression().fit(np.array([[1.0], [2.0]]), [2.0, 4.0])
    oml.ds.save({"model": model, "slope": np.float64(2), "pair": (1, 2)}, name=name)


def test_values_come_back_as_they_were_saved(client: Client, name: str) -> None:
    """Also those that the answers of runs write in another way: 6.0 and infinities."""
    objs = {
        "count": 6,
        "share": 6.0,
        "text": "ümlaut \U0001f600",
        "none": None,
        "nested": {"b": [1, 2.5, {"x": True}], "a": []},
        "endless": float("inf"),
    }
    client.ds.save(objs, name, description="what we know")
    found = client.ds.load(name, to_globals=False)
    assert found == objs
    assert {key: type(found[key]) for key in objs} == {key: type(objs[key]) for key in objs}
    assert client.ds.load(name, "count", to_globals=False) == {"count": 6}
    with pytest.raises(errors.CallRaised, match=f"(?i){name}.*(overwrite|append)"):
        client.ds.save({"count": 7}, name)
    client.ds.save({"count": 7}, name, append=True)
    assert client.ds.load(name, ["count", "share"], to_globals=False) == {"count": 7, "share": 6.0}


def test_a_load_makes_global_names_as_in_oml4py(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import __main__  # noqa: PLC0415  # the very one

    monkeypatch.setattr(__main__, "sdk_loaded", None, raising=False)
    client.ds.save({"sdk_loaded": [1, 2]}, name)
    assert client.ds.load(name) == ["sdk_loaded"]
    assert __main__.sdk_loaded == [1, 2]


def test_datastores_are_listed_described_and_deleted(client: Client, name: str) -> None:
    client.ds.save({"first": [1, 2, 3], "second": {"x": 1}}, name, description="of two")
    client.ds.save({"first": 1}, f"{name}_too")
    (listed,) = client.ds.dir(name)
    assert (listed["datastore_name"], listed["object_count"]) == (name, 2)
    assert (listed["description"], listed["size"] > 0) == ("of two", True)
    assert [row["datastore_name"] for row in client.ds.dir(f"{name}.*", regex_match=True)] == [
        name,
        f"{name}_too",
    ]
    assert [
        (row["object_name"], row["class"], row["length"]) for row in client.ds.describe(name)
    ] == [("first", "list", 3), ("second", "dict", 1)]
    assert client.ds.delete(name, "sec.*", regex_match=True) == ["second"]
    assert client.ds.load(name, to_globals=False) == {"first": [1, 2, 3]}
    assert client.ds.delete(f"{name}.*", regex_match=True) == [name, f"{name}_too"]
    with pytest.raises(errors.UnknownDatastore):
        client.ds.describe(name)


def test_what_is_shared_is_loaded_by_whom_it_is_shared_with(
    client: Client, server: Server, name: str
) -> None:
    client.ds.save({"x": 5}, name, grantable=True)
    with Client(server.url, username="bob", password=PASSWORD) as bob:
        with pytest.raises(errors.CallRaised):
            bob.ds.load(name, owner="alice", to_globals=False)
        client.grant(name, "datastore", user="bob")
        assert client.ds.grants(name) == ["BOB"]
        assert bob.ds.load(name, owner="alice", to_globals=False) == {"x": 5}
        assert name in [row["datastore_name"] for row in bob.ds.dir(dstype="granted")]
        client.revoke(name, typ="datastore", user="bob")
        with pytest.raises(errors.UnknownDatastore):
            bob.ds.describe(name, owner="alice")
    with pytest.raises(ValueError, match="datastore"):
        client.grant(name, typ="table")


def test_what_only_a_pickle_could_carry_stays_where_it_is(client: Client, name: str) -> None:
    with pytest.raises(NotSendable, match=r"'model' is a object"):
        client.ds.save({"model": object()}, name)
    with pytest.raises(NotSendable, match=r"'pair' is a tuple"):
        client.ds.save({"pair": (1, 2)}, name)
    client.do_eval(fit, name=name)
    with pytest.raises(NotSendable, match=r"'model' \(LinearRegression\).*oml\.ds\.load") as told:
        client.ds.load(name)
    assert told.value.details["names"] == ["model"]
    found = client.ds.load(name, objs=["slope", "pair"], to_globals=False)
    assert found == {"slope": 2.0, "pair": [1, 2]}

    def predict(name, x):  # type: ignore[no-untyped-def]
        import oml  # noqa: PLC0415

        return float(oml.ds.load(name, "model", to_globals=False)["model"].predict([[x]])[0])

    assert client.do_eval(predict, name=name, x=3) == pytest.approx(6)


async def test_the_awaiting_client_has_them_too(server: Server, name: str) -> None:
    async with AsyncClient(server.url, username="alice", password=PASSWORD) as client:
        await client.ds.save({"x": [1.0, 2.5]}, name, compression=True)
        assert await client.ds.load(name, to_globals=False) == {"x": [1.0, 2.5]}
        assert [row["datastore_name"] for row in await client.ds.dir(name)] == [name]
        assert await client.ds.delete(name) == [name]


FRAMES = """
import numpy as np, pandas as pd
from fanfold import Client, datastores
from fanfold.faults import NotSendable

frame = pd.DataFrame(
    {"when": pd.to_datetime(["2024-02-29", None]), "x": [0.1 + 0.2, np.nan], "n": [1, 2**60],
     "kind": pd.Categorical(["a", "b"]), "text": ["ü", None]},
    index=pd.Index(["first", "second"], name="key"),
)
array = np.array([[1.5, np.nan], [np.inf, -0.0]])
with Client() as client:
    client.ds.save({"frame": frame, "array": array, "words": np.array(["a", "bc"])}, "sdk_frames",
                   overwrite=True)
    found = client.ds.load("sdk_frames", to_globals=False)
    pd.testing.assert_frame_equal(found["frame"], frame)
    np.testing.assert_array_equal(found["array"], array)
    assert found["array"].tobytes() == array.tobytes() and found["array"].flags.writeable
    assert list(found["words"]) == ["a", "bc"]
    described = client.ds.describe("sdk_frames").set_index("object_name")
    assert list(described.loc["frame", ["class", "row_count"]]) == ["DataFrame", 2]
    assert str(client.ds.dir("sdk_frames")["date"].dtype).startswith("datetime64")
    try:
        client.ds.save({"objects": np.array([object()])}, "sdk_frames", overwrite=True)
    except NotSendable as exc:
        assert "'objects' is a ndarray" in str(exc)
    # and where there is no pyarrow, a plainer way
    datastores._has = lambda module: module != "pyarrow" and bool(__import__(module))
    plain = pd.DataFrame({"x": [0.5, np.nan], "text": ["a", "b"]}, index=["p", "q"])
    client.ds.save({"plain": plain}, "sdk_frames", append=True)
    pd.testing.assert_frame_equal(client.ds.load("sdk_frames", "plain", to_globals=False)["plain"],
                                  plain)
    print("done")
"""


def test_frames_and_arrays_come_back_with_their_types_and_index(
    server: Server, tmp_path: Path
) -> None:
    """Where pandas is installed: in the very environment in which functions run."""
    program = tmp_path / "program.py"
    libraries = sysconfig.get_path("purelib")
    program.write_text(f"import sys; sys.path.append({libraries!r})\n{FRAMES}")
    done = subprocess.run(
        [ENGINE / "bin" / "python", program],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}",
            "FANFOLD_URL": server.url,
            "FANFOLD_USERNAME": "alice",
            "FANFOLD_PASSWORD": PASSWORD,
        },
        timeout=180,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr
