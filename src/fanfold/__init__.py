"""The caller's side: the client, and the shell command `fanfold`.

Importing it costs nothing; what is used is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanfold import errors
    from fanfold.client import AsyncClient, Client
    from fanfold.executor import Executor
    from fanfold.faults import FanfoldError
    from fanfold.jobs import CallResult, Job
    from fanfold.options import Options
    from fanfold.values import DataImage, Image

    __version__: str

__all__ = [
    "AsyncClient",
    "CallResult",
    "Client",
    "DataImage",
    "Executor",
    "FanfoldError",
    "Image",
    "Job",
    "Options",
    "__version__",
    "errors",
]

_HOMES = {
    "AsyncClient": "client",
    "CallResult": "jobs",
    "Client": "client",
    "DataImage": "values",
    "Executor": "executor",
    "FanfoldError": "faults",
    "Image": "values",
    "Job": "jobs",
    "Options": "options",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("fanfold")
    if name == "errors":
        return importlib.import_module("fanfold.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fanfold' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fanfold.{home}"), name)


def __dir__() -> list[str]:
    return __all__
