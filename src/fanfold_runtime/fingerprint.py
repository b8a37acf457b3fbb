"""What well-known functions and constants stand for, to see whether a script has replaced one.

Only what could be called at the beginning is looked at: what a script adds is no harm.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from typing import Any, Callable

MODULES = """
    builtins os sys io json json.encoder json.decoder math random time datetime pickle threading
    subprocess traceback warnings signal socket struct
    numpy numpy.random numpy.linalg pandas matplotlib matplotlib.pyplot
    """.split()  # noqa: SIM905  # a list of words is read as words

_CLASSES = {
    "json.encoder": ("JSONEncoder",),
    "json.decoder": ("JSONDecoder",),
    "random": ("Random",),
    "threading": ("Thread",),
    "pandas": ("DataFrame", "Series", "Index"),
    "matplotlib.pyplot": ("Figure", "Axes"),
}

_MENDED = {
    "sys": (
        "breakpointhook",
        "displayhook",
        "excepthook",
        "stderr",
        "stdin",
        "stdout",
        "unraisablehook",
    ),
    "threading": ("excepthook",),
    "warnings": ("formatwarning", "showwarning"),
    "matplotlib": ("use",),
    "matplotlib.pyplot": ("show", "switch_backend"),
}
"""What others put back, or keep as it must be."""

_Mark = tuple[str, Mapping[str, Any], Callable[[Any], Any], Any]


class Fingerprint:
    """Functions and constants of modules, methods of classes, as they were when they were added."""

    def __init__(self) -> None:
        self._modules: list[tuple[str, Any]] = []
        self._marks: list[_Mark] = []

    def add(self, module: Any) -> None:
        """Remember a module, and its classes of which we know."""
        name: str = module.__name__
        self._modules.append((name, module))
        self._mark(name, vars(module), _MENDED.get(name, ()))
        for kind in _CLASSES.get(name, ()):
            found = getattr(module, kind, None)
            if isinstance(found, type):
                self._mark("%s.%s" % (name, kind), vars(found), ())

    def _mark(self, name: str, values: Mapping[str, Any], but: tuple[str, ...]) -> None:
        names = [
            n
            for n, v in values.items()
            if (callable(v) or hasattr(v, "__get__") or type(v) is float)
            and not n.startswith("_")
            and n not in but
        ]
        if len(names) > 1:
            get = operator.itemgetter(*names)
            self._marks.append((name, values, get, get(values)))

    def changed(self) -> str | None:
        """Say what was replaced or removed; None if nothing was."""
        modules = sys.modules
        for name, module in self._modules:
            if modules.get(name) is not module:
                return "the module %s was replaced" % name
        for name, values, get, before in self._marks:
            try:
                same = get(values) == before  # identity is tried first, so this costs little
            except KeyError:
                same = False
            if not same:
                return "something of %s was replaced" % name
        return None
