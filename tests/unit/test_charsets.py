"""Text data becomes UTF-8, a piece at a time; what cannot is told with its place."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold_server.model.errors import InvalidTable, QueryTimedOut
from fanfold_server.model.rows import CHARSETS, DataFormat, charset_of
from fanfold_server.rows import charsets
from fanfold_server.rows.charsets import readable

SMALL = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(
    folder: Path, data: bytes, charset: str | None, form: DataFormat = DataFormat.CSV
) -> bytes:
    path = folder / "data"
    path.write_bytes(data)
    with readable(path, form, charset, lambda: False) as made:
        text = made.read_bytes()
    assert [found.name for found in folder.iterdir()] == ["data"]
    return text


@SMALL
@given(text=st.text(), charset=st.sampled_from(sorted(CHARSETS)), piece=st.integers(1, 9))
def test_what_a_charset_has_comes_out_as_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, charset: str, piece: int
) -> None:
    """However the bytes are cut into pieces."""
    monkeypatch.setattr(charsets, "PIECE_BYTES", piece)
    sent = text.encode(CHARSETS[charset], "ignore")
    meant = sent.decode(CHARSETS[charset]).removeprefix("\ufeff")
    assert read(tmp_path, sent, charset).decode("utf-8-sig") == meant


@SMALL
@given(
    lines=st.lists(st.text("ab,é", max_size=5), max_size=4),
    rest=st.binary(max_size=5),
    codec=st.sampled_from(["cp1252", "utf-16", "shift_jis", "gb18030"]),
    piece=st.integers(1, 7),
)
def test_a_wrong_byte_is_told_with_its_place(
    tmp_path: Path, *, lines: list[str], rest: bytes, codec: str, piece: int
) -> None:
    """The place is where decoding all at once ends."""
    charset = "windows-1252" if codec == "cp1252" else codec
    sent = "\n".join(lines).encode(codec, "ignore") + rest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charsets, "PIECE_BYTES", piece)
        end = _wrong(sent, codec)
        if end is None:
            read(tmp_path, sent, charset)
            return
        with pytest.raises(InvalidTable) as refused:
            read(tmp_path, sent, charset)
    line = sent[:end].decode(codec).count("\n") + 1
    assert refused.value.details == {"offset": end, "line": line}


def _wrong(sent: bytes, codec: str) -> int | None:
    try:
        sent.decode(codec)
    except UnicodeDecodeError as exc:
        return exc.start
    return None


@pytest.mark.parametrize("charset", ["utf-16", "utf-16le", "utf-16be", None])
def test_a_byte_order_mark_says_what_comes_and_is_no_text(
    tmp_path: Path, charset: str | None
) -> None:
    for codec in ("utf-16-le", "utf-16-be"):
        if charset in {None, "utf-16", codec.replace("16-", "16")}:
            assert read(tmp_path, "\ufeffa,é\n".encode(codec), charset) == "a,é\n".encode()


def test_utf_8_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"\xef\xbb\xbfa\n")
    for charset in (None, "utf-8"):
        with readable(path, DataFormat.CSV, charset, lambda: False) as made:
            assert made == path
    with readable(path, DataFormat.PARQUET, "utf-16", lambda: False) as made:
        assert made == path
    with readable(path, DataFormat.NDJSON, None, lambda: False) as made:
        assert made.read_bytes() == b"a\n", "no mark before JSON"


def test_utf_8_is_looked_through_only_when_it_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"a\nb\n\xe9\n")
    with (
        pytest.raises(InvalidTable, match=r"byte 4 \(0xe9\), in line 3, .*windows-1252"),
        readable(path, DataFormat.CSV, None, lambda: False),
    ):
        raise InvalidTable("something else")
    path.write_bytes(b"a\n")
    with (
        pytest.raises(InvalidTable, match="something else"),
        readable(path, DataFormat.CSV, None, lambda: False),
    ):
        raise InvalidTable("something else")


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes("wörter\n".encode("utf-16") * (2 << 20))
    tracemalloc.start()
    try:
        with readable(path, DataFormat.CSV, "utf-16", lambda: False) as made:
            assert made.stat().st_size > 16 << 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * charsets.PIECE_BYTES


def test_it_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"a\n")
    with pytest.raises(QueryTimedOut), readable(path, DataFormat.CSV, "koi8-r", lambda: True):
        raise AssertionError
    assert [found.name for found in tmp_path.iterdir()] == ["data"]


def test_names_are_found_in_any_case_and_by_aliases() -> None:
    assert charset_of("Windows-1252") == charset_of(" CP1252 ") == "windows-1252"
    assert charset_of("LATIN1") == "iso-8859-1"
    assert charset_of("rot13") is None
    for codec in CHARSETS.values():
        assert "a".encode(codec)
