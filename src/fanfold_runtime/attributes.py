"""Attributes of modules that scripts set to have something their way, and that are put back.

What is listed is found in use. To replace a function is another matter: see `fingerprint.py`.
"""

from __future__ import annotations

from typing import Any, Callable

ATTRIBUTES = {
    "builtins": ("__build_class__", "__import__"),
    "json": ("_default_decoder", "_default_encoder"),
    "logging": (
        "_logRecordFactory",
        "_loggerClass",
        "_warnings_showwarning",
        "lastResort",
        "raiseExceptions",
    ),
    "os": ("environ",),
    "pickle": ("DEFAULT_PROTOCOL",),
    "ssl": ("_create_default_https_context",),
    "sys": (
        "__stdin__",
        "breakpointhook",
        "displayhook",
        "dont_write_bytecode",
        "excepthook",
        "executable",
        "pycache_prefix",
        "stdin",
        "tracebacklimit",
        "unraisablehook",
    ),
    "threading": ("_profile_hook", "_trace_hook", "excepthook"),
    "urllib.request": ("_opener",),
    "warnings": ("filters", "formatwarning", "showwarning"),
}

_MISSING = object()


def keep(module: Any) -> Callable[[], None]:
    """Remember a module's attributes; return what puts them back."""
    values = vars(module)
    before = [(name, values.get(name, _MISSING)) for name in ATTRIBUTES[module.__name__]]

    def mend() -> None:
        for name, value in before:
            if values.get(name, _MISSING) is not value:
                if value is _MISSING:
                    delattr(module, name)
                else:
                    setattr(module, name, value)

    return mend
