"""Datastores, by the names that OML4Py has for them: `client.ds`.

What is in a datastore is kept as pickles, and reading a pickle runs code: workers on the server do
that, and this side never does. To list, describe, delete and share goes through the server's API.
To save and to load is a run of its own, in which values travel as JSON, arrays as their bytes, and
DataFrames as Arrow. A fitted model has no such form: a function that runs on the server saves it
and loads it, by `oml.ds`.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fanfold.datastore_scripts import LOAD, SAVE
from fanfold.faults import NotSendable
from fanfold.messages import Request, Steps, path, query
from fanfold.verbs import D, Part, verb

if TYPE_CHECKING:
    from fanfold.options import Options
    from fanfold.progress import Display
    from fanfold.runs import Runs
    from fanfold.session import Session

DATASTORES = "/api/v1/datastores"
EVERYONE = "*"

_ARRAYS = "biufcSUmM"
"""Kinds of arrays that are their bytes: all but those of objects."""

_LISTED = {
    "datastore_name": "name",
    "object_count": "objectCount",
    "size": "sizeBytes",
    "date": "created",
    "description": "description",
}
_OBJECT = {
    "object_name": "name",
    "class": "className",
    "size": "sizeBytes",
    "length": "length",
    "row_count": "rowCount",
    "col_count": "colCount",
}


class Datastores(Part[D]):
    """Named objects that are kept between runs.

    Values that JSON has, NumPy's arrays and pandas' DataFrames are saved and loaded from here.
    Whatever else there is, such as a fitted model, is saved and loaded by functions that run on the
    server, through `oml.ds`: this side reads no pickles.
    """

    def __init__(
        self, driver: D, session: Session, display: Display, runs: Runs[D, Any], options: Options
    ) -> None:
        super().__init__(driver, session, display)
        self._runs = runs
        self._frames = options.frames

    @verb
    def save(
        self,
        objs: Mapping[str, Any],
        name: str,
        description: str = " ",
        grantable: bool | None = None,
        overwrite: bool = False,
        append: bool = False,
        compression: bool = False,
    ) -> Steps[None]:
        """Save objects in a datastore: all of them, or none.

        Args:
            objs: name → object.
            name: of the datastore.
            description: of a new one, or of one that is overwritten.
            grantable: whether others may be let load it; None: not, or as it is when appending.
            overwrite: in place of one of that name.
            append: to one of that name, if there is one; an object of the same name is replaced.
            compression: whether what is kept is compressed.

        Raises:
            NotSendable: an object has no form in which it travels; it is named.
            CallRaised: there is a datastore of that name, or a limit is hit.
        """
        values, arrays, frames = _sorted_out(objs)
        options = {
            "description": description,
            "grantable": grantable,
            "overwrite": overwrite,
            "append": append,
            "compression": compression,
        }
        told = {"values": json.dumps(values), "arrays": arrays, "frames": frames}
        yield from self._run(SAVE, name=name, options=options, **told)

    @verb
    def load(
        self,
        name: str,
        objs: str | Sequence[str] | None = None,
        owner: str | None = None,
        to_globals: bool = True,
    ) -> Steps[Any]:
        """Load objects of a datastore.

        Args:
            name: of the datastore.
            objs: their names; None: all.
            owner: whose datastore it is; None: your own. What another account has saved runs on the
                server as you, when it is loaded there: load from those whose code you would run.
            to_globals: make them global names of the notebook, or of the program that runs, and
                give the list of these names; else give a dict of names and objects.

        Raises:
            NotSendable: one of them has no form in which it travels; it is named.
            CallRaised: there is no such datastore that you may load, or no such object.
        """
        wanted = [objs] if isinstance(objs, str) else None if objs is None else list(objs)
        asked = {"objects": wanted, "owner": owner, "arrow": _has("pyarrow") and _has("pandas")}
        told = yield from self._run(LOAD, name=name, **asked)
        strange = {key: form["class"] for key, form in told["objects"] if "class" in form}
        if strange:
            named = ", ".join(f"{key!r} ({kind})" for key, kind in strange.items())
            raise NotSendable(
                f"Of the datastore {name!r}, {named} cannot come here: only JSON, arrays and "
                "DataFrames travel, and nothing here reads pickles. Use it in a function that runs "
                "on the server, by oml.ds.load; or say with objs=[…] which others you want.",
                details={"names": list(strange)},
            )
        found = {key: self._object(form) for key, form in told["objects"]}
        if not to_globals:
            return found
        vars(sys.modules["__main__"]).update(found)
        return list(found)

    @verb
    def dir(
        self, name: str | None = None, regex_match: bool = False, dstype: str = "user"
    ) -> Steps[Any]:
        """List datastores: a DataFrame where pandas is installed, else records.

        Args:
            name: of which to tell; None: of all.
            regex_match: `name` is a regular expression for whole names.
            dstype: user, private, grantable: your own, all of them or by whether they can be
                granted; all: what you may load; granted: what others let you load; grant: to whom
                your own are granted.
        """
        found = yield from self._get(path(DATASTORES), query(type=dstype))
        entries = found["datastores"]
        if name is not None:
            is_wanted = re.compile(name).fullmatch if regex_match else name.__eq__
            entries = [entry for entry in entries if is_wanted(entry["name"])]
        if dstype == "grant":
            columns = {"datastore_name": "name", "grantee": "grantee"}
        else:
            owned = {"owner": "owner"} if dstype in {"all", "granted"} else {}
            columns = {**owned, **_LISTED}
        return self._table(entries, columns, date="date")

    @verb
    def describe(self, name: str, owner: str | None = None) -> Steps[Any]:
        """Describe the objects of a datastore: a DataFrame, or records."""
        found = yield from self._get(path(DATASTORES, name), query(owner=owner))
        return self._table(found["objects"], _OBJECT)

    @verb
    def delete(
        self,
        name: str | Sequence[str],
        objs: str | Sequence[str] | None = None,
        regex_match: bool = False,
    ) -> Steps[Sequence[str]]:
        """Delete datastores, or objects in them; give the names of what was deleted.

        Args:
            name: of a datastore, or of several.
            objs: objects in it, or in them; None: the datastores with all that they hold.
            regex_match: `name` without `objs` is a regular expression for whole names; else `objs`
                is.
        """
        names = [name] if isinstance(name, str) else list(name)
        if objs is None:
            if regex_match:
                mine = (yield from self._get(path(DATASTORES), query(type="user")))["datastores"]
                names = _matching([entry["name"] for entry in mine], names)
            for each in names:
                yield from self._session.send(Request("DELETE", path(DATASTORES, each)))
            return names
        wanted = [objs] if isinstance(objs, str) else list(objs)
        gone = []
        for each in names:
            its = wanted
            if regex_match:
                there = (yield from self._get(path(DATASTORES, each), {}))["objects"]
                its = _matching([entry["name"] for entry in there], wanted)
            for one in its:
                where = path(DATASTORES, each, "objects", one)
                yield from self._session.send(Request("DELETE", where))
                gone.append(one)
        return gone

    @verb
    def grant(self, name: str, user: str | None = None) -> Steps[None]:
        """Let an account, or everyone, load a datastore that was saved as grantable."""
        where = path(DATASTORES, name, "grants", user or EVERYONE)
        yield from self._session.send(Request("PUT", where, may_repeat=True))

    @verb
    def revoke(self, name: str, user: str | None = None) -> Steps[None]:
        """Take a grant back."""
        where = path(DATASTORES, name, "grants", user or EVERYONE)
        yield from self._session.send(Request("DELETE", where))

    @verb
    def grants(self, name: str) -> Steps[Sequence[str]]:
        """List the accounts that may load your datastore; PUBLIC stands for everyone."""
        found = yield from self._get(path(DATASTORES, name, "grants"), {})
        return [entry["grantee"] for entry in found["grants"]]

    def _run(self, source: str, **parameters: Any) -> Steps[Any]:
        return (yield from type(self._runs).do_eval.steps(self._runs, source, **parameters))

    def _get(self, where: str, asked: Mapping[str, str]) -> Steps[Any]:
        request = Request("GET", where, query=asked, may_repeat=True)
        return (yield from self._session.send(request)).json()

    def _table(
        self, entries: Sequence[Mapping[str, Any]], columns: Mapping[str, str], date: str = ""
    ) -> Any:
        """Make a table of some members, under OML4Py's names of them."""
        rows = [{shown: entry[member] for shown, member in columns.items()} for entry in entries]
        if not self._frames or not _has("pandas"):
            return rows
        pandas = importlib.import_module("pandas")
        table = pandas.DataFrame(rows, columns=list(columns))
        if date in table:
            table[date] = pandas.to_datetime(table[date])
        return table

    def _object(self, form: Mapping[str, Any]) -> Any:
        """Read an object from the form in which it came."""
        ((kind, text),) = form.items()
        if kind == "json":
            return json.loads(text)
        if kind == "array":
            dtype, shape, data = text
            if not _has("numpy"):
                raise NotSendable("An array came back, and NumPy is not installed here.")
            numpy = importlib.import_module("numpy")
            return numpy.frombuffer(base64.b64decode(data), dtype=dtype).reshape(shape).copy()
        if kind == "arrow":
            arrow = importlib.import_module("pyarrow")
            with arrow.ipc.open_stream(base64.b64decode(text)) as stream:
                return stream.read_pandas()
        parts = json.loads(text)
        if not self._frames or not _has("pandas"):
            return [dict(zip(parts["columns"], row, strict=True)) for row in parts["data"]]
        return importlib.import_module("pandas").read_json(io.StringIO(text), orient="split")


