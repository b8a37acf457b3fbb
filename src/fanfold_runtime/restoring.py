"""Puts the process back after a run, so that the next run of the same owner starts as the first.

What can be put back is put back: working directory, environment, umask, streams, warnings, signals
and timers, hooks and limits of the interpreter, locale, logging, ways to modules, and the settings
of libraries.
What cannot makes the worker unfit: threads, child processes, descriptors and directories that were
left, limits of the process, library functions that were replaced, memory that was not given back.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # not described anywhere
import _thread
import decimal
import fcntl
import gc
import locale
import os
import resource
import signal
import stat
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fanfold_runtime import datastores, oml
from fanfold_runtime.capture import forget_warnings
from fanfold_runtime.temporary import Temporary

if TYPE_CHECKING:
    from fanfold_runtime.baseline import Baseline
    from fanfold_runtime.capture import Output

MEMORY_GROWTH_BYTES = 512 << 20
"""Resident memory that a worker may gain before it is replaced."""

THREAD_END_S = 0.02
"""How long a thread that was joined may take to be gone."""

_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_DESCRIPTORS = "/proc/self/fd"

_get_digits: Any = getattr(sys, "get_int_max_str_digits", int)
_set_digits: Any = getattr(sys, "set_int_max_str_digits", int)
"""New in security releases of each Python."""


class Restorer:
    """Knows how the process looked before the first run.

    Args:
        output: descriptors 1 and 2 and the streams on them.
        baseline: the libraries.
    """

    def __init__(self, output: Output, baseline: Baseline) -> None:
        self._output = output
        self._baseline = baseline
        self._ours = [(vars(module), dict(vars(module))) for module in (oml, datastores)]
        self._interpreter = _Interpreter()
        self._threads = _count_threads()
        self._descriptors = _descriptors()
        self._stdin = _identity(0)
        self._input = sys.stdin
        self._home = os.getcwd()
        self._home_identity = _identity(self._home)
        self._temporary = Temporary()
        self._emptied = {self._home, os.environ.get("HOME", self._home), *self._temporary.names}
        self._limits = _limits()
        self._priority = os.getpriority(os.PRIO_PROCESS, 0)
        self._resident = _resident_bytes()

    def allow_thread(self) -> None:
        """Count one more thread as ours."""
        self._threads += 1

    def keep_variables(self, variables: dict[str, str]) -> None:
        """Set environment variables that belong to how things are put back."""
        self._interpreter.keep_variables(variables)

    def restore(self) -> str | None:
        """Put things back; return why the worker is unfit for another run, or None."""
        try:
            for reason in self._reasons():
                return reason
            self._output.restore()
            os.chdir(self._home)
            self._baseline.libraries.restore()
            self._interpreter.restore()
            self._baseline.modules.restore(self._emptied)
            self._baseline.loggers.restore()
            self._baseline.threads.hold()
            for now, before in self._ours:
                if now != before:
                    now.clear()
                    now.update(before)
        except BaseException as exc:  # e.g. a script's directory that cannot be entered any more
            return "it could not be put back: %s" % type(exc).__name__
        return None

    def _reasons(self) -> Iterator[str]:
        """Yield why the worker is unfit, cheap questions first."""
        changed = self._baseline.functions.changed()
        if changed:
            yield changed
        if _count_threads() != self._threads and not self._threads_end():
            yield "a thread was left running"
        with suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
            yield "a child process was left"
        if _identity(0) != self._stdin or self._input.closed:
            yield "stdin was closed or replaced"
        now = _descriptors()
        if now != self._descriptors:
            if self._descriptors - now:
                yield "descriptors were closed"
            for number in now - self._descriptors:
                if not _is_of_library(number):
                    yield "a descriptor was left open: %s" % _target(number)
            self._descriptors = now
        if _limits() != self._limits or os.getpriority(os.PRIO_PROCESS, 0) != self._priority:
            yield "limits of the process were changed"
        if _identity(self._home) != self._home_identity or not self._empty_home():
            yield "the working directory was changed, or holds a directory"
        yield from self._temporary.reasons()
        if _peak_bytes() > self._resident + MEMORY_GROWTH_BYTES:
            resident = _resident_bytes()
            if resident > self._resident + MEMORY_GROWTH_BYTES:
                yield "memory grew to %d MiB" % (resident >> 20)

    def _threads_end(self) -> bool:
        """A thread that was joined is counted for a moment longer."""
        deadline = time.monotonic() + THREAD_END_S
        while _count_threads() > self._threads and time.monotonic() < deadline:
            time.sleep(0.0002)
        return _count_threads() == self._threads

    def _empty_home(self) -> bool:
        """Remove the files that were left; say whether that was all."""
        with os.scandir(self._home) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    return False  # libraries may remember a temporary directory
                os.unlink(entry.path)
        return True


class _Interpreter:
    """What a process has one of, and a script may set: remembered and put back."""

    def __init__(self) -> None:
        self._environ = os.environ
        self._variables = dict(os.environ)
        self._encoded = dict(os.environ._data)  # type: ignore[attr-defined]  # noqa: SLF001
        self._zone = _zone()
        self._filters = list(warnings.filters)
        self._recursion = sys.getrecursionlimit()
        self._switch = sys.getswitchinterval()
        self._digits = _get_digits()
        self._stack = threading.stack_size()
        self._collecting = gc.get_threshold()
        self._decimals = decimal.getcontext().copy()
        self._locale = locale.setlocale(locale.LC_ALL)
        self._handlers = {int(n): _signal.getsignal(n) for n in signal.valid_signals()}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

    def keep_variables(self, variables: dict[str, str]) -> None:
        os.environ.update(variables)
        self._variables.update(variables)
        self._encoded = dict(self._environ._data)  # type: ignore[attr-defined]  # noqa: SLF001

    def restore(self) -> None:
        self._restore_variables()
        self._restore_signals()
        os.umask(0o077)
        if warnings.filters != self._filters:
            warnings.filters[:] = self._filters  # type: ignore[index]  # a list in truth
        forget_warnings()
        sys.setrecursionlimit(self._recursion)
        sys.setswitchinterval(self._switch)
        if _get_digits() != self._digits:
            _set_digits(self._digits)
        threading.stack_size(self._stack)
        sys.settrace(None)
        sys.setprofile(None)
        gc.enable()
        gc.set_debug(0)
        gc.set_threshold(*self._collecting)
        decimal.setcontext(self._decimals.copy())
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        _forget_event_loop()

    def _restore_variables(self) -> None:
        # its content as bytes; to decode all of it takes twenty times as long
        if self._environ._data != self._encoded:  # type: ignore[attr-defined]  # noqa: SLF001
            self._environ.clear()
            self._environ.update(self._variables)
        if _zone() != self._zone:
            time.tzset()

    def _restore_signals(self) -> None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number, handler in self._handlers.items():
            if _signal.getsignal(number) is not handler:  # `signal`'s own makes enums of all
                _signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        if self._processors and os.sched_getaffinity(0) != self._processors:
            os.sched_setaffinity(0, self._processors)


def _zone() -> tuple[object, ...]:
    """Many zones share their names."""
    return time.tzname, time.timezone, time.altzone, time.daylight


def _forget_event_loop() -> None:
    """After `asyncio.run`, older Pythons make no event loop for those who ask for one."""
    events: Any = sys.modules.get("asyncio.events")
    if getattr(events, "_event_loop_policy", None) is not None:
        events._event_loop_policy = None  # noqa: SLF001  # its own setter is to be removed


def _count_threads() -> int:
    return _thread._count()  # noqa: SLF001  # counts those that threading does not know, too


def _descriptors() -> set[str]:
    """The numbers of the open descriptors, as text; nothing where the system does not tell."""
    try:
        found = set(os.listdir(_DESCRIPTORS))
    except OSError:
        return set()
    free = os.dup(1)
    os.close(free)
    found.discard(str(free))  # what listed the others
    return found


def _is_of_library(number: str) -> bool:
    """Say whether a descriptor reads a file of this environment, such as matplotlib's fonts."""
    prefixes = tuple(os.path.realpath(p) + "/" for p in (sys.prefix, sys.base_prefix))
    mode = fcntl.fcntl(int(number), fcntl.F_GETFL) & os.O_ACCMODE
    return mode == os.O_RDONLY and _target(number).startswith(prefixes)


def _target(number: str) -> str:
    return os.readlink("%s/%s" % (_DESCRIPTORS, number))


def _identity(where: int | str) -> tuple[int, int, int] | None:
    """What a descriptor or a path stands for; None if it is closed or gone."""
    try:
        found = os.stat(where)
    except OSError:
        return None
    mode = found.st_mode if stat.S_ISDIR(found.st_mode) else 0
    return found.st_dev, found.st_ino, mode


def _limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(limit) for limit in _LIMITS]


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:  # not Linux: the peak has to do
        return _peak_bytes()
