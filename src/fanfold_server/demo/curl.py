"""Requests by curl: what is shown is what is run, but for the token."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 180
"""How long an answer may take."""

_HEADERS_END = b"\r\n\r\n"
_INTERIM = b"HTTP/1.1 1"


class CurlFailed(Exception):
    """curl could not be run, or did not reach the server; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. `headers` have names in lower case; `elapsed_s` includes curl's start."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, not yet sent.

    Attributes:
        method: GET, POST or PUT.
        path: begins with a slash.
        json: the body's text, or "@" and a file's name relative to the curl's folder.
        csv: in place of it, the name of a file in that folder, to be sent as it is.
    """

    method: str
    path: str
    json: str = ""
    csv: str = ""


class Curl:
    """Sends requests to one server, with a token once there is one.

    Args:
        program: the path of curl.
        url: scheme, host and port.
        folder: where files named in bodies lie.
        home: an empty directory; curl looks there for settings, and so finds none.
    """

    def __init__(self, program: str, *, url: str, folder: Path, home: Path) -> None:
        self._program = program
        self._url = url
        self._folder = folder
        self._environment = {
            name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
        } | {"HOME": str(home), "CURL_HOME": str(home)}
        self.token: str | None = None

    def send(self, request: Request) -> Answer:
        """Send a request and wait for the answer. Raises CurlFailed."""
        words = [self._program, "-si", *self._words(request)]
        started = time.perf_counter()
        try:
            done = subprocess.run(
                words,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise CurlFailed(f"no answer to {request.path} within {LIMIT_S} s") from exc
        except OSError as exc:
            raise CurlFailed(f"cannot run {self._program}: {exc.strerror}") from exc
        elapsed_s = time.perf_counter() - started
        if done.returncode:
            raise CurlFailed(f"curl ended with status {done.returncode} for {request.path}")
        return _read(done.stdout, elapsed_s)

    def shown(self, request: Request) -> str:
        """Write the command for people: on several lines, with $TOKEN for the token."""
        words = self._words(request)
        options = [" ".join(map(_quoted, words[at : at + 2])) for at in range(0, len(words) - 1, 2)]
        return " \\\n     ".join([f"curl -i {words[-1]}", *options])

    def _words(self, request: Request) -> list[str]:
        """Give curl's options in pairs, and the URL last."""
        words = [] if request.method == "POST" or request.csv else ["-X", request.method]
        if self.token is not None:
            words += ["-H", f"Authorization: Bearer {self.token}"]
        if request.csv:
            words += ["-H", "Content-Type: text/csv", "-T", request.csv]
        else:
            words += ["-H", "Content-Type: application/json", "-d", request.json]
        return [*words, self._url + request.path]


def _quoted(word: str) -> str:
    """Quote for a shell; a header with a token in double quotes, so that $TOKEN will be read."""
    bearer = "Authorization: Bearer "
    if word.startswith(bearer):
        return f'"{bearer}$TOKEN"'
    return shlex.quote(word)


def _read(output: bytes, elapsed_s: float) -> Answer:
    """Read what `curl -i` writes: the headers, an empty line, the body."""
    head, _, body = output.partition(_HEADERS_END)
    while head.startswith(_INTERIM):
        head, _, body = body.partition(_HEADERS_END)
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        status = int(first.split()[1])
    except (IndexError, ValueError) as exc:
        raise CurlFailed(f"that is no HTTP answer: {output[:80]!r}") from exc
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Answer(status=status, headers=headers, body=body, elapsed_s=elapsed_s)
