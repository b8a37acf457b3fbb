"""From source text to a function: compiling once, a fresh namespace for every run.

The text is executed as the module `fanfold_script`, so that classes defined in it can be pickled by
`multiprocessing` and inspected by `dataclasses` and `typing`.
"""

from __future__ import annotations

import ast
import linecache
import sys
import types
import warnings
from typing import Any, Callable

from fanfold_runtime.independence import is_independent
from fanfold_runtime.placing import by_position
from fanfold_runtime.randomness import NUMPY, PYTHON, reachable

MODULE = "fanfold_script"

_MAX_DECORATORS = 100
_TAKES_ANY_KEYWORD = 0x08
"""Of a code object's flags: it has `**kwargs`."""


class Script(types.ModuleType):
    """The module that a source text is executed as.

    Attributes:
        filename: what tracebacks call the text.
        source: the text.
    """

    __slots__ = ("filename", "source")

    def __init__(self, source: str, filename: str) -> None:
        super().__init__(MODULE)
        self.source = source
        self.filename = filename


class Program:
    """A compiled source text.

    Attributes:
        filename: what tracebacks call the text.
        independent: one call cannot leave anything to the next or to the outside: no state, no
            randomness, no output. Only then may a lease skip what is done around each call. Known
            once it was compiled, but for what is not a plain function.
        draws: flags of the old generators that it can draw from, once it was compiled.
        by_position: the function's parameters that cannot be given by name, in their order.
    """

    def __init__(self, name: str, entry: str, source: str) -> None:
        self.name = name
        self.entry = entry
        self.filename = "<%s>" % name
        self.independent = False
        self.draws = PYTHON | NUMPY
        self.wants_generator = False
        self.by_position: tuple[str, ...] = ()
        self._source = source
        self._lines = source.splitlines(True)
        self._code: types.CodeType | None = None

    def compile(self) -> types.CodeType:
        """Look through the text, once, and return its code. Raises what compiling it raises."""
        if self._code is None:
            tree = ast.parse(self._source, self.filename)
            self.independent = is_independent(tree)
            self.draws = reachable(tree)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                self._code = compile(tree, self.filename, "exec", dont_inherit=True)
        return self._code

    def load(self) -> tuple[types.ModuleType, Callable[..., Any]]:
        """Execute the text in a fresh module and return (module, function).

        Raises:
            BaseException: whatever compiling or executing the text raises.
        """
        code = self.compile()
        linecache.cache[self.filename] = (len(self._source), None, self._lines, self.filename)
        module = Script(self._source, self.filename)
        sys.modules[MODULE] = module
        exec(code, module.__dict__)
        function = module.__dict__.get(self.entry)
        if not callable(function):
            raise NameError(  # noqa: TRY004  # it is about the name
                "the script defines no function named %r" % self.entry
            )
        self.wants_generator = _takes(function, "rng")
        if hasattr(function, "__code__"):
            self.by_position = by_position(function)
        else:
            self.independent = False
        return module, function


def _takes(function: Any, name: str) -> bool:
    """Say whether a function has a parameter of this name, or what it decorates has it.

    A decorator that takes any keyword hands it on, and `functools.wraps` has noted to whom.
    """
    for _ in range(_MAX_DECORATORS):
        code = getattr(function, "__code__", None)
        if code is not None:
            if name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
                return True
            if not code.co_flags & _TAKES_ANY_KEYWORD:
                return False
        function = getattr(function, "__wrapped__", None)
        if function is None:
            return False
    return False


def unload() -> None:
    """Forget the module of the last run."""
    sys.modules.pop(MODULE, None)
