"""Compiles what was installed, on all processors: several programs, each behind a wall of its own.

They do not talk to each other, for which they would need sockets or semaphores: each walks through
the same files and takes its share by their names, so whatever is there, every file is one's.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fanfold_server.environments.commands import run
from fanfold_server.environments.port import Confine
from fanfold_server.model.environment import Environment

LIMIT_S = 900.0

MOST = 8
"""So many at a time at most: then the disk is what they wait for."""

# Runs in the environment's interpreter, which is the oldest or the newest that can be had. As with
# compileall's own walk, links to directories are not followed.
_SHARE = """
import compileall, os, sys, zlib
root, share, shares = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
good = True
for folder, folders, names in os.walk(root):
    folders[:] = sorted(name for name in folders if name != "__pycache__")
    for name in sorted(names):
        path = os.path.join(folder, name)
        mine = zlib.crc32(os.fsencode(os.path.relpath(path, root))) % shares == share
        if mine and name.endswith(".py"):
            good = bool(compileall.compile_file(path, quiet=1)) and good
sys.exit(0 if good else 1)
"""


async def compile_all(environment: Environment, confine: Confine, log: Path, guard: int) -> None:
    """Compile everything below an environment's `lib`; what cannot be compiled is in the log.

    No .pth file runs with -S, and nothing is imported: what is compiled is only read. The
    interpreter, though, may come from a channel of a user's choice.

    Args:
        log, guard: as for `commands.run`.

    Raises:
        BuildFailed: one of the programs ended otherwise than compileall does, or took too long.
    """
    shares = min(MOST, len(os.sched_getaffinity(0)))
    python = str(environment.prefix / "bin" / "python")
    root = str(environment.prefix / "lib")
    begin = (python, "-I", "-S", "-c", _SHARE, root)
    commands = [
        await confine(environment, (*begin, str(share), str(shares))) for share in range(shares)
    ]
    with tempfile.TemporaryDirectory(prefix="fanfold-compile-") as folder:
        logs = [Path(folder) / str(share) for share in range(shares)]
        try:
            await _run_all(commands, logs, guard)
        finally:
            await asyncio.to_thread(_merge, logs, log, f"$ compile {root}, {shares} at a time\n")


async def _run_all(commands: Sequence[Sequence[str]], logs: Sequence[Path], guard: int) -> None:
    """Run all of them to their end; when one fails or this is cancelled, none goes on."""
    try:
        async with asyncio.TaskGroup() as group:
            for command, log in zip(commands, logs, strict=True):
                group.create_task(
                    run(
                        command,
                        log=log,
                        guard=guard,
                        limit_s=LIMIT_S,
                        tolerated=frozenset({1}),  # some files are not for this Python
                        is_said=False,
                    )
                )
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed


def _merge(parts: Sequence[Path], log: Path, heading: str) -> None:
    """Add what each has said to the log, in their order."""
    with log.open("a") as file:
        file.write(heading)
        for part in parts:
            if part.exists():
                file.write(part.read_text("utf-8", "replace"))
