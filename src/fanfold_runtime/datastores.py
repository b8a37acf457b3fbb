"""`oml.ds`: named objects that are kept between runs, as pickles that only workers ever read.

The server stores bytes and never looks into them. Loading a pickle runs whatever code it holds, in
this worker, with the rights of the run's caller.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import re
import sys
import zlib
from typing import Any

from fanfold_runtime.asking import ask

__all__ = ["delete", "describe", "dir", "load", "save"]

_PROTOCOL = 5
_ZLIB = b"\x78"
"""First byte of what zlib makes; a pickle of our protocol begins with another."""

_F_ADD_SEALS = 1033
_SEALS = 0x2 | 0x4 | 0x8
"""Neither shrink nor grow nor write: what the server checks, it then reads."""


def save(
    objs: Any,
    name: str,
    description: str = " ",
    grantable: bool | None = None,
    overwrite: bool = False,
    append: bool = False,
    compression: bool = False,
) -> None:
    """Save objects in a datastore: all of them, or none.

    Args:
        objs: name → object.
        name: of the datastore.
        description: of a new one, or one that is overwritten.
        grantable: whether others may be let read it; None: not, or as it is when appending.
        overwrite: in place of one of that name.
        append: to one of that name, if there is one; an object of the same name is replaced.
        compression: whether pickles are compressed.

    Raises:
        ValueError: there is one of that name; or a limit is hit, which the message names.
        TypeError: an object cannot be pickled.
    """
    if not isinstance(objs, dict) or not all(isinstance(key, str) for key in objs):
        raise TypeError("oml.ds.save: objs must be a dict of names and objects")
    if overwrite and append:
        raise ValueError("oml.ds.save: overwrite and append exclude each other")
    file = os.memfd_create("fanfold-datastore", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(file, "w+b") as opened:
        members = []
        for key, value in objs.items():
            start = opened.tell()
            try:
                if compression:
                    opened.write(zlib.compress(pickle.dumps(value, _PROTOCOL)))
                else:
                    pickle.dump(value, opened, _PROTOCOL)
            except (pickle.PicklingError, TypeError, AttributeError) as exc:
                raise TypeError("oml.ds.save: %r cannot be pickled: %s" % (key, exc)) from exc
            members.append(dict(_described(value), name=key, size=opened.tell() - start))
        opened.flush()
        fcntl.fcntl(file, _F_ADD_SEALS, _SEALS)
        ask(
            "ds.save",
            payload=file,
            name=name,
            objects=members,
            description=description,
            grantable=grantable,
            overwrite=overwrite,
            append=append,
        )


def load(
    name: str,
    objs: str | list[str] | None = None,
    owner: str | None = None,
    to_globals: bool = True,
) -> Any:
    """Load objects of a datastore.

    Args:
        name: of the datastore.
        objs: their names; None: all.
        owner: whose datastore it is; None: one's own.
        to_globals: put them among the global names of the function's script.

    Returns:
        With `to_globals` the list of their names, else a dict of names and objects.

    Raises:
        ValueError: there is no such datastore that the caller may read, or no such object.
    """
    wanted = [objs] if isinstance(objs, str) else objs
    told, file = ask("ds.load", name=name, owner=owner, objects=wanted)
    assert file is not None, "pickles come as a file"
    found: dict[str, Any] = {}
    with os.fdopen(file, "rb") as opened:
        opened.seek(0)
        for each in told["objects"]:
            text = opened.read(each["size"])
            if text[:1] == _ZLIB:
                text = zlib.decompress(text)
            found[each["name"]] = pickle.loads(text)  # noqa: S301  # what this is for
            del text
    if not to_globals:
        return found
    sys._getframe(1).f_globals.update(found)  # noqa: SLF001  # the script's own names
    return list(found)


def dir(  # noqa: A001  # its documented name
    name: str | None = None, regex_match: bool = False, dstype: str = "user"
) -> Any:
    """List datastores, as a DataFrame of pandas; as a list of dicts where there is no pandas.

    Args:
        name: of which to tell; None: of all.
        regex_match: `name` is a regular expression for whole names.
        dstype: user, private, grantable: one's own, all of them or by whether they can be granted;
            all: what one may read; granted: what others let one read; grant: to whom one's own are
            granted.
    """
    told, _ = ask("ds.dir", dstype=dstype)
    entries = told["datastores"]
    if name is not None:
        test = re.compile(name).fullmatch if regex_match else name.__eq__
        entries = [each for each in entries if test(each["name"])]
    if dstype == "grant":
        columns = {"datastore_name": "name", "grantee": "grantee"}
    else:
        columns = {
            "datastore_name": "name",
            "object_count": "objects",
            "size": "size",
            "date": "date",
            "description": "description",
        }
        if dstype in {"all", "granted"}:
            columns = dict({"owner": "owner"}, **columns)
    return _table(entries, columns, date="date")


def describe(name: str, owner: str | None = None) -> Any:
    """Describe the objects of a datastore, as `dir` does.

    Raises:
        ValueError: there is no such datastore that the caller may read.
    """
    told, _ = ask("ds.describe", name=name, owner=owner)
    columns = {
        "object_name": "name",
        "class": "class",
        "size": "size",
        "length": "length",
        "row_count": "rows",
        "col_count": "columns",
    }
    return _table(told["objects"], columns)


def delete(
    name: str | list[str], objs: str | list[str] | None = None, regex_match: bool = False
) -> list[str]:
    """Delete datastores, or objects in them.

    Args:
        name: of a datastore, or of several.
        objs: objects in it, or in them; None: the datastores with all that they hold.
        regex_match: `name` without `objs` is a regular expression for whole names; else `objs` is.

    Returns:
        The names of what was deleted.

    Raises:
        ValueError: there is no such datastore or object.
    """
    names = [name] if isinstance(name, str) else list(name)
    if objs is None:
        if regex_match:
            mine = ask("ds.dir", dstype="user")[0]["datastores"]
            tests = [re.compile(each).fullmatch for each in names]
            names = [d["name"] for d in mine if any(test(d["name"]) for test in tests)]
        for each in names:
            ask("ds.delete", name=each, objects=None)
        return names
    wanted = [objs] if isinstance(objs, str) else list(objs)
    gone: list[str] = []
    for number, each in enumerate(names):
        its = wanted
        if regex_match:
            patterns = wanted if isinstance(name, str) else wanted[number : number + 1]
            there = ask("ds.describe", name=each, owner=None)[0]["objects"]
            tests = [re.compile(pattern).fullmatch for pattern in patterns]
            its = [o["name"] for o in there if any(test(o["name"]) for test in tests)]
        if its:
            ask("ds.delete", name=each, objects=its)
            gone += its
    return gone


def _described(value: Any) -> dict[str, Any]:
    """Tell of an object what can be told without loading it."""
    kind = type(value)
    name = kind.__name__
    told = {"class": "oml.DataFrame" if kind.__module__ == "oml" else name,
            "length": 1, "rows": 1, "columns": 1}  # fmt: skip
    if isinstance(value, (list, dict)):
        told["length"] = told["columns"] = len(value)
    elif name == "DataFrame" and kind.__module__.partition(".")[0] == "pandas":
        told["length"] = told["rows"] = len(value)
        told["columns"] = len(value.columns)
    return told


def _table(entries: list[dict[str, Any]], columns: dict[str, str], date: str = "") -> Any:
    records = [{shown: each[key] for shown, key in columns.items()} for each in entries]
    try:
        import pandas
    except ImportError:
        return records
    table = pandas.DataFrame(records, columns=list(columns))
    if date in table:
        table[date] = pandas.to_datetime(table[date])
    return table
