"""What a program passes through before it runs code of an environment's.

    the server ──▶ entrance: rights, limits, wall ──▶ the environment's interpreter

Packages bring along code that runs when an interpreter starts (`.pth` files, `sitecustomize`), and
may bring the interpreter itself. So this runs in the server's own interpreter, or behind
bubblewrap, where there is no other, in the environment's; with -I and -S, which leave all of that
aside. Everything that it puts up is kept by the program that it becomes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
from typing import Any

from fanfold_runtime import kernel, temporary
from fanfold_runtime.outlet import open_outlet
from fanfold_runtime.wall import Wall


def enter(config: dict[str, Any]) -> None:
    """Put up what stands around a program, and become it; never return.

    Args:
        config: "command": what to become, the first is a path; and
            "user": the user id to take, None for this one;
            "limits": by name as in the `resource` module, e.g. {"NOFILE": 1024};
            "home", "wall": see `Wall`;
            "tmp": see `temporary`, None where nothing there is one's own;
            "outlet": what `open_outlet` is given, None for no way out, and "control": to whom;
            "variables": what the program has in its environment besides ours. Not before: one can
            name a library that is loaded into whatever is started.
    """
    kernel.tried(kernel.NO_NEW_PRIVS, 1)
    kernel.tried(kernel.CHILD_SUBREAPER, 1)  # what a package leaves running is found, too
    if config["user"] is not None:
        os.setgroups([])
        os.setresgid(*[config["user"]] * 3)
        os.setresuid(*[config["user"]] * 3)
    kernel.tried(kernel.PDEATHSIG, signal.SIGKILL)  # forgotten with a user id
    os.umask(0o077)
    _limit(config["limits"])
    Wall(config["wall"], config["home"]).raise_up()
    if config["outlet"] is not None:
        control = socket.socket(fileno=config["control"])
        open_outlet(control, config["outlet"])
        control.detach()
    if config["tmp"] is not None:
        temporary.make(os.path.join(config["home"], "tmp"), config["tmp"])
    command = config["command"]
    variables = {**os.environ, **config["variables"]}
    os.execve(command[0], command, variables)  # noqa: S606  # there is to be no shell


def _limit(limits: dict[str, int]) -> None:
    for name, wanted in limits.items():
        number = getattr(resource, "RLIMIT_" + name, None)
        if number is None:
            continue
        hard = resource.getrlimit(number)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(number, (value, value))


def main() -> None:
    """Enter: the last argument is what `enter` is given, as JSON."""
    enter(json.loads(sys.argv[-1]))
