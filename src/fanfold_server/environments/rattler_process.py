"""A process of its own for py-rattler: the only module that knows the library.

    python -m fanfold_server.environments.rattler_process solve|install ORDER ANSWER

ORDER is a JSON file, ANSWER one that is written; what else there is to say goes to standard error.
The library starts threads and changes its API between minors: neither is to reach the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from rattler import (
    BuildString,
    Channel,
    PackageRecord,
    RepoDataRecord,
    VirtualPackage,
    install,
    solve,
)


async def _solve(order: dict[str, Any]) -> list[dict[str, Any]]:
    """Decide which packages exactly: {"channels", "specs"} → records, in the order of linking."""
    records = await solve(
        sources=[Channel(channel) for channel in order["channels"]],
        specs=order["specs"],
        virtual_packages=VirtualPackage.detect(),
    )
    return sorted((_written(record) for record in records), key=lambda package: package["name"])


async def _install(order: dict[str, Any]) -> list[dict[str, Any]]:
    """Install exactly these packages: {"packages", "prefix", "cache"}; link scripts are not run."""
    await install(
        [_read(package) for package in order["packages"]],
        target_prefix=order["prefix"],
        cache_dir=Path(order["cache"]),
        execute_link_scripts=False,
        show_progress=False,
    )
    return []


def _written(record: RepoDataRecord) -> dict[str, Any]:
    return {
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "build_number": record.build_number,
        "subdir": record.subdir,
        "noarch": _noarch(record),
        "depends": record.depends,
        "constrains": record.constrains,
        "site_packages": record.python_site_packages_path,
        "file_name": record.file_name,
        "channel": record.channel,
        "url": record.url,
        "size": record.size,
        "sha256": record.sha256.hex() if record.sha256 else None,
        "md5": record.md5.hex() if record.md5 else None,
    }


def _noarch(record: RepoDataRecord) -> str | None:
    if record.noarch.python:
        return "python"
    return "generic" if record.noarch.generic else None


def _read(written: dict[str, Any]) -> RepoDataRecord:
    package = PackageRecord(
        name=written["name"],
        version=written["version"],
        build=BuildString(written["build"]),
        build_number=written["build_number"],
        subdir=written["subdir"],
        noarch=written["noarch"],
        depends=written["depends"],
        constrains=written["constrains"],
        python_site_packages_path=written["site_packages"],
        size=written["size"],
        sha256=bytes.fromhex(written["sha256"]) if written["sha256"] else None,
        md5=bytes.fromhex(written["md5"]) if written["md5"] else None,
    )
    return RepoDataRecord(package, written["file_name"], written["url"], written["channel"])


def main(verb: str, order: Path, answer: Path) -> int:
    """Carry an order out; 1 when the library refuses, with its words on standard error."""
    act = {"solve": _solve, "install": _install}[verb]
    try:
        done = asyncio.run(act(json.loads(order.read_text())))
    except Exception as exc:  # noqa: BLE001  # each is a class of the library's own
        sys.stderr.write(f"{exc}\n")
        return 1
    answer.write_text(json.dumps(done, indent=1))
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    sys.stderr.flush()
    # The library's threads are still there, and have crashed interpreters that were taken down.
    os._exit(status)
