"""What a call raised, told in terms of the user's own source."""

from __future__ import annotations

import traceback

MAX_MESSAGE = 10_000
"""Characters of an exception's message that are kept."""

MAX_FRAMES = 40
"""Frames of a traceback that are kept: the first and the last half."""

_OWN_MODULES = ("builtins", "fanfold_script")


def describe(exc: BaseException, filename: str) -> tuple[str, str, str]:
    """Return (type name, message, traceback text) of an exception, all valid Unicode.

    The traceback holds the frames of the file `filename` alone, so that a user sees their own
    lines and nothing of ours or of a library's inside. Whatever the exception's own methods do, it
    is told.
    """
    name = _name(type(exc))
    message = _message(exc)
    try:
        text = _traceback(exc, name, message, filename)
    except BaseException:  # a script may have replaced what formatting needs
        text = "%s: %s\n" % (name, message)
    return name, message, _valid(text)


def _name(kind: type) -> str:
    try:
        name = str.__str__(kind.__qualname__)
        module = kind.__module__
        return _valid(name if module in _OWN_MODULES else "%s.%s" % (module, name))
    except BaseException:  # a user's metaclass may do anything
        return "Exception"


def _message(exc: BaseException) -> str:
    try:
        message = str.__str__(str(exc))
    except BaseException as inner:
        return "<its text could not be made: %s>" % _name(type(inner))
    if len(message) > MAX_MESSAGE:
        message = message[:MAX_MESSAGE] + "… (%d characters more)" % (len(message) - MAX_MESSAGE)
    return _valid(message)


def _traceback(exc: BaseException, name: str, message: str, filename: str) -> str:
    frames = [
        (filename, line, frame.f_code.co_name, None)
        for frame, line in traceback.walk_tb(exc.__traceback__)
        if frame.f_code.co_filename == filename
    ]
    if len(frames) > MAX_FRAMES:
        frames[MAX_FRAMES // 2 : -MAX_FRAMES // 2] = []
    if isinstance(exc, SyntaxError):
        lines = traceback.format_exception_only(type(exc), exc)
    else:
        lines = ["%s: %s\n" % (name, message) if message else name + "\n"]
    head = ["Traceback (most recent call last):\n"] if frames else []
    return "".join([*head, *traceback.StackSummary.from_list(frames).format(), *lines])


def _valid(text: str) -> str:
    """Return the text with lone surrogates written out: it must be sent as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
