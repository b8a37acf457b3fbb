"""Files of Python, read as Python reads them."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

import click

_CURE = "save it as UTF-8, or say in its first line what it is: # coding: windows-1252"


def script_text(file: Path) -> str:
    """Return a script's text: UTF-8, unless its first two lines say otherwise.

    Raises:
        ClickException: it is not what it says, or does not say what it is.
    """
    content = file.read_bytes()
    encoding = "UTF-8"
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return io.TextIOWrapper(io.BytesIO(content), encoding).read()
    except SyntaxError as exc:
        raise click.ClickException(f"{file}: {exc.msg}: {_CURE}") from exc
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise click.ClickException(f"{file}, line {line}: this is not {encoding}: {_CURE}") from exc
