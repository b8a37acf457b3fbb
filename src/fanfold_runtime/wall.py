"""The wall around a zygote, and the narrower one around each worker: Landlock and seccomp.

The server says in the zygote's configuration what stands (`Plan`); whatever of it cannot be set up
ends the zygote with a message. It never goes on with less.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from fanfold_runtime import kernel, landlock, seccomp

# Of a /proc that shows every process of the machine, a worker may read its own entry and these.
_PROC = ("cpuinfo", "meminfo", "stat", "uptime", "loadavg", "version", "filesystems", "sys")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108  # the place itself is meant


class Wall:
    """What stands around one zygote.

    Args:
        plan: the server's "wall" in the configuration:
            landlock, seccomp: whether they are wanted;
            readable, writable: places besides the zygote's own directory;
            families: address families of which sockets may be made;
            own_proc: /proc shows this sandbox alone;
            own_uid: nobody else has this user id;
            own_shm: nobody else can see /dev/shm;
            capless: should the user id be 0, it is worth no more than any other.
        home: the zygote's directory.
    """

    def __init__(self, plan: dict[str, Any], home: str) -> None:
        self._plan = plan
        self._home = home
        self._abi = 0
        self._rules: list[tuple[int, int]] = []

    def raise_around_zygote(self) -> dict[str, Any]:
        """Confine this process, before it imports anything of the environment's; say by what."""
        plan = self._plan
        if plan["capless"] and os.geteuid() == 0:
            kernel.drop_capabilities()
        if plan["landlock"]:
            self._abi = landlock.version()
            if not self._abi:
                raise OSError("Landlock is wanted, and this kernel does not have it")
            shared = [_SHARED_MEMORY] if plan["own_shm"] or plan["own_uid"] else []
            devices = ["/dev/" + name for name in _DEVICES]
            self._rules = landlock.opened(plan["readable"], landlock.READ)
            self._rules += landlock.opened([*plan["writable"], *devices, *shared], landlock.WRITE)
            proc = ["/proc"] if plan["own_proc"] else ["/proc/" + name for name in _PROC]
            mine = landlock.opened(["/proc"], landlock.READ)
            mine += landlock.opened([self._home], landlock.WRITE)
            landlock.restrict(self._rules + mine, self._abi)
            self._rules += landlock.opened(proc, landlock.READ)
            for place, _ in mine:
                os.close(place)
        if plan["seccomp"]:
            modes = not (plan["own_uid"] or plan["own_proc"])
            kernel.filter_calls(seccomp.program(plan["families"], fixed_modes=modes))
        return {"landlock": self._abi, "seccomp": bool(plan["seccomp"])}

    def close_in(self, place: str) -> None:
        """Confine this process, which is a worker's, to its own directory."""
        if not self._abi:
            return
        mine = landlock.opened([place], landlock.WRITE)
        mine += landlock.opened(["/proc/self"], landlock.READ)
        landlock.restrict(self._rules + mine, self._abi)
        for descriptor, _ in self._rules + mine:
            os.close(descriptor)


def probe(config: dict[str, Any]) -> None:
    """Raise a wall, test it, and print what is found as JSON: how the server tries a rung.

    Args:
        config: {"wall": see `Wall`, "home": directory, "forbidden": a file outside of it}.
    """
    kernel.prctl(kernel.NO_NEW_PRIVS, 1)
    facts = Wall(config["wall"], config["home"]).raise_around_zygote()
    with open(os.path.join(config["home"], "probe"), "w") as file:
        file.write("written")
    try:
        with open(config["forbidden"]):
            is_hidden = False
    except OSError:
        is_hidden = True
    facts.update(is_hidden=is_hidden, uid=os.getuid(), pid=os.getpid())
    sys.stdout.write(json.dumps(facts))
