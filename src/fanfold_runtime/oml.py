"""A stand-in for the module `oml` that scripts of the compatible service import.

Most public scripts import it and use nothing of it: they run unchanged. What is there asks the
server over the worker's second socket (`asking.py`): rows of tables (`frames.py`), datastores
(`datastores.py`), comments of a job. Any other name can be taken from it (`from oml import
automl`); what is not there says so when it is called.

A zygote puts it among the imported modules under that name, before any script runs.
"""

from __future__ import annotations

from typing import Any

from fanfold_runtime import datastores as ds
from fanfold_runtime.asking import NotAvailable, Refused, Unavailable, ask
from fanfold_runtime.frames import DataFrame, push, sync

__all__ = [
    "DataFrame",
    "NotAvailable",
    "Refused",
    "Unavailable",
    "connect",
    "disconnect",
    "ds",
    "grant",
    "isconnected",
    "output_comments",
    "push",
    "revoke",
    "secret",
    "sync",
]

__version__ = "fanfold"

_INSTEAD = {
    "automl": "scikit-learn has estimators of the same kind",
    "create": 'load tables with PUT /api/v1/tables/{name}, or give a job the member "resultTable"',
    "cursor": "oml.sync(query=…).pull() gives the rows of a SELECT",
    "dir": "GET /api/v1/tables lists tables",
    "do_eval": "call the endpoint do-eval, or the function itself",
    "drop": "drop tables with DELETE /api/v1/tables/{name}",
    "ds": "there are save, load, dir, describe and delete",
    "group_apply": "call the endpoint group-apply",
    "index_apply": "call the endpoint index-apply",
    "row_apply": "call the endpoint row-apply",
    "script": "publish scripts with PUT /api/v1/scripts/{name}",
    "table_apply": "call the endpoint table-apply",
}


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
    """Say that the server answers: a call has what its caller may have, and needs no login."""
    return True


def connect(*given: Any, **named: Any) -> None:
    """Do nothing: a call is connected as its caller. As somebody else, it cannot be."""
    if given or any(value is not None for name, value in named.items() if name != "automl"):
        raise NotAvailable(
            "oml.connect is not available: a function is connected as its caller, and as nobody "
            "else; call it without arguments, or not at all"
        )


def disconnect(*_: Any, **__: Any) -> None:
    """Do nothing: there is no connection to end."""


def output_comments(*comments: Any) -> None:
    """Add to the comments of the job that runs; in a run that is waited for, they are dropped.

    Args:
        comments: texts; each becomes a line, unless the job has that very line already.
    """
    lines = [str(comment) for comment in comments]
    if lines:
        ask("comment", lines=lines)


def secret(name: str) -> str:
    """Give a secret that the script's owner has granted to the script; this server's own.

    Args:
        name: of the secret.
    """
    value: str = ask("secret", name=name)[0]
    return value


def grant(name: str, typ: str = "pyqscript", user: str | None = None) -> None:
    """Let a user, or everyone, load a datastore. Args: typ: "datastore" alone is available."""
    _check_type("grant", typ)
    ask("ds.grant", name=name, user=user)


def revoke(name: str, typ: str = "pyqscript", user: str | None = None) -> None:
    """Take a grant of a datastore back. Args: typ: "datastore" alone is available."""
    _check_type("revoke", typ)
    ask("ds.revoke", name=name, user=user)


def _check_type(verb: str, typ: str) -> None:
    if typ != "datastore":
        raise NotAvailable(
            'oml.%s is available for typ="datastore"; grant scripts with '
            "PUT /api/v1/scripts/{name}/grants/{user}" % verb
        )


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError("module 'oml' has no attribute %r" % name)
    return _Absent("oml." + name)
