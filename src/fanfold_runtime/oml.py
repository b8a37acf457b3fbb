"""A stand-in for the module `oml` that scripts of the compatible service import.

Most public scripts import it and use nothing of it: they run unchanged. Any name can be taken from
it (`oml.ds`, `from oml import automl`); what is not there says so when it is called. There is no
database connection inside a function here: rows come as its first argument.

A zygote puts it among the imported modules under that name, before any script runs.
"""

from __future__ import annotations

from typing import Any

__version__ = "fanfold"

_INSTEAD = {
    "automl": "scikit-learn has estimators of the same kind",
    "create": "load tables with PUT /api/v1/tables/{name}",
    "cursor": 'select what the function needs with the member "input" of the request',
    "do_eval": "call the endpoint do-eval, or the function itself",
    "ds": "return what is to be kept, or read it as rows",
    "grant": "grant scripts with PUT /api/v1/scripts/{name}/grants/{user}",
    "group_apply": "call the endpoint group-apply",
    "index_apply": "call the endpoint index-apply",
    "push": "rows are pandas or NumPy objects already",
    "row_apply": "call the endpoint row-apply",
    "script": "publish scripts with PUT /api/v1/scripts/{name}",
    "sync": 'rows come as the function\'s first argument; name the table in "input"',
    "table_apply": "call the endpoint table-apply",
}


class NotAvailable(NotImplementedError):
    """This part of `oml` is not there."""

    __module__ = "oml"


class _Absent:
    """A name of `oml` that is not there; taking it does no harm, calling it raises."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> _Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent("%s.%s" % (self._name, name))

    def __call__(self, *_: Any, **__: Any) -> Any:
        part = self._name.split(".")[1]
        instead = _INSTEAD.get(part)
        raise NotAvailable(
            "%s is not available: inside a function, the module oml is a stand-in of this "
            "server's%s" % (self._name, "; " + instead if instead else "")
        )

    def __instancecheck__(self, _: object) -> bool:
        return False

    def __repr__(self) -> str:
        return "<%s, not available>" % self._name


def isconnected(*_: Any, **__: Any) -> bool:
    """Say that there is no database connection."""
    return False


def disconnect(*_: Any, **__: Any) -> None:
    """Do nothing: there is no connection to end."""


def output_comments(*_: Any, **__: Any) -> None:
    """Do nothing: comments of a client's session mean nothing here."""


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError("module 'oml' has no attribute %r" % name)
    return _Absent("oml." + name)
