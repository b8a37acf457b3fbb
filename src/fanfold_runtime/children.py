"""Processes that a script starts anew, by spawn, forkserver or joblib: they find the script, too.

What travels to them travels by name, such as `fanfold_script.f`. A forked process has the module;
one that is started anew looks for a file, and a script is none. So it is written as one where
`multiprocessing` keeps what is temporary, and those processes are told the way there. Without it a
`Pool` waits for ever, since each of its processes ends over the first thing that it is handed.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from typing import Any

from fanfold_runtime.imports import Watcher
from fanfold_runtime.loading import MODULE, Script

_MODULE = "exec(compile(%a, %a, 'exec', dont_inherit=True))\n"
"""The text as a text: what it says of its own encoding is not heeded where it is stored either."""

STARTERS = ("multiprocessing.spawn", "joblib.externals.loky.backend.spawn", "loky.backend.spawn")
"""Modules whose `get_preparation_data` makes what a new process is told; its `sys_path` is ours."""


def introduce(watcher: Watcher) -> None:
    """Let whatever these start find the script that runs here."""
    for name in STARTERS:
        watcher.on(name, _hook)


def _hook(spawn: Any) -> None:
    prepare = spawn.get_preparation_data

    @functools.wraps(prepare)
    def get_preparation_data(*args: Any, **options: Any) -> Any:
        data = prepare(*args, **options)
        script = sys.modules.get(MODULE)
        if isinstance(script, Script):
            data["sys_path"] = [*data["sys_path"], _written(script)]
        return data

    spawn.get_preparation_data = get_preparation_data


def _written(script: Script) -> str:
    """Write the script's text as a module; return the directory that holds it."""
    folder: str = sys.modules["multiprocessing.util"].get_temp_dir()
    file = os.path.join(folder, "%s.py" % MODULE)
    draft = "%s.%d.%d" % (file, os.getpid(), threading.get_ident())
    with open(draft, "w", encoding="ascii") as text:
        text.write(_MODULE % (script.source, script.filename))
    os.replace(draft, file)  # another thread's process may be reading it
    return folder
