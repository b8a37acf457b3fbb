"""What a step of the demo is: one request, what came back, and whether it is right."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from fanfold_server.demo import bootstrap
from fanfold_server.demo.curl import Answer

RUN: Final = "/oml/api/py-scripts/v1/"
"""Where the compatible run routes begin."""

_SHOWN_CHARACTERS: Final = 420


class Different(Exception):
    """An answer is so different from the documented one that the demo cannot go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was compared, in words, and whether it is as it should be."""

    text: str
    is_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A figure that came back; `name` is the file's, `caption` what came with it."""

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request and what came of it.

    Attributes:
        about: one sentence for people.
        source: the stored function, or empty.
        request: the command, as it may be pasted.
        answer: the body, shortened where it is long.
        estimate: set by the bootstrap alone.
    """

    title: str
    about: str
    request: str
    answer: str
    source: str = ""
    findings: list[Finding] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    estimate: bootstrap.Estimate | None = None

    @property
    def is_right(self) -> bool:
        """Whether everything is as it should be."""
        return all(finding.is_right for finding in self.findings)


def compact(members: dict[str, str]) -> str:
    """Write a body as the documented examples are written."""
    return json.dumps(members, separators=(",", ":"))


def expect(answer: Answer, status: int, what: str) -> dict[str, Any]:
    """Read the body of an answer that must have a status. Raises Different."""
    try:
        members = json.loads(answer.body)
    except ValueError:
        members = None
    if answer.status != status or not isinstance(members, dict):
        shown = answer.body[:600].decode(errors="replace")
        raise Different(f"{what} answered {answer.status} instead of {status}: {shown}")
    return members


def shortened(answer: Answer) -> str:
    """Give the body as text, with images and whatever is long cut where … stands."""
    text = re.sub(r'("IMAGE":"[^"]{11})[^"]+', r"\1…", answer.body.decode(errors="replace"))
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return text[: _SHOWN_CHARACTERS - 60] + " … " + text[-50:]
