"""Text data in whatever characters it was written: UTF-8 is what is read.

The server does the same with tables that are sent to it, and knows charsets by the same names.
"""

from __future__ import annotations

import codecs
import os

TEXT_FORMS = ("csv", "ndjson")
_UTF_8 = "utf-8"
_UTF_16 = "utf-16"
_MARKS = {
    codecs.BOM_UTF8: _UTF_8,
    codecs.BOM_UTF16_LE: _UTF_16,
    codecs.BOM_UTF16_BE: _UTF_16,
}
_ALIASES = {"ascii": _UTF_8, "us-ascii": _UTF_8, "gbk": "gb18030", "gb2312": "gb18030"}
_PIECE_BYTES = 1 << 20
_MARK = "\ufeff"


class NotText(Exception):
    """The data is not what the charset says; the text is for a person."""


def in_utf8(path: str, charset: str, folder: str) -> str:
    """Return the path of the same text in UTF-8: of the file itself, or of one in the folder.

    Args:
        charset: its name; empty for what a byte order mark says, else UTF-8.

    Raises:
        NotText: there is no such charset, or a byte that it does not have.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(3)
    mark = next((mark for mark in _MARKS if start.startswith(mark)), b"")
    charset = charset or _MARKS.get(mark, _UTF_8)
    codec = _codec(charset)
    is_kept = codec.name == _UTF_8 and not mark
    made = os.path.join(folder, "text")
    with open(path, "rb") as source, open(os.devnull if is_kept else made, "wb") as target:
        decoder = codec.incrementaldecoder()
        begin, line, is_first = 0, 1, True
        while True:
            piece = source.read(_PIECE_BYTES)
            before = len(decoder.getstate()[0])
            try:
                text = decoder.decode(piece, not piece)
            except UnicodeDecodeError as exc:
                line += exc.object[: exc.start].count(b"\n")
                byte, at = exc.object[exc.start], begin - before + exc.start
                raise NotText(
                    "it is not %s: byte %d (0x%02x), in line %d, is no character; --charset names "
                    "another, such as windows-1252" % (charset, at, byte, line)
                ) from None
            if is_first and text:
                text, is_first = text[text.startswith(_MARK) :], False
            if not is_kept:
                target.write(text.encode(_UTF_8, "surrogatepass"))
            begin += len(piece)
            line += text.count("\n")
            if not piece:
                return path if is_kept else made


def _codec(charset: str) -> codecs.CodecInfo:
    folded = charset.strip().lower()
    try:
        codec = codecs.lookup(_ALIASES.get(folded, folded))
    except (LookupError, ValueError):
        codec = None
    if codec is None or not getattr(codec, "_is_text_encoding", True):
        raise NotText(
            "there is no charset %.60r; there are utf-8, utf-16, windows-1250 to windows-1258, "
            "iso-8859-1 to iso-8859-16 and others" % charset
        )
    return codec
