"""Packages are fetched with the operator's passwords, and these stay where they are for."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fanfold_server.environments.fetching import Fetcher
from fanfold_server.environments.locks import Part
from fanfold_server.model.errors import PackageGone

WHEEL = b"a wheel"
SHA256 = hashlib.sha256(WHEEL).hexdigest()
LOGIN = ("frida", "s3cret:/@")
WRITTEN = "frida:s3cret%3A%2F%40"


@pytest.fixture(autouse=True)
def _nobodys_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the person who tests has in their home is not asked."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class Index:
    """A server that gives a wheel to whoever has the password.

    Attributes:
        heard: what came as Authorization, request by request.
        elsewhere: where it sends everybody instead.
    """

    def __init__(self) -> None:
        self.heard: list[str | None] = []
        self.elsewhere: str | None = None
        self.is_open = False
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = self.headers.get("Authorization")
                index.heard.append(said)
                if index.elsewhere is not None:
                    self.send_response(302)
                    self.send_header("Location", index.elsewhere)
                    self.end_headers()
                    return
                word = base64.b64encode(":".join(LOGIN).encode()).decode()
                self.send_response(200 if index.is_open or said == f"Basic {word}" else 401)
                self.end_headers()
                self.wfile.write(WHEEL)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.netloc = f"127.0.0.1:{self.server.server_port}"


@contextmanager
def running() -> Iterator[Index]:
    index = Index()
    thread = threading.Thread(target=index.server.serve_forever)
    thread.start()
    try:
        yield index
    finally:
        index.server.shutdown()
        index.server.server_close()
        thread.join()


@pytest.fixture
def index() -> Iterator[Index]:
    with running() as started:
        yield started


def part(netloc: str, sha256: str = SHA256, scheme: str = "http") -> Part:
    name = "six-1.17.0-py3-none-any.whl"
    return Part(url=f"{scheme}://{netloc}/files/{name}", sha256=sha256, file_name=name)


@pytest.mark.parametrize("way", ["the address", "the recipe", "a variable", "a netrc file"])
def test_a_password_is_found_where_uv_and_conda_find_it(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    address = f"http://{WRITTEN}@{index.netloc}/simple"
    options, netloc = [], index.netloc
    if way == "the address":
        netloc = f"{WRITTEN}@{netloc}"
    elif way == "the recipe":
        options = [f"--extra-index-url {address}"]
    elif way == "a variable":
        monkeypatch.setenv("UV_INDEX", f"https://other.test/simple inner={address}")
    else:
        file = tmp_path / "logins"
        file.write_text(f'machine 127.0.0.1 login {LOGIN[0]} password "{LOGIN[1]}"')
        file.chmod(0o600)
        monkeypatch.setenv("NETRC", str(file))
    Fetcher(options).fetch(part(netloc), tmp_path / "wheel")
    assert (tmp_path / "wheel").read_bytes() == WHEEL


def test_without_one_it_is_told(index: Index, tmp_path: Path) -> None:
    with pytest.raises(PackageGone, match=r"six-1\.17\.0.* cannot be had .*401"):
        Fetcher([]).fetch(part(index.netloc), tmp_path / "wheel")
    assert index.heard == [None]


def test_a_password_does_not_go_where_its_host_sends_us_on(index: Index, tmp_path: Path) -> None:
    with running() as other:
        other.is_open = True
        index.elsewhere = f"http://{other.netloc}/files/six.whl"
        fetcher = Fetcher([f"http://{WRITTEN}@{index.netloc}/"])
        fetcher.fetch(part(index.netloc), tmp_path / "wheel")
    assert index.heard[0] is not None
    assert other.heard == [None]


def test_another_file_than_was_locked_is_told(index: Index, tmp_path: Path) -> None:
    index.is_open = True
    with pytest.raises(PackageGone, match="another one now"):
        Fetcher([]).fetch(part(index.netloc, "0" * 64), tmp_path / "wheel")


@pytest.mark.parametrize("scheme", ["ftp", "data", "gopher"])
def test_what_is_neither_a_file_nor_on_the_web_is_not_fetched(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(PackageGone, match=f"{scheme} addresses are not fetched"):
        Fetcher([]).fetch(part("127.0.0.1", scheme=scheme), tmp_path / "wheel")
