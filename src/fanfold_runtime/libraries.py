"""The settings of libraries that a run may change, and that are put back after it.

Each is remembered as it was when the library had just been imported, before any user's code.
"""

from __future__ import annotations

import copy
import functools
import sys
import warnings
from typing import Any, Callable

from fanfold_runtime.imports import Watcher

_CODES = "bgrcmykw"
"""Matplotlib's colours of one letter, which seaborn's themes redefine."""


class Libraries:
    """Puts the settings of the libraries back that have been imported."""

    def __init__(self, watcher: Watcher) -> None:
        self._menders: list[Callable[[], None]] = []
        for name, make in (
            ("numpy", _numpy),
            ("pandas", _pandas),
            ("matplotlib", _matplotlib),
            ("matplotlib.pyplot", _colours),
        ):
            watcher.on(name, functools.partial(self._add, make))

    def _add(self, make: Callable[[Any], Callable[[], None]], module: Any) -> None:
        self._menders.append(make(module))

    def restore(self) -> None:
        for mend in self._menders:
            mend()
        _forget_start_method()


def _numpy(np: Any) -> Callable[[], None]:
    errors, printing, buffer = np.geterr(), np.get_printoptions(), np.getbufsize()

    def mend() -> None:
        np.seterr(**errors)
        if np.getbufsize() != buffer:
            np.setbufsize(buffer)
        if np.get_printoptions() != printing:
            np.set_printoptions(**printing)

    return mend


def _pandas(pd: Any) -> Callable[[], None]:
    config = sys.modules.get("pandas._config.config")
    options: Any = getattr(config, "_global_config", None)
    before = copy.deepcopy(options)

    def mend() -> None:
        if options != before:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some options are deprecated
                for name, value in _flat("", before):
                    if pd.get_option(name) != value:
                        pd.set_option(name, value)

    return mend


def _flat(prefix: str, options: dict[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in options.items():
        whole = prefix + name
        found += _flat(whole + ".", value) if isinstance(value, dict) else [(whole, value)]
    return found


def _matplotlib(mpl: Any) -> Callable[[], None]:
    params = mpl.rcParams
    before = dict.copy(params)

    def mend() -> None:
        if dict.__ne__(params, before):
            dict.update(params, before)

    return mend


def _colours(_plt: Any) -> Callable[[], None]:
    converter = sys.modules["matplotlib.colors"].colorConverter
    before = {code: converter.colors[code] for code in _CODES}

    def mend() -> None:
        if any(converter.colors.get(code) != value for code, value in before.items()):
            converter.colors.update(before)
            converter.cache.clear()

    return mend


def _forget_start_method() -> None:
    """Else a script that sets it could run only once in a process."""
    context: Any = sys.modules.get("multiprocessing.context")
    default: Any = getattr(context, "_default_context", None)
    if getattr(default, "_actual_context", None) is not None:
        default._actual_context = None  # noqa: SLF001  # there is no other way
