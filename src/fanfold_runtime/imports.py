"""Tells who wants to know that a library has been imported, by the zygote or by a user's script."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Callable

Then = Callable[[Any], None]


class Watcher:
    """A finder that finds nothing by itself, but knows when a library has been imported."""

    def __init__(self) -> None:
        self._wanted: dict[str, list[Then]] = {}
        sys.meta_path.insert(0, self)

    def on(self, name: str, then: Then) -> None:
        """Call `then(module)` once: now if the module is imported, else right after its import."""
        module = sys.modules.get(name)
        if module is not None:
            then(module)
            return
        self._wanted.setdefault(name, []).append(then)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find what the others find, with a loader that tells us."""
        if name not in self._wanted:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find and find(name, path, target)
            if spec:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self._imported)
                return spec
        return None

    def _imported(self, module: ModuleType) -> None:
        for then in self._wanted.pop(module.__name__, ()):
            then(module)


class _Loader:
    """A loader that says when it has loaded, and is gone then."""

    def __init__(self, loader: Any, then: Then) -> None:
        self._loader = loader
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then(module)
