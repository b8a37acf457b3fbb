"""How many threads numerical libraries use, which most of them only ask when they are loaded.

So a zygote has preloaded them with one. What a worker may use is set before a run: by variables for
libraries that are loaded later, and for those that are there by the function that each has for it.

Source: the functions' names are those that threadpoolctl calls; the libraries' own documentation.
"""

from __future__ import annotations

import sys
from typing import Any, Callable

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
)
_LIBRARIES = ("openblas", "libmkl_rt", "libblis", "libgomp", "libomp", "libiomp")
_SETTERS = (
    "openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "scipy_openblas_set_num_threads64_",
    "MKL_Set_Num_Threads",
    "bli_thread_set_num_threads",
    "omp_set_num_threads",
)


class Threads:
    """Sets the number.

    Attributes:
        number: what is set.
    """

    def __init__(self) -> None:
        self._setters: dict[str, Callable[[int], object]] = {}
        self._modules = 0
        self.number = 1
        self._look()

    def set(self, number: int, keep: Callable[[dict[str, str]], None]) -> None:
        """Let libraries use so many threads, those that are loaded and those that will be.

        Args:
            keep: sets variables such that they stay from one run to the next.
        """
        self.number = number
        keep(dict.fromkeys(VARIABLES, str(number)))
        self._look()
        for setter in self._setters.values():
            setter(number)

    def hold(self) -> None:
        """Set the number again where a script may have set another."""
        if "threadpoolctl" in sys.modules:
            self._look()
            for setter in self._setters.values():
                setter(self.number)

    def _look(self) -> None:
        """Find the functions of libraries that have been loaded since the last look."""
        if len(sys.modules) == self._modules:
            return
        self._modules = len(sys.modules)
        for path in sorted(_loaded() - self._setters.keys()):
            found = _setter_of(path)
            if found is not None:
                self._setters[path] = found


def _loaded() -> set[str]:
    """Return the paths of the numerical libraries in this process."""
    try:
        with open("/proc/self/maps") as file:
            paths = {line.rstrip("\n").partition("/")[2] for line in file if "/" in line}
    except OSError:  # not Linux: variables have to do
        return set()
    return {"/" + path for path in paths if _is_numerical(path.rpartition("/")[2])}


def _is_numerical(name: str) -> bool:
    return any(word in name for word in _LIBRARIES)


def _setter_of(path: str) -> Callable[[int], object] | None:
    try:
        import ctypes

        library: Any = ctypes.CDLL(path)
    except (ImportError, OSError):
        return None
    for name in _SETTERS:
        function = getattr(library, name, None)
        if function is not None:
            function.argtypes = [ctypes.c_long]
            function.restype = None
            setter: Callable[[int], object] = function
            return setter
    return None
