"""The charset of a table's Content-Type, over HTTP, the client and the command line."""

from __future__ import annotations

import csv
import io
import os
import subprocess
from pathlib import Path

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold import Client
from tests.acceptance.conftest import FANFOLD, PASSWORD, Caller, Server

TABLE = "/api/v1/tables/C_WORDS"
WORDS = ["Größe", "naïve", "coûte 5 €", '"quoted", and', "plain"]
CODECS = {
    "utf-8": "utf-8",
    "UTF-8": "utf-8-sig",
    '"windows-1252"': "cp1252",
    "iso-8859-15": "iso8859-15",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
}


def written(words: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["wört"], *([word] for word in words)])
    return out.getvalue()


def load(caller: Caller, content: bytes, content_type: str, **asked: str) -> httpx2.Response:
    headers = {"Content-Type": content_type}
    return caller.put(TABLE, content=content, headers=headers, params=asked)


def shown(caller: Caller) -> list[str]:
    return [row["wört"] for row in caller.get(f"{TABLE}/preview", params={"rows": 1000}).json()]


@pytest.mark.parametrize(("charset", "codec"), CODECS.items())
@pytest.mark.parametrize("media_type", ["text/csv", "application/csv"])
def test_the_charset_is_honoured(alice: Caller, charset: str, codec: str, media_type: str) -> None:
    answer = load(alice, written(WORDS).encode(codec), f"{media_type}; charset={charset}")
    assert answer.is_success, answer.text
    assert shown(alice) == WORDS


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
def test_without_one_a_byte_order_mark_says_it(alice: Caller, codec: str) -> None:
    assert load(alice, written(WORDS).encode(codec), "text/csv").is_success
    assert shown(alice) == WORDS
    assert load(alice, '{"wört":"é"}\n'.encode(codec), "application/x-ndjson").is_success
    assert shown(alice) == ["é"]


def test_it_counts_beside_a_format_that_is_said_otherwise(alice: Caller) -> None:
    body = written(WORDS).encode("cp1252")
    assert load(alice, body, "text/plain; charset=cp1252", format="csv").is_success
    assert shown(alice) == WORDS


@pytest.mark.parametrize("charset", ["rot13", "utf-7", "nonsense", "", "x" * 300])
def test_one_that_nobody_knows_is_named(alice: Caller, charset: str) -> None:
    answer = load(alice, b"a\n1\n", f"text/csv; charset={charset}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2002)
    assert f"charset='{charset}'" in answer.json()["errorMessage"]
    assert "windows-1252" in answer.json()["errorMessage"]


@pytest.mark.parametrize(
    ("content", "charset", "offset", "line"),
    [
        (b"a\nx\n\xe9t\xe9\n", None, 4, 3),
        (b"a\n" + b"x\n" * 300_000 + b"\xe9\n", "utf-8", 600_002, 300_002),
        (b"a\nx\x81\n", "windows-1252", 3, 2),
        (b"a\0\n\0\x00\xd8x\0", "utf-16le", 4, 2),
        (b"a\0\n\0x", "utf-16le", 4, 2),
    ],
)
@pytest.mark.parametrize("media_type", ["text/csv", "application/x-ndjson"])
def test_bytes_that_are_none_of_it_are_told_with_their_place(
    *, alice: Caller, content: bytes, charset: str | None, offset: int, line: int, media_type: str
) -> None:
    said = media_type if charset is None else f"{media_type}; charset={charset}"
    answer = load(alice, content, said)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2047)
    assert (answer.json()["offset"], answer.json()["line"]) == (offset, line)
    assert f"byte {offset}" in answer.json()["errorMessage"]
    assert "charset=" in answer.json()["errorMessage"]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    words=st.lists(
        st.text(st.characters(codec="cp1252", min_codepoint=32), min_size=1).filter(
            lambda word: word.strip() == word
        ),
        min_size=1,
        max_size=4,
    ),
    charset=st.sampled_from(["windows-1252", "utf-16", "utf-8", "gb18030"]),
)
def test_words_come_back_as_they_were(alice: Caller, words: list[str], charset: str) -> None:
    words = ["x word", *words]  # else a column might be one of numbers
    codec = "cp1252" if charset == "windows-1252" else charset
    assert load(alice, written(words).encode(codec), f"text/csv; charset={charset}").is_success
    assert shown(alice) == words


def test_the_client_and_the_shell_say_it(alice: Caller, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "c_words.csv"
    file.write_bytes(written(WORDS).encode("cp1252"))
    with Client(server.url, username=alice.name, password=PASSWORD) as client:
        assert client.tables.load(file, charset="windows-1252").rows == len(WORDS)
    assert shown(alice) == WORDS
    alice.delete(TABLE)
    variables = {**os.environ, "FANFOLD_URL": server.url, "FANFOLD_TOKEN": alice.token}
    command = [str(FANFOLD), "table", "load", str(file), "--charset", "latin1"]
    file.write_bytes(written(["été"]).encode("latin-1"))
    subprocess.run(command, env=variables, check=True, timeout=200)
    assert shown(alice) == ["été"]
