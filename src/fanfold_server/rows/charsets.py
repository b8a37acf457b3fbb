"""Text data in whatever characters it was sent: UTF-8 is what is read.

Other data is written anew, a piece at a time; UTF-8 is read as it came, and looked through only for
the place of a byte that is none.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from fanfold_server.model.errors import InvalidTable, QueryTimedOut
from fanfold_server.model.rows import CHARSETS, TEXT_FORMATS, UTF_8, DataFormat

PIECE_BYTES: Final = 1 << 20
_SUFFIX: Final = ".utf8"
_BOMS: Final[dict[bytes, str]] = {
    codecs.BOM_UTF8: UTF_8,
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_MARK: Final = "\ufeff"


@contextmanager
def readable(
    data: Path, form: DataFormat, charset: str | None, is_stopped: Callable[[], bool]
) -> Iterator[Path]:
    """Give the data as UTF-8: the file itself, or one that is deleted at the end of the context.

    Args:
        charset: a key of `CHARSETS`; None: what a byte order mark says, else UTF-8.
        is_stopped: called between pieces; true ends it.

    Raises:
        InvalidTable: there is a byte that the charset does not have; says where.
        QueryTimedOut: it was stopped.
    """
    if form not in TEXT_FORMATS:
        yield data
        return
    with data.open("rb") as file:
        start = file.read(3)
    mark = next((mark for mark in _BOMS if start.startswith(mark)), b"")
    charset = charset or _BOMS.get(mark, UTF_8)
    is_marked = mark == codecs.BOM_UTF8 and form is DataFormat.NDJSON  # which DuckDB does not take
    if charset != UTF_8 or is_marked:
        made = data.with_name(data.name + _SUFFIX)
        try:
            with data.open("rb") as source, made.open("xb") as target:
                _transcode(source, target, charset, is_stopped)
            yield made
        finally:
            made.unlink(missing_ok=True)
        return
    try:
        yield data
    except InvalidTable:
        with data.open("rb") as source:
            _transcode(source, None, charset, is_stopped)
        raise


def _transcode(
    source: IO[bytes], target: IO[bytes] | None, charset: str, is_stopped: Callable[[], bool]
) -> None:
    """Read all of a file; write it as UTF-8, without a byte order mark."""
    decoder = codecs.getincrementaldecoder(CHARSETS[charset])()
    begin, line, is_first = 0, 1, True
    while True:
        if is_stopped():
            raise QueryTimedOut("Loading took longer than this server allows.")
        piece = source.read(PIECE_BYTES)
        before = decoder.getstate()
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as exc:
            at = begin - len(before[0]) + exc.start
            decoder.setstate(before)
            line += decoder.decode(piece[: max(exc.start - len(before[0]), 0)]).count("\n")
            raise _refusal(charset, exc, at, line) from exc
        begin += len(piece)
        line += text.count("\n")
        if target is not None:
            target.write(text.removeprefix(_MARK).encode() if is_first else text.encode())
        is_first = is_first and not text
        if not piece:
            return


def _refusal(charset: str, exc: UnicodeDecodeError, at: int, line: int) -> InvalidTable:
    byte = f"0x{exc.object[exc.start]:02x}"
    advice = (
        'If it is in another charset, say so: "Content-Type: text/csv; charset=windows-1252".'
        if charset == UTF_8
        else f'The header "Content-Type" says charset={charset}.'
    )
    return InvalidTable(
        f"The data is not {charset}: byte {at} ({byte}), in line {line}, is no character. {advice}",
        offset=at,
        line=line,
    )
