"""Puts the ways to modules back, and forgets those whose files go with their run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

_LISTS = ("argv", "meta_path", "path", "path_hooks")


class Modules:
    """What is imported, and by which ways."""

    def __init__(self) -> None:
        self._lists = [(name, getattr(sys, name), list(getattr(sys, name))) for name in _LISTS]
        self._known = set(sys.modules)

    def restore(self, places: Iterable[str]) -> None:
        """Put them back.

        Args:
            places: directories that are emptied after each run; what they list is forgotten, too.
        """
        for name, held, content in self._lists:
            if getattr(sys, name, None) is not held:
                setattr(sys, name, held)
            if held != content:
                if name == "meta_path":
                    _keep_finders(held, content)
                held[:] = content
        if len(sys.modules) != len(self._known):
            below = tuple(place + os.sep for place in places)
            for name in sys.modules.keys() - self._known:
                if any(path.startswith(below) for path in _paths(sys.modules[name])):
                    del sys.modules[name]
                else:
                    self._known.add(name)
        for place in places:
            sys.path_importer_cache.pop(place, None)


def _keep_finders(now: list[Any], before: list[Any]) -> None:
    """Add finders that a library has added, which has been imported and will not be again."""
    at = 0
    for finder in now:
        if any(finder is known for known in before):
            at = len(before)
        elif _is_of_library(finder):
            before.insert(at, finder)
            at += 1


def _is_of_library(finder: Any) -> bool:
    owner = finder if isinstance(finder, type) else type(finder)
    module = sys.modules.get(owner.__module__)
    return any(path.startswith(sys.prefix + os.sep) for path in _paths(module))


def _paths(module: Any) -> Iterator[str]:
    """Yield where a module, or the parts of a package without a file of its own, come from."""
    values = getattr(module, "__dict__", {})
    for path in (values.get("__file__"), *_portions(values.get("__path__"))):
        if isinstance(path, str):
            yield path


def _portions(path: Any) -> list[Any]:
    try:
        return list(path or ())
    except Exception:  # anything may stand there
        return []
