"""Only a script whose calls cannot touch one another may skip what stands around each call."""

from __future__ import annotations

import ast

import pytest

from fanfold_runtime.independence import is_independent

INDEPENDENT = [
    "def f(i): return i * i",
    '"""What it does."""\nSCALE = 3\ndef f(i): return i * SCALE',
    "import math\ndef f(i): return math.sqrt(i)",
    "from functools import reduce\ndef f(i): return reduce(lambda a, b: a + b, range(i), 0)",
    "import itertools as it\ndef f(i, n=3): return list(it.islice(it.count(i), n))",
    "def f(i):\n    seen = {}\n    seen[i] = [i]\n    seen[i].append(2)\n    return seen",
    "def g(x): return -x\ndef f(i): return sorted([g(i), i], key=lambda v: -v)",
    "def f(i): raise ValueError(i)",
    "def f(i):\n    def inner(k=1): return k + i\n    return inner()",
]

DEPENDENT = [
    "import random\ndef f(i): return random.random()",
    "import numpy as np\ndef f(i): return i",
    "import os\ndef f(i): return os.getpid()",
    "import os.path\ndef f(i): return i",
    "from math import *\ndef f(i): return i",
    "from . import x\ndef f(i): return i",
    "def f(i):\n    import time\n    return time.time()",
    "def f(i, seen=[]): return seen",
    "def f(i, *, seen={}): return seen",
    "def f(i): return (lambda seen=[]: seen)()",
    "seen = []\ndef f(i): return seen.append(i)",
    "seen: list = []\ndef f(i): return i",
    "n = 0\ndef f(i):\n    global n\n    n += 1\n    return n",
    "def f(i):\n    n = 0\n    def g():\n        nonlocal n\n        n += 1\n    return g()",
    "def f(i): f.n = i",
    "import math\ndef f(i): math.pi = i",
    "import math\nmath.pi = 3\ndef f(i): return i",
    "import math\ndef f(i): del math.pi",
    "import functools\n@functools.cache\ndef f(i): return i",
    "import functools\ndef f(i): return functools.lru_cache(g)(i)",
    "from functools import cache\ndef f(i): return i",
    "from operator import attrgetter\ndef f(i): return attrgetter('__dict__')(f)",
    "import operator\ndef f(i): return operator.methodcaller('x')(f)",
    "def f(i): return f.__globals__",
    "def f(i): return ().__class__",
    "def f(i): return __import__('os')",
    "def f(i): return getattr(f, 'x')",
    "def f(i): print(i)",
    "def f(i): return input()",
    "def f(i): return open('x')",
    "def f(i): return eval('i')",
    "def f(i): return hash('i')",
    "def f(i): return id(f)",
    "def f(i): return license()",
    "class C: pass\ndef f(i): return i",
    "async def f(i): return i",
    "f = lambda i: i",
    "for n in range(3):\n    pass\ndef f(i): return i",
    "1 / 0\ndef f(i): return i",
]


@pytest.mark.parametrize("source", INDEPENDENT)
def test_a_plain_script_is_independent(source: str) -> None:
    assert is_independent(ast.parse(source))


@pytest.mark.parametrize("source", DEPENDENT)
def test_what_could_touch_another_call_is_not(source: str) -> None:
    assert not is_independent(ast.parse(source))
