"""What a call raised, told in terms of the user's own source."""

from __future__ import annotations

import builtins
import traceback
from typing import Any

MAX_MESSAGE = 10_000
"""Characters of an exception's message that are kept."""

MAX_FRAMES = 40
"""Frames of a traceback that are kept: the first and the last half."""

MAX_LINKS = 5
"""Exceptions that led to one and are told with it; members of a group; notes."""

MAX_NOTE = 1000
"""Characters of a note that are kept."""

MAX_TEXT = 200_000
"""Characters of a traceback that are kept: the first and the last half."""

MAX_DEPTH = 2
"""Groups within one another whose members are told."""

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"

_OWN_MODULES = ("builtins", "fanfold_script")
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())
"""New in Python 3.11; before, nothing is an instance of it."""


def describe(exc: BaseException, filename: str) -> tuple[str, str, str]:
    """Return (type name, message, traceback text) of an exception, all valid Unicode.

    The traceback holds the frames of the file `filename` alone, so that a user sees their own
    lines and nothing of ours or of a library's inside; with what led to the exception, its notes,
    and the members of a group. Whatever the exception's own methods do, it is told.
    """
    name = _name(type(exc))
    message = _message(exc)
    try:
        text = _traceback(exc, name, message, filename)
    except BaseException:  # a script may have replaced what formatting needs
        text = "%s: %s\n" % (name, message)
    if len(text) > MAX_TEXT:
        half = MAX_TEXT // 2
        mark = "\n… (%d characters more)\n" % (len(text) - MAX_TEXT)
        text = text[:half] + mark + text[-half:]
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
    """Tell an exception after what led to it, and before the members of a group."""
    told = _told(exc, name, message, filename)
    seen = {id(exc)}
    earlier = exc
    while len(seen) <= MAX_LINKS:
        found, word = _what_led_to(earlier)
        if found is None or id(found) in seen or not _frames(found, filename):
            break  # without frames of the script: a library's own affair
        earlier = found
        seen.add(id(earlier))
        told = _told(earlier, _name(type(earlier)), _message(earlier), filename) + word + told
    return told


def _what_led_to(exc: BaseException) -> tuple[BaseException | None, str]:
    if exc.__cause__ is not None:
        return exc.__cause__, _CAUSE
    return (None if exc.__suppress_context__ else exc.__context__), _CONTEXT


def _frames(exc: BaseException, filename: str) -> list[tuple[str, int, str, None]]:
    """Return the frames that are the script's own."""
    return [
        (filename, line, frame.f_code.co_name, None)
        for frame, line in traceback.walk_tb(exc.__traceback__)
        if frame.f_code.co_filename == filename
    ]


def _told(exc: BaseException, name: str, message: str, filename: str, depth: int = 0) -> str:
    """Tell one exception: the script's frames, the message, its notes, its members."""
    frames = _frames(exc, filename)
    if len(frames) > MAX_FRAMES:
        frames[MAX_FRAMES // 2 : -MAX_FRAMES // 2] = []
    if isinstance(exc, SyntaxError):
        lines = traceback.format_exception_only(type(exc), exc)
    else:
        lines = ["%s: %s\n" % (name, message) if message else name + "\n", *_notes(exc)]
    head = ["Traceback (most recent call last):\n"] if frames else []
    told = [*head, *traceback.StackSummary.from_list(frames).format(), *lines]
    if isinstance(exc, _GROUP) and depth < MAX_DEPTH:
        for member in exc.exceptions[:MAX_LINKS]:
            whole = _told(member, _name(type(member)), _message(member), filename, depth + 1)
            told += ["  | %s\n" % line for line in whole.splitlines()]
    return "".join(told)


def _notes(exc: BaseException) -> list[str]:
    """Return what was added with `add_note`."""
    notes = getattr(exc, "__notes__", ())
    if not isinstance(notes, (list, tuple)):
        return []
    return [note[:MAX_NOTE] + "\n" for note in notes[:MAX_LINKS] if isinstance(note, str)]


def _valid(text: str) -> str:
    """Return the text with lone surrogates written out: it must be sent as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
