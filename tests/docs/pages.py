"""Reads the documentation as text: pages, fenced blocks, links.

How pages are written:

    ```sh         is run; the blocks of a page are one session
    ```json       right after one: what it prints; … stands for anything
    ```text       the same, for what is not JSON
    ```console    is only shown; a comment above it says why: <!-- not run: … -->
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.repository import ROOT

RUN = "sh"
PRINTED = ("json", "text")
SHOWN = "console"
ANYTHING = "…"

_FENCE = re.compile(r"^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block; `before` is the line above it."""

    language: str
    text: str
    line: int
    before: str


@dataclass(frozen=True)
class Step:
    """Commands, and what they print, if the page says so."""

    commands: Block
    printed: Block | None


def pages() -> list[Path]:
    """Return every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        above = text[: match.start()].rstrip("\n").splitlines()
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(match["language"], match["text"], line, above[-1] if above else ""))
    return found


def steps(page: Path) -> list[Step]:
    """Return what a page runs, with what it says is printed."""
    found = []
    page_blocks = blocks(page)
    for at, block in enumerate(page_blocks):
        if block.language == RUN:
            following = page_blocks[at + 1] if at + 1 < len(page_blocks) else None
            is_printed = following is not None and following.language in PRINTED
            found.append(Step(block, following if is_printed else None))
    return found


def links(page: Path) -> list[str]:
    """Return the targets of a page's links that are not on another host."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [m["target"] for m in _LINK.finditer(text) if "://" not in m["target"]]


def agrees(block: Block, output: str) -> bool:
    """Say whether an output is what a page shows."""
    wanted, output = block.text.strip(), output.strip()
    if ANYTHING in wanted:
        pattern = ".*?".join(map(re.escape, wanted.split(ANYTHING)))
        return re.fullmatch(pattern, output, re.DOTALL) is not None
    if block.language == "json" and _is_json(wanted) and _is_json(output):
        return bool(json.loads(wanted) == json.loads(output))
    return wanted == output


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
