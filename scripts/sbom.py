"""Write what fanfold is made of, as CycloneDX: the server with every extra, none of our tools.

What `make sbom` runs. The lock file says for each package who asks for it, so what only the tools
of a developer ask for is left out here; hashes come from the same file. Nobody is asked anything,
and the same lock gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements" / "server.lock"
DEFAULT = ROOT / "dist" / "fanfold.cdx.json"
PROJECT = "fanfold (pyproject.toml)"

_PIN = re.compile(r"^[A-Za-z0-9].*(?:\n .*)*", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_ASKS = re.compile(r"^ +# +(?:via )?(?P<who>\S.*)$", re.MULTILINE)


def main() -> None:
    """Write the file."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--output", type=Path, default=DEFAULT)
    options.add_argument(
        "--unchecked",
        action="store_true",
        help="do not compare with the format's schema, which takes most of the time",
    )
    given = options.parse_args()
    output: Path = given.output
    output.parent.mkdir(parents=True, exist_ok=True)
    pins, asks = shipped(LOCK.read_text(encoding="utf-8"))
    told = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "-"),
            *("--pyproject", ROOT / "pyproject.toml", "--output-reproducible"),
            *(["--no-validate"] if given.unchecked else []),
        ],
        input="\n".join(pins.values()) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    document = joined(json.loads(told.stdout), asks)
    output.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{output}: {len(pins)} packages")


def joined(document: dict[str, Any], asks: dict[str, set[str]]) -> dict[str, Any]:
    """Say in the document who asks for what, which a list of pins does not tell."""
    root = document["metadata"]["component"]["bom-ref"]
    refs = {PROJECT: root} | {each["name"]: each["bom-ref"] for each in document["components"]}
    wanted: dict[str, list[str]] = {ref: [] for ref in refs.values()}
    for component in document["components"]:
        del component["description"]  # the whole pin once more
        for who in sorted(asks[component["name"]] & set(refs)):
            wanted[refs[who]].append(component["bom-ref"])
    document["dependencies"] = [
        {"ref": ref, "dependsOn": sorted(others)} for ref, others in sorted(wanted.items())
    ]
    return document


def shipped(lock: str) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Give what fanfold asks for, and what that asks for, and so on; none of our tools.

    Returns:
        By name: the pin; and who asks for it.
    """
    pins, asks = {}, {}
    for found in _PIN.finditer(lock):
        text = found.group()
        name = _NAME.match(text)
        assert name is not None
        pins[name.group()] = text
        asks[name.group()] = {each["who"] for each in _ASKS.finditer(text)} - {"via"}
    kept: set[str] = set()
    while True:
        more = {name for name, who in asks.items() if who & (kept | {PROJECT})} - kept
        if not more:
            return {name: pins[name] for name in sorted(kept)}, asks
        kept |= more


if __name__ == "__main__":
    main()
