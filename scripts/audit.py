"""Ask whether anything that the lock files pin has a known vulnerability. What `make audit` runs.

Exit status 0: nothing is known, or nobody could be asked, which is said in so many words; 1: a
vulnerability is known; 2: the audit itself failed. With `--strict`, 3 where nobody could be asked.

An advisory that does not concern us is named in `IGNORED`, with the reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements/server.lock", "requirements/engine.lock")
LIMIT_S = 240
IGNORED: dict[str, str] = {}
"""Advisory → why it does not concern us."""

AWAY = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "NameResolutionError", "ProxyError")
AWAY_TEXT = "Failed to establish a new connection"


@dataclass(frozen=True)
class Found:
    """A vulnerability that is known of a package that is pinned."""

    lock: str
    package: str
    advisory: str
    mended: str

    def __str__(self) -> str:
        return f"{self.lock}: {self.package}: {self.advisory}; mended in {self.mended or 'none'}"


class Away(Exception):
    """The advisories cannot be reached."""


class Failed(Exception):
    """The audit did not come to an end."""


def main() -> int:
    """Audit every lock file; return the exit status."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--strict", action="store_true", help="fail where nobody can be asked")
    said = options.parse_args()
    try:
        found = [one for lock in LOCKS for one in audit(lock)]
    except Away as away:
        print(
            "audit: NOT DONE: the service that has the advisories cannot be reached from here "
            f"({away}). Nothing is known about known vulnerabilities.",
            file=sys.stderr,
        )
        return 3 if said.strict else 0
    except Failed as failed:
        print(f"audit: failed: {failed}", file=sys.stderr)
        return 2
    for one in found:
        print(one, file=sys.stderr)
    if not found:
        print(f"audit: no vulnerability is known of what {' and '.join(LOCKS)} pin")
    return 1 if found else 0


def audit(lock: str) -> list[Found]:
    """Ask about one lock file. Raises Away, Failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [
            *(Path(sys.executable).with_name("pip-audit"), "--requirement", ROOT / lock),
            *("--require-hashes", "--disable-pip", "--vulnerability-service", "osv"),
            *("--progress-spinner", "off", "--format", "json", "--output", report),
            *(word for name in IGNORED for word in ("--ignore-vuln", name)),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise Away(f"no answer within {LIMIT_S} s") from exc
        if not report.exists():
            raise _why(done.stderr)
        return read(lock, json.loads(report.read_text(encoding="utf-8")))


def read(lock: str, report: dict[str, Any]) -> list[Found]:
    """Take what is known out of pip-audit's report. Raises Failed: a package was left out."""
    found = []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            raise Failed(f"{package['name']}: {package['skip_reason']}")
        found += [
            Found(
                lock=lock,
                package=f"{package['name']} {package['version']}",
                advisory=" ".join([each["id"], *each.get("aliases", [])]),
                mended=", ".join(each.get("fix_versions", [])),
            )
            for each in package["vulns"]
        ]
    return found


def _why(errors: str) -> Away | Failed:
    last = errors.strip().rpartition("\n")[2]
    if any(word in last for word in AWAY) or AWAY_TEXT in last:
        return Away(last.partition(":")[0].rpartition(".")[2])
    return Failed(last or "no report was written")


if __name__ == "__main__":
    sys.exit(main())
