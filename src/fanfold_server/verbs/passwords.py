"""How the operator's commands are told a password: in the terminal, or on standard input."""

from __future__ import annotations

import sys

import click


def read_password(*, from_stdin: bool, is_new: bool) -> str:
    """Read a password; from standard input, its first line.

    Args:
        is_new: ask for it twice, since nobody else can tell a slip.

    Raises:
        click.ClickException: standard input is not UTF-8.
    """
    if not from_stdin:
        asked = click.prompt("Password", hide_input=True, confirmation_prompt=is_new, err=True)
        return str(asked)
    try:
        line = sys.stdin.buffer.readline().decode("utf-8")
    except UnicodeDecodeError as exc:
        raise click.ClickException("the password on standard input is not UTF-8") from exc
    return line.removesuffix("\n").removesuffix("\r")
