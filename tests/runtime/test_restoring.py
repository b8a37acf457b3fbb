"""After a run, its worker is as before the first; a worker that cannot be is replaced."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from fanfold_server.model.environment import Environment
from tests.runtime.bench import Engine, opened


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a run may leave behind. `do` leaves it, `look` is an expression that would see it."""

    do: str
    look: str


MENDED = {
    "working directory": Trace(do="os.chdir('/')", look="os.path.basename(os.getcwd())[0]"),
    "file in it": Trace(do="open('left', 'w').close()", look="os.listdir('.')"),
    "environment": Trace(
        do="os.environ['LEFT'] = '1'; del os.environ['PATH']",
        look="[os.environ.get('LEFT'), os.environ['PATH'][-4:]]",
    ),
    "time zone": Trace(
        do="import time; os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()",
        look="__import__('time').strftime('%Z', (2000, 1, 1, 0, 0, 0, 0, 1, 0))",
    ),
    "umask": Trace(do="os.umask(0)", look="os.umask(os.umask(0o77))"),
    "warning filters": Trace(
        do="import warnings; warnings.simplefilter('error')",
        look="__import__('warnings').warn('w')",
    ),
    "warning display": Trace(
        do="import warnings; warnings.showwarning = lambda *_: 1 / 0",
        look="__import__('warnings').warn('w')",
    ),
    "recursion limit": Trace(do="sys.setrecursionlimit(90)", look="sys.getrecursionlimit()"),
    "switch interval": Trace(do="sys.setswitchinterval(1)", look="sys.getswitchinterval()"),
    "stack size": Trace(
        do="import threading; threading.stack_size(1 << 20)",
        look="__import__('threading').stack_size()",
    ),
    "errors of logging": Trace(
        do="import logging; logging.raiseExceptions = False",
        look="__import__('logging').raiseExceptions",
    ),
    "trace": Trace(do="sys.settrace(lambda *_: None)", look="sys.gettrace()"),
    "profile": Trace(do="sys.setprofile(lambda *_: None)", look="sys.getprofile()"),
    "signal handler": Trace(
        do="signal.signal(signal.SIGTERM, lambda *_: None)",
        look="signal.getsignal(signal.SIGTERM) is signal.SIG_DFL",
    ),
    "ignored signal": Trace(
        do="signal.signal(signal.SIGINT, signal.SIG_IGN)",
        look="signal.getsignal(signal.SIGINT) is signal.default_int_handler",
    ),
    "signal mask": Trace(
        do="signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])",
        look="len(signal.pthread_sigmask(signal.SIG_BLOCK, []))",
    ),
    "alarm": Trace(do="signal.alarm(1000)", look="signal.getitimer(signal.ITIMER_REAL)"),
    "processor clock": Trace(
        do="signal.setitimer(signal.ITIMER_PROF, 1000)",
        look="signal.getitimer(signal.ITIMER_PROF)",
    ),
    "processors": Trace(
        do="os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
        look="len(os.sched_getaffinity(0))",
    ),
    "replaced stdout": Trace(
        do="import io; sys.stdout = io.StringIO()", look="type(sys.stdout).__name__"
    ),
    "removed stdout": Trace(do="del sys.stdout", look="type(sys.stdout).__name__"),
    "closed stdout": Trace(do="sys.stdout.close()", look="sys.stdout.closed"),
    "detached stdout": Trace(do="sys.stdout.detach()", look="print('x')"),
    "stdout in ASCII": Trace(
        do="sys.stdout.reconfigure(encoding='ascii', errors='strict')",
        look="[sys.stdout.encoding, sys.stdout.errors, print('é')]",
    ),
    "stderr with other line ends": Trace(
        do="sys.stderr.reconfigure(newline='\\r\\n')",
        look="[sys.stderr.write('\\n'), os.pread(2, 9, 0).decode()]",
    ),
    "silenced stdout": Trace(
        do="sys.stdout.write = lambda text: len(text)", look="'write' in vars(sys.stdout)"
    ),
    "silenced buffer": Trace(
        do="sys.stdout.buffer.write = len", look="'write' in vars(sys.stdout.buffer)"
    ),
    "stdout elsewhere": Trace(
        do="n = os.open('/dev/null', os.O_WRONLY); os.dup2(n, 1); os.close(n)",
        look="'null' in os.readlink('/proc/self/fd/1')",
    ),
    "module path": Trace(do="sys.path.insert(0, '/left')", look="'/left' in sys.path"),
    "replaced module path": Trace(do="sys.path = []", look="len(sys.path) > 2"),
    "arguments": Trace(do="sys.argv.append('left')", look="sys.argv"),
    "hooks": Trace(
        do="sys.excepthook = sys.displayhook = print",
        look="sys.excepthook is sys.__excepthook__ and sys.displayhook is sys.__displayhook__",
    ),
    "finders": Trace(do="sys.meta_path.insert(0, object())", look="len(sys.meta_path)"),
    "garbage collector": Trace(do="import gc; gc.disable()", look="__import__('gc').isenabled()"),
    "garbage threshold": Trace(
        do="import gc; gc.set_threshold(9)", look="__import__('gc').get_threshold()"
    ),
    "decimals": Trace(
        do="import decimal; decimal.getcontext().prec = 3",
        look="__import__('decimal').getcontext().prec",
    ),
    "locale": Trace(
        do="import locale; locale.setlocale(locale.LC_ALL, 'C')",
        look="__import__('locale').setlocale(__import__('locale').LC_ALL)",
    ),
    "logging": Trace(
        do="import logging; logging.basicConfig(level=10); logging.disable(40)",
        look="(lambda l: [len(l.root.handlers), l.root.level, l.root.manager.disable])"
        "(__import__('logging'))",
    ),
    "script module": Trace(do="None", look="sys.modules['fanfold_script'].__dict__.get('left')"),
}

