"""What the client's decisions ask of the outside: a closed set of commands, and their answers.

Everything that the client does is written once, as a generator that yields commands and is sent
their answers: `Steps`. It does no I/O. Who carries the commands out, blocking or awaiting, is
`transport.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, Union
from urllib.parse import quote

from fanfold.faults import NotUnderstood

T = TypeVar("T")

ANSWER_LIMIT_S = 60.0
"""How long an ordinary answer may keep us waiting."""

RUN_LIMIT_S = 3600.0
"""The same for a run: the server has a limit of its own, which is shorter."""


@dataclass(frozen=True)
class Upload:
    """A file that is a request's body.

    Attributes:
        tell: is told the number of bytes of each piece that was sent.
    """

    path: Path
    tell: Callable[[int], None]


@dataclass(frozen=True)
class Request:
    """A request to the server.

    Attributes:
        path: from the server's root, quoted.
        body: what is sent; None for nothing.
        may_repeat: to send it twice does no more than to send it once.
        is_open: needs no token.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Upload | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    limit_s: float = ANSWER_LIMIT_S
    may_repeat: bool = False
    is_open: bool = False


@dataclass(frozen=True)
class Response:
    """An answer; the names of headers are in lower case.

    Attributes:
        body: all of it; empty for one that is read piece by piece.
        stream: what `Read` takes, if it is.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    stream: object = None

    def json(self) -> Any:
        """Read the body.

        Raises:
            NotUnderstood: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as exc:
            raise NotUnderstood(
                f"The server answered {self.status} with something that is not JSON: is this the "
                "address of a fanfold server?",
                status=self.status,
            ) from exc


@dataclass(frozen=True)
class Send:
    """Send a request; the answer is a `Response`."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send a request whose answer is read piece by piece, unless it is an error."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Read the next piece of an open answer: bytes, empty at its end."""

    stream: object


@dataclass(frozen=True)
class Close:
    """Read no more of an open answer; every other one is closed when the steps end."""

    stream: object


@dataclass(frozen=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Give:
    """Hand a value to whoever iterates. Only in a `stream` (see `verbs.py`)."""

    value: Any


Command = Union[Send, Open, Read, Close, Pause, Give]  # noqa: UP007  # read at run time by Python 3.10
Steps = Generator[Command, Any, T]


class Course(Generic[T]):
    """Steps on their way: the command that is next, and at the end the result.

    It begins at once. What the steps raise comes out of `send` and `throw`.
    """

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self._result: list[T] = []
        self.command: Command | None = None
        self.send(None)

    def send(self, answer: object) -> None:
        """Tell what came of the command."""
        try:
            self.command = self._steps.send(answer)
        except StopIteration as end:
            self._end(end.value)

    def throw(self, exc: BaseException) -> None:
        """Tell what carrying it out raised."""
        try:
            self.command = self._steps.throw(exc)
        except StopIteration as end:
            self._end(end.value)

    def result(self) -> T:
        """Give what the steps have returned."""
        return self._result[0]

    def _end(self, result: T) -> None:
        self.command = None
        self._result.append(result)


def each(steps: Steps[None], told: Callable[[Any], Steps[None] | None]) -> Steps[None]:
    """Carry steps out, and do something with each value that they give."""
    course = Course(steps)
    while course.command is not None:
        if isinstance(course.command, Give):
            doing = told(course.command.value)
            if doing is not None:
                yield from doing
            course.send(None)
            continue
        try:
            answer = yield course.command
        except BaseException as exc:  # also Ctrl-C: the steps decide
            course.throw(exc)
        else:
            course.send(answer)


class Lines:
    """Cuts pieces of text into lines, whatever the pieces are."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Give the lines that are whole now, without their ends."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        return whole


class Events:
    """Reads server-sent events: id, name and data of each."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._members: dict[str, str] = {}

    def feed(self, piece: bytes) -> list[tuple[str, str, str]]:
        """Give the events that are whole now."""
        found = []
        for line in self._lines.feed(piece):
            name, _, value = line.decode("utf-8", "replace").rstrip("\r").partition(":")
            if name or value:
                self._members[name] = value.removeprefix(" ")
                continue
            if "event" in self._members:
                members = self._members
                found.append((members.get("id", ""), members["event"], members.get("data", "")))
            self._members = {}
        return found


def path(*parts: str) -> str:
    """Join parts of a path; the first stands as it is, the others are quoted."""
    root, *names = parts
    return "/".join([root, *(quote(name, safe="") for name in names)])


def query(**members: object) -> dict[str, str]:
    """Write query parameters; what is None is left out."""
    words = {True: "true", False: "false"}
    return {
        name.rstrip("_"): words[value] if isinstance(value, bool) else str(value)
        for name, value in members.items()
        if value is not None
    }


def json_body(members: Mapping[str, object]) -> tuple[bytes, dict[str, str]]:
    """Write a body, and the header that says what it is."""
    text = json.dumps(members, allow_nan=False, separators=(",", ":"))
    return text.encode(), {"content-type": "application/json"}
