"""Puts the process back after a run, so that the next run of the same owner starts as the first.

What can be put back is put back: working directory, environment, umask, streams, warnings, signal
handlers and timers, recursion limit, NumPy's error state and print options, matplotlib's
rcParams and figures. What cannot makes the worker unfit: threads, child processes and descriptors
that were left, library functions that were replaced, memory that was not given back.
"""

from __future__ import annotations

import _thread
import gc
import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanfold_runtime.capture import Output

_WATCHED = """
    builtins os sys io json json.encoder json.decoder math random time datetime pickle threading
    subprocess numpy numpy.random numpy.linalg pandas matplotlib matplotlib.pyplot
    """.split()  # noqa: SIM905  # a list of words is read as words

_VOLATILE = frozenset(
    """
    argv environ environb last_exc last_traceback last_type last_value modules path rcParams show
    stderr stdin stdout switch_backend use
    """.split()  # noqa: SIM905
)

MEMORY_GROWTH_BYTES = 512 << 20
"""Resident memory that a worker may gain over its first run before it is replaced."""


class Restorer:
    """Knows how the process looked before the first run.

    Args:
        probe: a descriptor of ours; the lowest free number next to it tells whether any were left.
    """

    def __init__(self, probe: int) -> None:
        self._probe = probe
        self._cwd = os.getcwd()
        self._environ = dict(os.environ)
        self._path = list(sys.path)
        self._filters = list(warnings.filters)
        self._limit = sys.getrecursionlimit()
        self._switch = sys.getswitchinterval()
        self._handlers = {n: signal.getsignal(n) for n in signal.valid_signals()}
        self._threads = _threads()
        self._free = self._lowest_free()
        self._np: Any = sys.modules.get("numpy")
        self._np_state = (self._np.geterr(), self._np.get_printoptions()) if self._np else ({}, {})
        mpl: Any = sys.modules.get("matplotlib")
        self._rc: dict[str, Any] | None = None if mpl is None else dict.copy(mpl.rcParams)
        self._functions = _fingerprint()
        self._resident = 0

    def allow_thread(self) -> None:
        """Count one more thread as ours."""
        self._threads += 1

    def restore(self, output: Output) -> str | None:
        """Put things back; return why the worker is unfit for another run, or None."""
        unfit = self._unfit()
        if unfit:
            return unfit
        output.restore()
        os.chdir(self._cwd)
        os.umask(0o077)
        if dict(os.environ) != self._environ:
            os.environ.clear()
            os.environ.update(self._environ)
        sys.path[:] = self._path
        if warnings.filters != self._filters:
            warnings.resetwarnings()  # tells the C side that the list changed
            warnings.filters[:] = self._filters  # type: ignore[index]  # a list in truth
        sys.setrecursionlimit(self._limit)
        sys.setswitchinterval(self._switch)
        sys.settrace(None)
        sys.setprofile(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        if self._np is not None:
            errors, printing = self._np_state
            self._np.seterr(**errors)
            if self._np.get_printoptions() != printing:
                self._np.set_printoptions(**printing)
        mpl: Any = sys.modules.get("matplotlib")
        if mpl is not None:
            if self._rc is None:  # imported by this run
                self._rc = dict.copy(mpl.rcParamsOrig)
            if dict.copy(mpl.rcParams) != self._rc:
                dict.update(mpl.rcParams, self._rc)
        if not gc.isenabled():
            gc.enable()
        return None

    def _unfit(self) -> str | None:
        if _threads() != self._threads:
            return "a thread was left running"
        try:
            os.waitpid(-1, os.WNOHANG)
            return "a child process was left"
        except ChildProcessError:
            pass
        if self._lowest_free() != self._free:
            return "descriptors were left open or closed"
        for values, names, before in self._functions:
            for name, value in zip(names, before):
                if values.get(name) is not value:
                    return "%s.%s was replaced" % (values.get("__name__"), name)
        resident = _resident_bytes()
        if not self._resident:
            self._resident = resident
        elif resident > self._resident + MEMORY_GROWTH_BYTES:
            return "memory grew to %d MiB" % (resident >> 20)
        return None

    def _lowest_free(self) -> int:
        number = os.dup(self._probe)
        os.close(number)
        return number


def _threads() -> int:
    return _thread._count()  # noqa: SLF001  # counts those that threading does not know, too


def _fingerprint() -> list[tuple[dict[str, Any], list[str], list[Any]]]:
    """[(module's dict, public names, what they stand for)] of the modules that matter."""
    marks = []
    for name in _WATCHED:
        module = sys.modules.get(name)
        if module is None:
            continue
        values = vars(module)
        names = [
            n
            for n, v in values.items()
            if callable(v) and not n.startswith("_") and n not in _VOLATILE
        ]
        marks.append((values, names, [values[n] for n in names]))
    return marks


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as f:
            return int(f.read().split()[1]) * 4096
    except OSError:  # not Linux: growth is not watched
        return 0