MENDED_IN_LIBRARIES = {
    "numpy errors": Trace(
        do="import numpy as np; np.seterr(all='raise')", look="__import__('numpy').geterr()"
    ),
    "numpy buffer": Trace(
        do="import numpy as np; np.setbufsize(1600)", look="__import__('numpy').getbufsize()"
    ),
    "numpy printing": Trace(
        do="import numpy as np; np.set_printoptions(precision=2)",
        look="__import__('numpy').get_printoptions()['precision']",
    ),
    "rcParams": Trace(
        do="import matplotlib as m; m.rcParams['figure.dpi'] = 33",
        look="__import__('matplotlib').rcParams['figure.dpi']",
    ),
    "style": Trace(
        do="import matplotlib.pyplot as plt; plt.style.use('ggplot'); plt.xkcd()",
        look="__import__('matplotlib').rcParams['axes.facecolor']",
    ),
    "seaborn theme": Trace(
        do="import seaborn; seaborn.set_theme(color_codes=True, palette='pastel')",
        look="[__import__('matplotlib').colors.to_hex(c) for c in 'bgrmyck']",
    ),
    "pandas options": Trace(
        do="import pandas; pandas.set_option('display.max_rows', 3)",
        look="__import__('pandas').get_option('display.max_rows')",
    ),
}

NOT_MENDED = {
    "thread": Trace(
        do="import threading; threading.Thread(target=signal.pause, daemon=True).start()",
        look="__import__('threading').active_count()",
    ),
    "child": Trace(do="os.fork() or signal.pause()", look="__import__('glob').glob('/none')"),
    "dead child": Trace(do="os.fork() or os._exit(0)", look="None"),
    "orphan": Trace(
        do="import subprocess; subprocess.run('sleep 60 &', shell=True)",
        look="None",
    ),
    "open descriptor": Trace(do="os.open('/dev/null', 0)", look="len(os.listdir('/proc/self/fd'))"),
    "open descriptor behind a closed one": Trace(
        do="n = os.dup(0); os.dup(0); os.close(n)", look="len(os.listdir('/proc/self/fd'))"
    ),
    "closed stdin": Trace(do="os.close(0)", look="os.fstat(0) and None"),
    "other stdin": Trace(
        do="r, w = os.pipe(); os.dup2(r, 0); os.close(r); os.close(w)",
        look="os.readlink('/proc/self/fd/0')",
    ),
    "built-in function": Trace(
        do="import builtins; builtins.divmod = lambda a, b: 5", look="divmod(7, 2)"
    ),
    "removed built-in function": Trace(
        do="import builtins; del builtins.sorted", look="sorted([2, 1])"
    ),
    "json": Trace(
        do="import json; json.dumps = lambda _: 'x'", look="__import__('json').dumps([1])"
    ),
    "class of json": Trace(
        do="import json; json.JSONEncoder.default = lambda s, o: 'x'",
        look="__import__('json').JSONEncoder().default.__code__.co_name",
    ),
    "replaced module": Trace(
        do="import json; sys.modules['json'] = sys", look="__import__('json').__name__"
    ),
    "directory": Trace(do="os.mkdir('left')", look="os.listdir('.')"),
    "closed working directory": Trace(do="os.chmod('.', 0)", look="os.stat('.').st_mode & 0o777"),
    "limit": Trace(
        do="import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))",
        look="__import__('resource').getrlimit(__import__('resource').RLIMIT_NOFILE)",
    ),
    "niceness": Trace(do="os.nice(3)", look="os.nice(0)"),
}

