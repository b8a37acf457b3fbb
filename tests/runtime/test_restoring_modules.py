"""What scripts set in modules goes with their run; what libraries do at their import stays."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.attacks.field import make_environment
from tests.runtime.bench import Engine, opened
from tests.runtime.test_restoring import Trace, _replaced, leave, look_at

MENDED = {
    "digits of integers": Trace(
        do="getattr(sys, 'set_int_max_str_digits', int)(0)",
        look="getattr(sys, 'get_int_max_str_digits', int)()",
    ),
    "length of tracebacks": Trace(
        do="sys.tracebacklimit = 0", look="getattr(sys, 'tracebacklimit', None)"
    ),
    "bytecode": Trace(do="sys.dont_write_bytecode ^= True", look="sys.dont_write_bytecode"),
    "input": Trace(
        do="import io; sys.stdin = io.StringIO('left')", look="sys.stdin and sys.stdin.read()"
    ),
    "import function": Trace(
        do="import builtins as b; was = b.__import__; b.__import__ = lambda *a, **k: was(*a, **k)",
        look="__import__.__class__.__name__",
    ),
    "traces of threads": Trace(
        do="import threading; threading.settrace(print); threading.setprofile(print)",
        look="[vars(__import__('threading'))[n] for n in ('_trace_hook', '_profile_hook')]",
    ),
    "timeout of sockets": Trace(
        do="import socket; socket.setdefaulttimeout(0.5)",
        look="__import__('socket').getdefaulttimeout()",
    ),
    "traced memory": Trace(
        do="import tracemalloc; tracemalloc.start()",
        look="__import__('tracemalloc').is_tracing()",
    ),
    "fault handler": Trace(
        do="import faulthandler; faulthandler.enable()",
        look="__import__('faulthandler').is_enabled()",
    ),
    "debugging of garbage": Trace(
        do="import gc; gc.set_debug(gc.DEBUG_SAVEALL)", look="__import__('gc').get_debug()"
    ),
    "zone of the same name": Trace(
        do="import time; os.environ['TZ'] = 'UTC-3'; time.tzset(); del os.environ['TZ']",
        look="__import__('time').localtime(0).tm_hour",
    ),
    "trust in servers": Trace(
        do="import ssl; ssl._create_default_https_context = ssl._create_unverified_context",
        look="__import__('ssl')._create_default_https_context.__name__",
    ),
    "opener of addresses": Trace(
        do="import urllib.request as u; u.install_opener(u.build_opener())",
        look="__import__('urllib.request').request._opener",
    ),
    "length of fields": Trace(
        do="import csv; csv.field_size_limit(1)", look="__import__('csv').field_size_limit()"
    ),
    "temporary files": Trace(
        do="import tempfile; tempfile.tempdir = '/nowhere'",
        look="__import__('tempfile').gettempdir() == os.getcwd()",
    ),
    "a logger": Trace(
        do="import logging; l = logging.getLogger('own'); l.setLevel(10); l.propagate = False; "
        "l.disabled = True; l.addFilter(print); l.addHandler(logging.StreamHandler())",
        look="(lambda l: [l.level, l.propagate, l.disabled, len(l.filters), len(l.handlers)])"
        "(__import__('logging').getLogger('own'))",
    ),
    "logging of warnings": Trace(
        do="import logging; logging.captureWarnings(True)",
        look="__import__('logging')._warnings_showwarning",
    ),
    "records of logging": Trace(
        do="import logging; logging.setLogRecordFactory(None); logging.addLevelName(20, 'LEFT')",
        look="[__import__('logging').getLogRecordFactory().__name__,"
        " __import__('logging').getLevelName(20)]",
    ),
    "filters of logging": Trace(
        do="import logging; logging.root.addFilter(print); logging.lastResort = None",
        look="[len(__import__('logging').root.filters), bool(__import__('logging').lastResort)]",
    ),
}

MENDED_IN_LIBRARIES = {
    "legacy generator": Trace(
        do="import numpy as np; np.random.set_bit_generator(np.random.PCG64(1))",
        look="__import__('numpy').random.random()",
    ),
    "numpy error function": Trace(
        do="import numpy as np; np.seterrcall(print)", look="__import__('numpy').geterrcall()"
    ),
    "sklearn": Trace(
        do="import sklearn; sklearn.set_config(transform_output='pandas')",
        look="__import__('sklearn').get_config()['transform_output']",
    ),
    "errors of special functions": Trace(
        do="import scipy.special; scipy.special.seterr(all='raise')",
        look="__import__('scipy.special').special.geterr()['singular']",
    ),
    "joblib": Trace(
        do="import joblib; joblib.parallel_config(backend='threading')",
        look="__import__('joblib').parallel.get_active_backend()[0].__class__.__name__",
    ),
    "threads of numerical libraries": Trace(
        do="from threadpoolctl import threadpool_limits as limit; limit(3)",
        look="(__import__('numpy'),"
        " [p['num_threads'] for p in __import__('threadpoolctl').threadpool_info()])[1]",
    ),
    "colour map": Trace(
        do="import matplotlib as m; m.colormaps.register(m.colormaps['hot'], name='left')",
        look="'left' in __import__('matplotlib').colormaps",
    ),
    "level of a library's logger": Trace(
        do="import logging; logging.getLogger('matplotlib').setLevel(50)",
        look="__import__('logging').getLogger('matplotlib').level",
    ),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_was_set_is_put_back(anywhere: Engine, name: str) -> None:
    _put_back(anywhere, MENDED[name])


@pytest.mark.parametrize("name", MENDED_IN_LIBRARIES)
def test_what_was_set_in_libraries_is_put_back(engine: Engine, name: str) -> None:
    _put_back(engine, MENDED_IN_LIBRARIES[name])


def _put_back(engine: Engine, trace: Trace) -> None:
    before = look_at(engine, trace)
    for _ in range(2):  # some could be set only once
        assert leave(engine, trace) == before[0], "it is the same worker"
        assert look_at(engine, trace) == before


def test_a_worker_whose_input_was_closed_is_replaced(anywhere: Engine) -> None:
    _replaced(anywhere, Trace(do="sys.stdin.close()", look="sys.stdin.read()"))


def test_a_clock_that_would_end_the_process_ends_with_its_run(anywhere: Engine) -> None:
    clock = Trace(
        do="import faulthandler; faulthandler.dump_traceback_later(0.3, exit=True)",
        look="__import__('time').sleep(0.5)",
    )
    assert leave(anywhere, clock) == look_at(anywhere, clock)[0]


def test_a_module_that_a_script_has_written_is_read_again(anywhere: Engine) -> None:
    source = """
    import os, sys
    def f(i, text):
        with open("helper.py", "w") as file:
            file.write("NAME = " + repr(text))
        sys.path.insert(0, os.getcwd())
        import helper
        return [os.getpid(), helper.NAME]
    """
    found = [anywhere.run(source, parameters={"text": text}).value for text in ("one", "two")]
    assert [name for _, name in found] == ["one", "two"]
    assert found[0][0] == found[1][0], "it is the same worker"


def test_colour_maps_of_a_library_stay(engine: Engine) -> None:
    """It registers them when it is imported, which happens once."""
    imported = "import os, seaborn\ndef f(i): return os.getpid()"
    drawn = """
    import os, seaborn, matplotlib
    def f(i): return os.getpid() if 'rocket' in matplotlib.colormaps else None
    """
    assert engine.run(imported).value == engine.run(drawn).value


def test_finders_of_a_library_stay(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It adds them when it is imported: `six` does so, for `six.moves`."""
    folder = Path(tempfile.mkdtemp(prefix="finders-"))
    folder.chmod(0o755)
    try:
        environment = make_environment(folder)
        (packages,) = environment.prefix.glob("lib/python*/site-packages")
        (packages / "moving.py").write_text(
            "import importlib.machinery as m, sys\n"
            "class Finder:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        return m.ModuleSpec(name, self) if name == 'moved' else None\n"
            "    def create_module(self, spec): return None\n"
            "    def exec_module(self, module): module.here = True\n"
            "sys.meta_path.append(Finder())\n"
        )
        with opened(environment, tmp_path_factory.mktemp("cache"), preload=()) as engine:
            first = engine.run("import os, moving\ndef f(i): return os.getpid()").value
            later = "import os, moving, moved\ndef f(i): return os.getpid() if moved.here else 0"
            assert engine.run(later).value == first
    finally:
        shutil.rmtree(folder)
