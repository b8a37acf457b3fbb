"""What stands between a user's code and the host: how a zygote is started, and behind which wall.

A zygote is started in a session of its own, with an environment of our making, a private working
directory, resource limits and, where the server is root, under a user id of its own; on the higher
rungs of the ladder behind bubblewrap, Landlock and a filter of system calls. `describe` says what
is in force and what is not.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fanfold_server.engine.bubble import inside
from fanfold_server.engine.bundle import entered, entered_without_bundle
from fanfold_server.engine.cgroup import OPEN_WITHOUT as OPEN_WITHOUT_GROUPS
from fanfold_server.engine.cgroup import Groups
from fanfold_server.engine.ladder import OPEN_WITHOUT, Ladder, Rung
from fanfold_server.engine.limits import Limits, Tiers
from fanfold_server.engine.places import find_places, links_of
from fanfold_server.model.environment import Environment
from fanfold_server.model.network import EVERY, NOTHING, Network, Networks, Reach, ScriptNetwork

FIRST_UID = 70_000
"""User ids from here on, one a zygote, are taken when the server is root; none needs an entry."""

UIDS = 65_536
"""How many are used in turn. Each server begins somewhere else: two may share a machine."""

OWNERS_SHARE = 16
"""Where each worker's processes are counted, an owner's may be so many times as many together."""

THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Openings:
    """What the operator lets functions have besides their own.

    Attributes:
        network: what functions may reach, by environment and script.
        readable, writable: directories and files; those that do not exist are left out.
    """

    network: Networks = field(default_factory=Networks)
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How one zygote is started: by way of an entrance, see `fanfold_runtime.entrance`.

    Attributes:
        entrance: the command that comes before what the entrance is given.
        command: what it becomes; what the zygote is given comes after.
        user: the user id that it takes; None for the one that it is started with.
        home: its directory, as it sees it.
        tmp: the descriptor below which its /tmp and /dev/shm are; None: it has none of its own.
        variables: what the zygote has in its environment besides.
        wall: what it puts up; see `fanfold_runtime.wall`.
    """

    entrance: tuple[str, ...]
    command: tuple[str, ...]
    user: int | None
    home: Path
    tmp: int | None
    variables: Mapping[str, str]
    wall: dict[str, Any]


class RootRefused(Exception):
    """Functions would run as root here; the message says what would help."""


class NetworkRefused(Exception):
    """Functions cannot be kept to listed hosts here; the message says what would help."""