NOT_MENDED_IN_LIBRARIES = {
    "constant of numpy": Trace(do="import numpy; numpy.pi = 3.0", look="__import__('numpy').pi"),
    "numpy": Trace(
        do="import numpy; numpy.mean = None", look="float(__import__('numpy').mean([1, 3]))"
    ),
    "class of pandas": Trace(
        do="import pandas; pandas.DataFrame.sum = None",
        look="__import__('pandas').DataFrame.sum.__name__",
    ),
    "matplotlib": Trace(
        do="import matplotlib.pyplot as p; p.plot = None",
        look="__import__('matplotlib.pyplot').pyplot.plot.__name__",
    ),
}

PROLOGUE = "import os, signal, sys\n"


def look_at(engine: Engine, trace: Trace) -> tuple[int, object]:
    """Return (process, what the trace's expression finds there)."""
    source = PROLOGUE + f"def f(i): return [os.getpid(), {trace.look}]"
    pid, found = engine.run(source).value
    return pid, found


def leave(engine: Engine, trace: Trace) -> int:
    """Leave the trace; return the process."""
    source = PROLOGUE + f"def f(i):\n    pid = os.getpid(); {trace.do}\n    return pid"
    pid: int = engine.run(source).value
    return pid


def needs_libraries(engine: Engine) -> None:
    if engine.environment.name != "default":
        pytest.skip("this environment does not have them")


@pytest.mark.parametrize("name", MENDED)
def test_what_can_be_put_back_is(anywhere: Engine, name: str) -> None:
    trace = MENDED[name]
    before = look_at(anywhere, trace)
    assert leave(anywhere, trace) == before[0], "it is the same worker"
    assert look_at(anywhere, trace) == before


@pytest.mark.parametrize("name", MENDED_IN_LIBRARIES)
def test_what_can_be_put_back_in_libraries_is(engine: Engine, name: str) -> None:
    trace = MENDED_IN_LIBRARIES[name]
    before = look_at(engine, trace)
    assert leave(engine, trace) == before[0], "it is the same worker"
    assert look_at(engine, trace) == before


@pytest.mark.parametrize("name", NOT_MENDED)
def test_a_worker_that_cannot_be_put_back_is_replaced(anywhere: Engine, name: str) -> None:
    _replaced(anywhere, NOT_MENDED[name])


@pytest.mark.parametrize("name", NOT_MENDED_IN_LIBRARIES)
def test_a_worker_whose_libraries_were_changed_is_replaced(engine: Engine, name: str) -> None:
    _replaced(engine, NOT_MENDED_IN_LIBRARIES[name])


def test_a_worker_whose_directory_is_gone_is_replaced(libraries: Environment) -> None:
    """Where nothing confines it: elsewhere it cannot be deleted."""
    cache = Path(tempfile.mkdtemp(prefix="cache-"))
    try:
        with opened(libraries, cache, isolation="none") as engine:
            _replaced(engine, Trace(do="os.rmdir(os.getcwd())", look="os.listdir('.')"))
    finally:
        shutil.rmtree(cache)


def _replaced(engine: Engine, trace: Trace) -> None:
    before = look_at(engine, trace)
    assert leave(engine, trace) == before[0], "it is the same worker"
    after = look_at(engine, trace)
    assert after[0] != before[0], "the worker was replaced"
    assert after[1] == before[1]


def test_a_thread_that_was_waited_for_is_no_reason(anywhere: Engine) -> None:
    trace = Trace(
        do="from concurrent.futures import ThreadPoolExecutor as P\n"
        "    with P(4) as p: list(p.map(abs, range(20)))",
        look="0",
    )
    pids = {leave(anywhere, trace) for _ in range(5)}
    assert len(pids) == 1


def test_children_that_were_waited_for_are_no_reason(anywhere: Engine) -> None:
    trace = Trace(do="import subprocess; subprocess.run(['true'])", look="0")
    assert len({leave(anywhere, trace) for _ in range(4)}) == 1


def test_memory_that_is_not_given_back_is_a_reason(anywhere: Engine) -> None:
    keep = Trace(do="import colorsys; colorsys.left = b'x' * (600 << 20)", look="0")
    first = look_at(anywhere, keep)[0]
    assert leave(anywhere, keep) == first
    assert look_at(anywhere, keep)[0] != first


def test_a_plain_run_keeps_its_worker(anywhere: Engine) -> None:
    """Else all the laws above could hold by replacing every worker."""
    trace = Trace(do="print(i)", look="0")
    assert len({leave(anywhere, trace) for _ in range(5)}) == 1


def test_what_the_runtime_itself_needs_can_be_spoilt_for_one_run_at_most(anywhere: Engine) -> None:
    spoil = Trace(do="import builtins; builtins.len = lambda _: 5", look="len([])")
    before = look_at(anywhere, spoil)
    anywhere.run(PROLOGUE + f"def f(i): {spoil.do}")
    assert look_at(anywhere, spoil)[1] == before[1]
