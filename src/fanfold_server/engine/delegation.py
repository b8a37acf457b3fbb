"""Where control groups can be made: found by making one that a process joins, and removing it."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fanfold_server.engine.cgroup import (
    CONTROLLERS,
    END_LIMIT_S,
    PREFIX,
    Group,
    Groups,
    Tree,
    write,
)
from fanfold_server.engine.limits import Limits

PROBE_LIMIT_S = 3.0
"""How long a process may take to join a group."""

NOBODY = 65_534

ASIDE = f"{PREFIX}server"
"""Where a server is that has stepped aside, in the group that was its own."""


class GroupsMissing(Exception):
    """No control group can be made here; the message says why."""


def read_trees(mounts: str, own: str) -> list[Tree]:
    """Find the server's own groups.

    Args:
        mounts: text of /proc/self/mountinfo.
        own: text of /proc/self/cgroup.

    Returns:
        Trees of version 1 with a controller that is used, and the one of version 2, whose
        controllers are not known yet.
    """
    paths = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        paths[names] = path
    trees = []
    for line in mounts.splitlines():
        fields, _, kind = line.partition(" - ")
        _, _, _, root, mount, *_ = fields.split(" ")
        name, _, options = kind.split(" ", 2)
        if name == "cgroup2" and "" in paths:
            place = _below(_plain(mount), _plain(root), paths[""])
            trees.append(Tree(version=2, own=place, controllers=()))
        elif name == "cgroup":
            words = options.split(",")
            found = next((names for names in paths if names and names.split(",")[0] in words), None)
            used = tuple(word for word in CONTROLLERS if word in words)
            if used and found is not None:
                place = _below(_plain(mount), _plain(root), paths[found])
                trees.append(Tree(version=1, own=place, controllers=used))
    return trees


def _below(mount: str, root: str, path: str) -> Path:
    """Return where a group lies that is `path` in its hierarchy, of which `root` is mounted."""
    if root == "/":
        inner = path
    elif path.startswith(root + "/"):
        inner = path[len(root) :]
    else:  # seen from outside of what is mounted
        inner = "/"
    return Path(mount) / inner.lstrip("/")


def _plain(text: str) -> str:
    """Undo how mountinfo writes blanks."""
    return text.replace("\\040", " ")


def find_groups(limits: Limits) -> Groups:
    """Find out where groups can be made, by making one that a process joins.

    Raises:
        GroupsMissing: nowhere, for the controller of memory.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text()
        own = Path("/proc/self/cgroup").read_text()
    except OSError as exc:
        raise GroupsMissing("this system has no control groups") from exc
    return try_trees(read_trees(mounts, own), limits)


def try_trees(trees: Iterable[Tree], limits: Limits) -> Groups:
    """Use what works of the trees; see `find_groups`."""
    usable: dict[str, Tree] = {}
    why_not: dict[str, str] = {}
    for tree in sorted(trees, key=lambda tree: -tree.version):
        wanted = [name for name in CONTROLLERS if name not in usable]
        try:
            ready = _delegated(tree, wanted) if tree.is_v2 else tree
            kept = tuple(name for name in ready.controllers if name in wanted)
            if not kept:
                continue
            ready = Tree(version=ready.version, own=ready.own, controllers=kept)
            _try(ready, limits)
            usable |= dict.fromkeys(kept, ready)
        except (OSError, GroupsMissing) as exc:
            for name in tree.controllers or wanted:
                why_not[name] = _reason(exc, tree)
    if "memory" not in usable:
        raise GroupsMissing(why_not.get("memory", "no control group with a limit of memory"))
    missing = {
        name: why_not.get(name, "this host does not have it")
        for name in CONTROLLERS
        if name not in usable
    }
    _remove_abandoned(usable.values())
    return Groups(dict.fromkeys(usable.values()), missing)


def _reason(exc: OSError | GroupsMissing, tree: Tree) -> str:
    if isinstance(exc, GroupsMissing):
        return str(exc)
    return f"{exc.filename or tree.own}: {os.strerror(exc.errno or 0)}"


def _delegated(tree: Tree, wanted: list[str]) -> Tree:
    """Have the controllers of a tree of version 2 hold for groups below the server's own.

    A group that hands controllers down may not have processes itself: a server that is alone in
    its own moves to one below.
    """
    own = tree.own.parent if tree.own.name == ASIDE else tree.own
    there = (own / "cgroup.controllers").read_text().split()
    names = tuple(name for name in wanted if name in there)
    handed = own / "cgroup.subtree_control"
    new = [name for name in names if name not in handed.read_text().split()]
    if new:
        text = " ".join(f"+{name}" for name in new)
        try:
            write(handed, text)
        except OSError as exc:
            if exc.errno != errno.EBUSY:
                raise
            _step_aside(own)
            write(handed, text)
    return Tree(version=2, own=own, controllers=names)


def _step_aside(own: Path) -> None:
    others = {int(pid) for pid in (own / "cgroup.procs").read_text().split()} - {os.getpid()}
    if others:
        raise GroupsMissing(
            f"{own}: {len(others)} other processes are in the server's own group; give it one of "
            "its own, such as a unit of systemd with Delegate=yes"
        )
    aside = own / ASIDE
    aside.mkdir(exist_ok=True)
    write(aside / "cgroup.procs", str(os.getpid()))


def _try(tree: Tree, limits: Limits) -> None:
    """Make a group, have a process join it that may do nothing itself, and remove it."""
    groups = Groups([tree])
    group = groups.make(limits)
    try:
        for door in group.doors():
            _try_door(group, door)
    finally:
        groups.release(group)
        deadline = time.monotonic() + END_LIMIT_S
        while not groups.tidy() and time.monotonic() < deadline:
            time.sleep(0.001)


def _try_door(group: Group, door: int) -> None:
    identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if not os.geteuid() else {}
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", "echo 0 && read forever"],
            stdin=subprocess.PIPE,
            stdout=door,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **identity,  # type: ignore[call-overload]  # mypy takes every keyword for each of these
        )
    finally:
        os.close(door)
    with process:
        try:
            deadline = time.monotonic() + PROBE_LIMIT_S
            while process.pid not in group.members():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise GroupsMissing("a process cannot join a control group that was made")
                time.sleep(0.001)
        finally:
            process.kill()


def _remove_abandoned(trees: Iterable[Tree]) -> None:
    """Remove the groups of servers that were killed."""
    for tree in set(trees):
        for place in tree.own.glob(f"{PREFIX}*-*-*"):
            number = place.name.removeprefix(PREFIX).partition("-")[0]
            if number.isdigit() and not Path("/proc", number).exists():
                with suppress(OSError):  # something is in it
                    place.rmdir()
