"""What a call raised, told in terms of the user's own source."""

from __future__ import annotations

import traceback

MAX_MESSAGE = 10_000
"""Characters of an exception's message that are kept."""

MAX_FRAMES = 40
"""Frames of a traceback that are kept: the first and the last half."""


def describe(exc: BaseException, filename: str) -> tuple[str, str, str]:
    """Return (type name, message, traceback text) of an exception.

    The traceback holds the frames of the file `filename` alone, so that a user sees their own
    lines and nothing of ours or of a library's inside.
    """
    kind = type(exc)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "fanfold_script") else _full_name(kind)
    )
    try:
        message = str(exc)
    except BaseException as inner:  # a user's __str__ may do anything
        message = "<its text could not be made: %s>" % type(inner).__name__
    if len(message) > MAX_MESSAGE:
        message = message[:MAX_MESSAGE] + "… (%d characters more)" % (len(message) - MAX_MESSAGE)
    frames = []
    try:
        for frame, line in traceback.walk_tb(exc.__traceback__):
            if frame.f_code.co_filename == filename:
                frames.append((filename, line, frame.f_code.co_name, None))
        if len(frames) > MAX_FRAMES:
            frames[MAX_FRAMES // 2 : -MAX_FRAMES // 2] = []
        if isinstance(exc, SyntaxError):
            lines = traceback.format_exception_only(kind, exc)
        else:
            lines = ["%s: %s\n" % (name, message) if message else name + "\n"]
        head = ["Traceback (most recent call last):\n"] if frames else []
        text = "".join([*head, *traceback.StackSummary.from_list(frames).format(), *lines])
    except BaseException:  # a script may have replaced what formatting needs
        text = "%s: %s\n" % (name, message)
    return name, message, text


def _full_name(kind: type) -> str:
    return "%s.%s" % (kind.__module__, kind.__qualname__)
