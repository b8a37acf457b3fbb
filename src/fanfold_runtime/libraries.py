"""The settings of libraries that a run may change, and that are put back after it.

Each is remembered as it was when the library had just been imported, before any user's code.
"""

from __future__ import annotations

import copy
import functools
import os
import sys
import warnings
from typing import Any, Callable

from fanfold_runtime import attributes
from fanfold_runtime.imports import Watcher

_CODES = "bgrcmykw"
"""Matplotlib's colours of one letter, which seaborn's themes redefine."""


class Libraries:
    """Puts the settings of the libraries back that have been imported."""

    def __init__(self, watcher: Watcher) -> None:
        self._menders: list[Callable[[], None]] = []
        for name in attributes.ATTRIBUTES:
            watcher.on(name, functools.partial(self._add, attributes.keep))
        for name, make in (
            ("csv", _csv),
            ("faulthandler", _faulthandler),
            ("joblib.parallel", _joblib),
            ("matplotlib", _matplotlib),
            ("matplotlib.cm", _colour_maps),
            ("matplotlib.pyplot", _colours),
            ("numpy", _numpy),
            ("numpy.random", _legacy_generator),
            ("pandas", _pandas),
            ("scipy.special", _special),
            ("sklearn", _sklearn),
            ("socket", _socket),
            ("tempfile", _tempfile),
            ("tracemalloc", _tracemalloc),
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
    call = np.geterrcall()

    def mend() -> None:
        np.seterr(**errors)
        if np.geterrcall() is not call:
            np.seterrcall(call)
        if np.getbufsize() != buffer:
            np.setbufsize(buffer)
        if np.get_printoptions() != printing:
            np.set_printoptions(**printing)

    return mend


def _legacy_generator(random: Any) -> Callable[[], None]:
    """What draws behind NumPy's older functions; to seed another kind gives other numbers."""
    get: Any = getattr(random, "get_bit_generator", None)  # of NumPy 1.24
    before = get and get()

    def mend() -> None:
        if get and get() is not before:
            random.set_bit_generator(before)

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


def _colour_maps(cm: Any) -> Callable[[], None]:
    """Let a script's colour maps go with its run: else it could register them only once.

    Those of libraries stay: what has been imported is not imported again.
    """
    maps: Any = getattr(cm, "_colormaps", None)  # of Matplotlib 3.5
    register: Any = getattr(maps, "register", None)
    names: list[str] = []

    @functools.wraps(register)
    def registered(cmap: Any, *args: Any, **options: Any) -> Any:
        known = set(maps)
        register(cmap, *args, **options)
        if _is_asked_by_script():
            names.extend(set(maps) - known)

    def mend() -> None:
        while names:
            maps.unregister(names.pop())

    if register is not None:
        maps.register = registered
    return mend


def _is_asked_by_script() -> bool:
    """Say whether who calls our caller is a module that was not imported."""
    return sys._getframe(2).f_globals.get("__spec__") is None  # noqa: SLF001


def _sklearn(sklearn: Any) -> Callable[[], None]:
    before = sklearn.get_config()

    def mend() -> None:
        if sklearn.get_config() != before:
            sklearn.set_config(**before)

    return mend


def _special(special: Any) -> Callable[[], None]:
    before = special.geterr()

    def mend() -> None:
        if special.geterr() != before:
            special.seterr(**before)

    return mend


def _joblib(parallel: Any) -> Callable[[], None]:
    """What `parallel_config` chooses for this thread, where it is not used with `with`."""
    chosen: Any = getattr(parallel, "_backend", None)

    def mend() -> None:
        if getattr(chosen, "config", None) is not None:
            del chosen.config

    return mend


def _csv(csv: Any) -> Callable[[], None]:
    before = csv.field_size_limit()

    def mend() -> None:
        if csv.field_size_limit() != before:
            csv.field_size_limit(before)

    return mend


def _socket(socket: Any) -> Callable[[], None]:
    before = socket.getdefaulttimeout()

    def mend() -> None:
        if socket.getdefaulttimeout() != before:
            socket.setdefaulttimeout(before)

    return mend


def _tempfile(tempfile: Any) -> Callable[[], None]:
    """Where temporary files go: where the worker is, once somebody has asked."""

    def mend() -> None:
        if tempfile.tempdir is not None and tempfile.tempdir != os.getcwd():
            tempfile.tempdir = None

    return mend


def _tracemalloc(tracemalloc: Any) -> Callable[[], None]:
    def mend() -> None:
        if tracemalloc.is_tracing():
            tracemalloc.stop()

    return mend


def _faulthandler(faulthandler: Any) -> Callable[[], None]:
    """The clock that may end the process when it has run down."""
    was_enabled = faulthandler.is_enabled()

    def mend() -> None:
        faulthandler.cancel_dump_traceback_later()
        if faulthandler.is_enabled() and not was_enabled:
            faulthandler.disable()

    return mend


def _forget_start_method() -> None:
    """Else a script that sets it could run only once in a process."""
    context: Any = sys.modules.get("multiprocessing.context")
    default: Any = getattr(context, "_default_context", None)
    if getattr(default, "_actual_context", None) is not None:
        default._actual_context = None  # noqa: SLF001  # there is no other way
