"""How a program is started in namespaces of its own, by bubblewrap.

Two forms. *Ordinary user*: a user namespace, in which the server's user id is the only one. *Root*:
none; bubblewrap makes the mounts with the server's rights, keeps the two capabilities that it takes
to change the user id, and `setpriv` changes it before anything of the environment runs. So an
interpreter in a private directory can be used, too: what is mounted is what is read.

Source: bwrap(1).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fanfold_server.engine.places import SYSTEM, Places, settings_files

_INSIDE = "/fanfold"
_OWN = {"/tmp": "tmp", "/dev/shm": "shm"}  # noqa: S108
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_STREAMS = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
_OWN_USER = ("--unshare-user", "--uid", str(os.getuid()), "--gid", str(os.getgid()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubble:
    """The programs that it takes.

    Attributes:
        program: path of bwrap.
        setpriv: path of setpriv, which only root needs.
    """

    program: str
    setpriv: str | None

    def around(
        self,
        command: list[str],
        *,
        places: Places,
        home: Path,
        bundle: Path,
        uid: int | None,
        tmp_mib: int,
        network: bool = False,
        readable: Iterable[Path] = (),
        writable: Iterable[Path] = (),
        tmp: int | None = None,
    ) -> list[str]:
        """Return the command that starts `command` behind it.

        Args:
            home: its only own directory, empty but for "mpl", which stays on the host. In the
                bubble, it and the bundle are where `inside` says.
            uid: the user id to take; None for an ordinary user's server.
            tmp_mib: size of the home.
            network: whether it is on the host's network; without, it has a loopback of its own.
            readable, writable: further places that exist.
            tmp: the descriptor below which /tmp and /dev/shm are in there; None: there are none.
                Nor is there one of the two where something below it is to be shown.
        """
        size = str(tmp_mib << 20)
        own = inside(home)
        return [
            self.program,
            *_rights(uid),
            *_namespaces(network=network),
            *_system(),
            *("--perms", "0755", "--dir", "/etc"),
            *_each("--ro-bind-try", settings_files(network=network)),
            *("--proc", "/proc"),
            *_devices(),
            *_own(tmp, (*places.folders, *places.links, *readable, *writable)),
            *_binds(places, readable, writable),
            *_parents(own),
            *("--ro-bind", str(bundle), str(inside(bundle))),
            *("--perms", "0777", "--size", size, "--tmpfs", str(own)),
            *("--bind", str(home / "mpl"), str(own / "mpl")),
            *("--remount-ro", "/", "--chdir", "/", "--"),
            *self._identity(uid),
            *command,
        ]

    def around_builder(self, command: list[str], *, places: Places, prefix: Path) -> list[str]:
        """Return the command that starts `command`, which may write below `prefix` alone.

        It has no network and keeps the server's user id, whose files these are; of root's
        capabilities it has none.
        """
        return [
            self.program,
            *(_OWN_USER if self.setpriv is None else ("--cap-drop", "ALL")),
            *_namespaces(network=False),
            *_system(),
            *("--perms", "0755", "--dir", "/etc"),
            *_each("--ro-bind-try", settings_files(network=False)),
            *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),  # noqa: S108
            *_binds(places, (), (prefix,)),
            *("--remount-ro", "/", "--chdir", "/", "--"),
            *command,
        ]

    def _identity(self, uid: int | None) -> list[str]:
        if uid is None:
            return []
        assert self.setpriv is not None, "root's bubble has it"
        number = str(uid)
        return [self.setpriv, "--reuid", number, "--regid", number, "--clear-groups", "--"]


def inside(path: Path) -> Path:
    """Return where something of the engine's is in a bubble: aside, so that /tmp is free."""
    return Path(_INSIDE + str(path))


def _rights(uid: int | None) -> tuple[str, ...]:
    if uid is None:
        return _OWN_USER
    return ("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")


def _namespaces(*, network: bool) -> Iterator[str]:
    yield from ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
    yield from ("--die-with-parent", "--hostname", "worker")
    if not network:
        yield "--unshare-net"


def _system() -> Iterator[str]:
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.is_dir():
            yield from (*_parents(path), "--ro-bind", name, name)


def _devices() -> Iterator[str]:
    """Make a /dev in which nobody can make anything; what --dev makes has a /dev/shm of its own."""
    yield from ("--perms", "0755", "--dir", "/dev")
    yield from _each("--dev-bind-try", [f"/dev/{name}" for name in _DEVICES])
    for name, stream in _STREAMS.items():
        yield from ("--symlink", f"/proc/self/fd{stream}", f"/dev/{name}")


def _own(descriptor: int | None, shown: Iterable[Path]) -> Iterator[str]:
    """Make what is each worker's own: see `fanfold_runtime.temporary`."""
    taken = list(shown)
    for place, name in _OWN.items():
        if descriptor is not None and not any(path.is_relative_to(place) for path in taken):
            yield from ("--symlink", f"/proc/self/fd/{descriptor}/{name}", place)


def _binds(places: Places, readable: Iterable[Path], writable: Iterable[Path]) -> Iterator[str]:
    for path in (*places.folders, *readable):
        yield from (*_parents(path), "--ro-bind", str(path), str(path))
    for path in writable:
        yield from (*_parents(path), "--bind", str(path), str(path))
    for path in places.links:
        if not any(path.is_relative_to(folder) for folder in places.folders):
            yield from (*_parents(path), "--symlink", str(path.readlink()), str(path))


def _parents(path: Path) -> Iterator[str]:
    """Make the directories above a path such that every user id may pass through."""
    for folder in reversed(path.parents[:-1]):
        if not any(folder.is_relative_to(place) for place in SYSTEM):
            yield from ("--perms", "0755", "--dir", str(folder))


def _each(option: str, paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        yield from (option, path, path)