class Sandbox:
    """Prepares how zygotes are started.

    Args:
        limits: of each worker, or what holds at which service level.
        ladder: what works on this host.
        openings: what functions may have besides.
        allow_root: start functions as root where nothing else works and nothing confines them.
        groups: makes control groups; None, or why that does not work: there are none.
    """

    def __init__(
        self,
        limits: Limits | Tiers,
        ladder: Ladder,
        openings: Openings | None = None,
        *,
        allow_root: bool = False,
        groups: Groups | str | None = None,
    ) -> None:
        self.tiers = Tiers(limits) if isinstance(limits, Limits) else limits
        self.groups = groups if isinstance(groups, Groups) else None
        self._no_groups = groups if isinstance(groups, str) else "not asked for"
        self._ladder = ladder
        self._openings = openings or Openings()
        self._allow_root = allow_root
        self._is_root = os.geteuid() == 0
        self._first_uid = secrets.randbelow(UIDS)
        self._reachable: dict[Path, bool] = {}

    def network_of(self, environment: Environment, script: ScriptNetwork | None) -> Network:
        """Say what a script may reach in an environment; None: any script there."""
        return self._openings.network.of(environment.name, script)

    def require(self, network: Network) -> None:
        """Refuse a policy that cannot be kept to here.

        Raises:
            NetworkRefused: it is a list of hosts, and functions have no network namespace. Landlock
                alone will not do: its rules know ports and no hosts, and nothing of UDP.
        """
        if network.reach is Reach.LISTED and self._ladder.bubble is None:
            raise NetworkRefused(
                'its functions are to reach listed hosts alone (policy "allow-list"), which needs '
                f"the isolation bwrap, and {self._ladder.rung.word} is what is in force; "
                "`fanfold doctor` says what is missing"
            )

    def uid_for(self, environment: Environment, number: int, bundle: Path) -> int | None:
        """Return the user id for zygote `number`, or None if it must share the server's.

        Raises:
            RootRefused: that is root's, nothing confines it, and the operator has not allowed it.
        """
        if not self._is_root:
            return None
        uid = FIRST_UID + (self._first_uid + number) % UIDS
        if self._ladder.bubble is not None:
            return uid
        if environment.prefix not in self._reachable:
            self._reachable[environment.prefix] = is_open(environment, bundle)
        if self._reachable[environment.prefix]:
            return uid
        if self._ladder.rung < Rung.CONFINED and not self._allow_root:
            raise RootRefused(
                "functions would run as root, since other user ids cannot start "
                f"{environment.interpreter}: install bubblewrap, give the environment an "
                "interpreter that every user can start, or allow it by --allow-root-functions"
            )
        return None

    def launch(
        self,
        environment: Environment,
        *,
        uid: int | None,
        bundle: Path,
        home: Path,
        limits: Limits,
        control: int,
        network: Network = NOTHING,
    ) -> Launch:
        """Return how to start an interpreter of the environment on the bundle.

        Args:
            control: a descriptor that it inherits.
        """
        interpreter = str(environment.interpreter)
        places = find_places(environment)
        bubble = self._ladder.bubble
        opened = self._openings
        is_open = network.reach is Reach.FULL
        confined = self._ladder.rung >= Rung.CONFINED
        readable = [path for path in opened.readable if path.exists()]
        writable = [path for path in opened.writable if path.exists()]
        entrance = entered(sys.executable, bundle)
        started, own, tmp = bundle, home, None
        if bubble is not None:
            started, own = inside(bundle), inside(home)
            tmp = next(number for number in (3, 4) if number != control)
            entrance = bubble.around(
                entered(interpreter, started),
                places=places,
                home=home,
                bundle=bundle,
                uid=uid,
                tmp_mib=limits.tmp_mib,
                network=is_open,
                readable=readable,
                writable=writable,
                tmp=tmp,
            )
        wall = {
            "landlock": confined and self._ladder.landlock > 0,
            "seccomp": confined,
            "readable": [
                *places.readable(network=is_open),
                str(started),
                *map(str, readable),
                *(["/dev"] if bubble is not None else []),
            ],
            "writable": [*map(str, writable)],
            "families": families(network=is_open, own_network=bubble is not None),
            "own_proc": bubble is not None,
            "own_uid": uid is not None,
            "capless": self._ladder.rung >= Rung.BASIC,
        }
        user = uid if bubble is None else None
        return Launch(
            entrance=tuple(entrance),
            # -s and a clean environment stand for -I, which would also ignore PYTHONHASHSEED
            command=(interpreter, "-s", str(started)),
            user=user,
            home=own,
            tmp=tmp,
            variables=environment.variables,
            wall=wall,
        )

    def around_builder(self, environment: Environment, command: Sequence[str]) -> list[str]:
        """Return how to start what writes to an environment that is being made, and runs its code.

        From `confined` on, it sees the system, the environment, nothing else, and nobody.
        """
        bubble = self._ladder.bubble
        places = find_places(environment)
        if bubble is not None:
            return bubble.around_builder(list(command), places=places, prefix=environment.prefix)
        if self._ladder.rung < Rung.CONFINED:
            return list(command)
        entrance = {
            "command": list(command),
            "user": None,  # the files are the server's
            "variables": {},
            "limits": {"CORE": 0},
            "home": str(environment.prefix),
            "wall": {
                "landlock": True,
                "seccomp": True,
                "readable": places.readable(network=False),
                "writable": [],
                "families": [],
                "own_proc": False,
                "own_uid": False,
                "capless": True,
            },
            "tmp": None,
            "outlet": None,
        }
        return [*entered_without_bundle(sys.executable), json.dumps(entrance)]

    def rlimits(self, uid: int | None, limits: Limits) -> dict[str, int]:
        """Return the resource limits of a zygote, by the names of Python's `resource` module."""
        named = {
            "CORE": 0,
            "DATA": limits.memory_mib << 20,
            "NOFILE": limits.files,
            "FSIZE": limits.file_mib << 20,
        }
        if uid is not None or self._ladder.bubble is not None:
            counted = self.groups is not None and "pids" in self.groups.controllers
            named["NPROC"] = limits.processes * (OWNERS_SHARE if counted else 1)
        return named

    @property
    def caps_tmp(self) -> bool:
        """Whether the rung itself limits temporary files."""
        return self._ladder.bubble is not None

    def variables(self, environment: Environment, home: Path) -> dict[str, str]:
        """Return what a zygote's entrance is started with; nothing of the server's leaks in."""
        prefix = environment.prefix
        variables = {
            "PATH": f"{prefix / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "MPLBACKEND": "Agg",
            "MPLCONFIGDIR": str(home / "mpl"),
            # the order of a set of strings must not depend on the process
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            **dict.fromkeys(THREAD_LIMITS, "1"),
        }
        if environment.kind == "conda":
            variables |= {"CONDA_PREFIX": str(prefix), "CONDA_DEFAULT_ENV": environment.name}
        else:
            variables["VIRTUAL_ENV"] = str(prefix)
        return variables

    def describe(self) -> dict[str, Any]:
        """Return the rung and what is missing, for /health and the log."""
        rung = self._ladder.rung
        missing = [
            f"{above.word}: {self._ladder.why_not.get(above, 'not asked for')}; "
            f"so {OPEN_WITHOUT[above]}"
            for above in Rung
            if above > rung
        ]
        if self._ladder.bubble is not None and not self._ladder.landlock:
            missing.append("Landlock: not in this kernel; workers of one owner share files")
        if self._ladder.bubble is None and self._openings.network.listed:
            missing.append("the network policy allow-list needs bwrap: such runs are refused")
        if not self._is_root:
            missing.append("workers share the server's user id (the server is not root)")
        if self.groups is None:
            missing.append(
                f"control groups: {self._no_groups}; so {'; '.join(OPEN_WITHOUT_GROUPS.values())}"
            )
        else:
            missing += self.groups.missing()
        unreachable = [str(p.name) for p, ok in self._reachable.items() if not ok]
        if unreachable:
            missing.append(f"interpreter unreachable for other user ids: {', '.join(unreachable)}")
        return {
            "rung": rung.word,
            "own_user_id": self._is_root and not unreachable,
            "no_new_privileges": True,
            "network": self._network(),
            "cgroup": {} if self.groups is None else self.groups.describe(),
            "limits": self._said_limits(),
            "missing": missing,
        }

    def _said_limits(self) -> dict[str, Any]:
        """List the limits of all levels, or level by level if they differ."""
        if len(self.tiers) == 1:
            return asdict(self.tiers[0])
        return {level.value: asdict(limits) for level, limits in self.tiers.by_level().items()}

    def _network(self) -> str:
        """Say which functions have a network."""
        network = self._openings.network
        if self._ladder.rung < Rung.CONFINED or EVERY in network.full:
            return "all environments"
        parts = [f"environments {', '.join(sorted(network.full))}"] if network.full else []
        if network.listed:
            names = ", ".join(network.listed) if EVERY not in network.listed else "all environments"
            parts.append(f"listed hosts in {names}")
        return "; ".join(parts) or "none"


def families(*, network: bool, own_network: bool) -> list[int]:
    """Return the address families of which functions may make sockets.

    Without a network namespace, a socket with a path or an abstract name may be another's.
    """
    if not network and not own_network:
        return []
    names = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK")
    return [int(getattr(socket, name)) for name in names if hasattr(socket, name)]


def is_open(environment: Environment, bundle: Path) -> bool:
    """Tell whether other user ids can start the environment's interpreter on the bundle.

    Judged by permissions, link by link, and not by trying: an interpreter that hangs would hold the
    server up.
    """
    try:
        interpreter = environment.interpreter
        real = interpreter.resolve(strict=True)
        library = next((real.parent.parent / "lib").glob("python3*/os.py"))
        return all(_is_reachable(path) for path in (*links_of(interpreter), real, library, bundle))
    except (OSError, StopIteration):
        return False


def _is_reachable(path: Path) -> bool:
    """Tell whether everyone may read the file and pass through every directory on the way."""
    folders = all(folder.stat().st_mode & stat.S_IXOTH for folder in path.absolute().parents)
    return folders and bool(path.stat().st_mode & stat.S_IROTH)
