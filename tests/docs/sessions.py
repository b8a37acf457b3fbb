"""Runs what a page of the documentation shows, as a reader would: one shell, block after block."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.repository import ROOT, shown
from tests.docs.pages import agrees, steps

LIMIT_S = 240
"""Of a page; most take seconds, but a busy machine starts interpreters slowly."""

README = ROOT / "README.md"
TUTORIAL = sorted((ROOT / "docs" / "tutorial").glob("*.md"))
HOWTO = sorted((ROOT / "docs" / "howto").glob("*.md"))
OPERATE = ROOT / "docs" / "howto" / "operate.md"
LIMITS = ROOT / "docs" / "howto" / "limits.md"
OWN_SERVER = [README, *TUTORIAL, OPERATE, LIMITS]
"""Pages that start a server; the others presume one."""

PROGRAMS = {"run-with-javascript": "node", "run-with-r": "Rscript"}
"""What a page needs that not every machine has."""

NEEDED = ("bash", "curl", "openssl", "python3")
needs_a_shell = pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)), reason=f"the examples need {', '.join(NEEDED)}"
)


def run_page(page: Path, folder: Path, variables: dict[str, str], *, port: int = 8000) -> list[str]:
    """Run the blocks of a page as one session in a folder; return what each printed.

    The folder looks like a checkout, as far as pages look at it.
    """
    for name in (".venv", ".environments", "docs"):
        (folder / name).symlink_to(ROOT / name)
    session = steps(page)
    outputs = [folder / f".output-{number}" for number in range(len(session))]
    lines = ["set -eo pipefail", "trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT"]
    for step, output in zip(session, outputs, strict=True):
        commands = step.commands.text.replace("8000", str(port))
        lines.append(f"{{\n{commands}}} > {output.name} 2>&1")
    own = {name: value for name, value in os.environ.items() if not name.startswith("FANFOLD_")}
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Files, not pipes: what a page leaves behind must not keep us waiting.
    with (folder / ".errors").open("w+") as errors:
        session_shell = subprocess.Popen(
            ["bash", "-c", "\n".join(lines)],
            cwd=folder,
            env={**own, "HOME": str(folder), "PATH": search, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            status = session_shell.wait(LIMIT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session_shell.pid, signal.SIGKILL)
            session_shell.wait()
        errors.seek(0)
        printed = [path.read_text() if path.exists() else "" for path in outputs]
        last = next((text for text in reversed(printed) if text), "")
        assert status == 0, f"{shown(page)}: {errors.read()}\n{last}"
    return printed


def differences(page: Path, printed: list[str]) -> list[str]:
    """List the blocks of a page that show something else than what was printed."""
    return [
        f"{shown(page)}:{step.printed.line}: printed {text!r}"
        for step, text in zip(steps(page), printed, strict=True)
        if step.printed is not None and not agrees(step.printed, text)
    ]
