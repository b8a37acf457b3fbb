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
            capless: should the user id be 0, it is worth no more than any other.
        home: the zygote's directory.

    It is raised before the environment's interpreter starts, and known to what that runs.
    """

    def __init__(self, plan: dict[str, Any], home: str) -> None:
        self._plan = plan
        self._home = home
        self._rules: list[tuple[int, int]] = []
        self._abi = landlock.version() if plan["landlock"] else 0
        if plan["landlock"] and not self._abi:
            raise OSError("Landlock is wanted, and this kernel does not have it")

    @property
    def facts(self) -> dict[str, Any]:
        """What it is made of."""
        return {"landlock": self._abi, "seccomp": bool(self._plan["seccomp"])}

    def raise_up(self) -> None:
        """Confine this process and what it becomes."""
        plan = self._plan
        if plan["capless"] and os.geteuid() == 0:
            kernel.drop_capabilities()
        if self._abi:
            rules = self._shared() + landlock.opened(["/proc"], landlock.READ)
            self._restrict(rules + landlock.opened([self._home], landlock.WRITE))
        if plan["seccomp"]:
            modes = not (plan["own_uid"] or plan["own_proc"])
            kernel.filter_calls(seccomp.program(plan["families"], fixed_modes=modes))

    def prepare(self) -> None:
        """Open what every worker may do, once for all of them."""
        if self._abi:
            proc = ["/proc"] if self._plan["own_proc"] else ["/proc/" + name for name in _PROC]
            self._rules = self._shared() + landlock.opened(proc, landlock.READ)

    def close_in(self, places: list[str]) -> None:
        """Confine this process, which is a worker's, to its own directories."""
        if not self._abi:
            return
        mine = landlock.opened(places, landlock.WRITE)
        mine += landlock.opened(["/proc/self"], landlock.READ)
        self._restrict(self._rules + mine)

    def _shared(self) -> list[tuple[int, int]]:
        """Return what a zygote and its workers may do alike."""
        plan = self._plan
        # in a sandbox of its own, it is in a worker's directory
        shared = [_SHARED_MEMORY] if plan["own_uid"] and not plan["own_proc"] else []
        devices = ["/dev/" + name for name in _DEVICES]
        rules = landlock.opened(plan["readable"], landlock.READ)
        return rules + landlock.opened([*plan["writable"], *devices, *shared], landlock.WRITE)

    def _restrict(self, rules: list[tuple[int, int]]) -> None:
        landlock.restrict(rules, self._abi)
        for descriptor, _ in rules:
            os.close(descriptor)


def probe(config: dict[str, Any]) -> None:
    """Test the wall that stands, and print what is found as JSON: how the server tries a rung.

    Args:
        config: {"wall": see `Wall`, "home": directory, "forbidden": a file outside of it}.
    """
    facts = Wall(config["wall"], config["home"]).facts
    with open(os.path.join(config["home"], "probe"), "w") as file:
        file.write("written")
    try:
        with open(config["forbidden"]):
            is_hidden = False
    except OSError:
        is_hidden = True
    facts.update(is_hidden=is_hidden, uid=os.getuid(), pid=os.getpid())
    sys.stdout.write(json.dumps(facts))
