"""Having environments built, and waiting for what comes of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.acceptance.conftest import Caller
from tests.acceptance.processes import until

BUILT_WITHIN_S = 240.0
SEEN_WITHIN_S = 100.0

WHERE = """
def where(pause_s=0):
    import sys, time
    time.sleep(pause_s)
    import labcolors
    return {"version": labcolors.VERSION, "prefix": sys.prefix}
"""
"""Tells which version of the test's package an environment has."""


def order(caller: Caller, name: str, spec: str, **members: object) -> dict[str, object]:
    """Have an environment built; gives the build, or the environment if it is there already."""
    body = {"name": name, "spec": spec, "format": "requirements.txt", **members}
    answer = caller.post("/api/v1/environments", json=body)
    assert answer.status_code in {200, 202}, answer.text
    found: dict[str, object] = answer.json()
    return found


def built(caller: Caller, name: str, spec: str, **members: object) -> dict[str, object]:
    """Have an environment built, and wait until that is over; gives the build."""
    return ended(caller, str(order(caller, name, spec, **members)["id"]))


def ended(caller: Caller, build_id: str) -> dict[str, object]:
    """Wait for the end of a build."""
    path = f"/api/v1/environment-builds/{build_id}"

    def is_over() -> bool:
        return caller.get(path).json()["state"] in {"ready", "failed"}

    until(is_over, BUILT_WITHIN_S, "the build has ended")
    found: dict[str, object] = caller.get(path).json()
    return found


def runs(caller: Caller, name: str, version: str) -> None:
    """Wait until what begins in an environment finds this version of its package."""
    answers = []

    def is_there() -> bool:
        answers.append(caller.do_eval("where", {"envName": name}))
        found = answers[-1].json().get("result", {})
        return bool(isinstance(found, dict) and found.get("version") == version)

    until(is_there, SEEN_WITHIN_S, f"{name} has {version}: {[a.text for a in answers[-1:]]}")


def leftovers(place: Path, name: str) -> list[str]:
    """List what lies where an environment's versions are: names of files and directories."""
    folder = place / "environments" / ".versions" / name
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def order_of(caller: Caller, name: str, packages: list[str]) -> str:
    answer = caller.post("/api/v1/environments", json={"name": name, "packages": packages})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"].endswith(f"/api/v1/environment-builds/{answer.json()['id']}")
    return str(answer.json()["id"])


def without_network() -> tuple[str, ...]:
    """Give what runs a command in a network of its own, in which there is nobody."""
    for words in (("unshare", "--net"), ("unshare", "--user", "--map-root-user", "--net")):
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            return words
    return ()