def _sorted_out(
    objs: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Sequence[Any]], dict[str, Sequence[str]]]:
    """Tell apart what travels as JSON, as the bytes of an array, and as a DataFrame.

    Raises:
        NotSendable: names an object that is none of these.
    """
    if not all(isinstance(key, str) for key in objs):
        raise NotSendable("objs should be a dict of names and objects.")
    values: dict[str, Any] = {}
    arrays: dict[str, Sequence[Any]] = {}
    frames: dict[str, Sequence[str]] = {}
    for key, value in objs.items():
        kind = type(value)
        home = kind.__module__.partition(".")[0]
        if home == "pandas" and kind.__name__ == "DataFrame":
            frames[key] = _written(value)
        elif home == "numpy" and kind.__name__ == "ndarray" and value.dtype.kind in _ARRAYS:
            text = base64.b64encode(value.tobytes()).decode()
            arrays[key] = (value.dtype.str, list(value.shape), text)
        elif _is_plain(value):
            values[key] = value
        else:
            raise NotSendable(
                f"{key!r} is a {kind.__qualname__}, or holds something that is neither JSON nor an "
                "array nor a DataFrame: it would travel as a pickle, and nothing is pickled here. "
                "Make it in a function that runs on the server, and save it there by oml.ds.save.",
                details={"names": [key]},
            )
    return values, arrays, frames


def _written(frame: Any) -> Sequence[str]:
    """Write a DataFrame: as Arrow, with its index and types; as JSON where there is no pyarrow."""
    if not _has("pyarrow"):
        text = frame.to_json(orient="split", date_format="iso", double_precision=15)
        return ("split", text)
    arrow = importlib.import_module("pyarrow")
    table = arrow.Table.from_pandas(frame)
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    return ("arrow", base64.b64encode(sink.getvalue()).decode())


def _is_plain(value: object) -> bool:
    """Tell what comes back from JSON as it went in; Python's has NaN and infinities."""
    if value is None or type(value) in {bool, int, float, str}:
        return True
    if type(value) is list:
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _is_plain(part) for key, part in value.items())
    return False


def _matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    tests = [re.compile(pattern).fullmatch for pattern in patterns]
    return [name for name in names if any(test(name) for test in tests)]


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
