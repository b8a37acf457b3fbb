"""A generator that a script cannot reach is not seeded; any doubt means both."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from fanfold_runtime import randomness
from fanfold_runtime.randomness import NUMPY, PYTHON, reachable

BOTH = PYTHON | NUMPY
REACHED = [
    (0, "def f(i): print(i)"),
    (0, "import json, math\nfrom datetime import date\ndef f(i): return json.dumps(math.sqrt(i))"),
    (0, "class C:\n    def __init__(self): self.n = 1\ndef f(i): return C().n, C.__name__"),
    (NUMPY, "import numpy as np\ndef f(i): return np.random.rand()"),
    (NUMPY, "def f(i):\n    from numpy.random import default_rng\n    return default_rng(i)"),
    (NUMPY, "from numpy import *\ndef f(i): return random.rand()"),
    (PYTHON, "import random, math\ndef f(i): return random.gauss(0, 1)"),
    (PYTHON, "from random import choice\ndef f(i): return choice('ab')"),
    (BOTH, "import numpy, random\ndef f(i): return i"),
    (BOTH, "import pandas as pd\ndef f(i): return i"),
    (BOTH, "import statistics\ndef f(i): return statistics.NormalDist().samples(2)"),
    (BOTH, "import tempfile\ndef f(i): return i"),
    (BOTH, "from . import x\ndef f(i): return i"),
    (BOTH, "from .numpy import x\ndef f(i): return i"),
    (BOTH, "import oml\ndef f(i): return i"),
    (BOTH, "def f(i): return __import__('random').random()"),
    (BOTH, "from importlib import import_module as load\ndef f(i): return i"),
    (BOTH, "def f(i): exec('import random')"),
    (BOTH, "def f(i): return globals()"),
    (BOTH, "def f(i): return print.__self__"),
    (BOTH, "import collections\ndef f(i): return collections._sys.modules['random']"),
    (BOTH, "import numpy as np\ndef f(i): return np.load('x.npy', allow_pickle=True)"),
    (BOTH, "from numpy import load as take\ndef f(i): return take('x.npy')"),
    (BOTH, "import numpy.testing as t\ndef f(i): return i"),
    (BOTH, "import numpy as np\ndef f(i): return getattr(np, 'f2' + 'py')"),
]


@pytest.mark.parametrize(("flags", "source"), REACHED)
def test_what_a_script_can_draw_from(flags: int, source: str) -> None:
    assert reachable(ast.parse(source)) == flags


def test_the_modules_that_draw_from_neither_import_neither() -> None:
    lines = [f"import {name}" for name in sorted(randomness._OTHERS) if name != "__future__"]
    lines += ["import sys", "print({'random', 'numpy'} & set(sys.modules))"]
    command = [sys.executable, "-I", "-S", "-c", "\n".join(lines)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
