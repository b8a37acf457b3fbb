"""From source text to a function: compiling once, a fresh namespace for every run.

The text is executed as the module `fanfold_script`, so that classes defined in it can be pickled by
`multiprocessing` and inspected by `dataclasses` and `typing`.
"""

import ast
import linecache
import sys
import types
import warnings

MODULE = "fanfold_script"

_PURE_MODULES = frozenset(("math", "cmath", "itertools", "functools", "operator", "fractions"))
_IMPURE_NAMES = frozenset(
    (
        "print open input exec eval compile globals locals vars getattr setattr delattr breakpoint help exit quit "
        "super type object classmethod id hash"
    ).split()
)


class Program:
    """A compiled source text.

    Attributes:
        filename: what tracebacks call the text.
        independent: one call cannot leave anything to the next or to the outside: no state, no
            randomness, no output. Only then may a lease skip what is done around each call.
    """

    def __init__(self, name, entry, source):
        self.name = name
        self.entry = entry
        self.filename = "<%s>" % name
        self.independent = False
        self.wants_generator = False
        self._source = source
        self._lines = source.splitlines(True)
        self._code = None

    def load(self):
        """Execute the text in a fresh module and return (module, function).

        Raises:
            BaseException: whatever compiling or executing the text raises.
        """
        if self._code is None:
            tree = ast.parse(self._source, self.filename)
            self.independent = _is_independent(tree)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                self._code = compile(tree, self.filename, "exec", dont_inherit=True)
        linecache.cache[self.filename] = (len(self._source), None, self._lines, self.filename)
        module = types.ModuleType(MODULE)
        sys.modules[MODULE] = module
        exec(self._code, module.__dict__)
        function = module.__dict__.get(self.entry)
        if not callable(function):
            raise NameError("the script defines no function named %r" % self.entry)
        code = getattr(function, "__code__", None)
        if code is not None:
            named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            self.wants_generator = "rng" in named
        else:
            self.independent = False
        return module, function


def unload():
    """Forget the module of the last run."""
    sys.modules.pop(MODULE, None)


def _is_independent(tree):
    """Say whether the text is so plain that its calls cannot touch one another or the outside.

    Errs on the side of "no": only functions with constant defaults at the top, pure modules, no
    names that reach the interpreter's inside, no stores into anything but local names and items.
    """
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.FunctionDef):
            if node.decorator_list:
                return False
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            continue  # a constant: without `global` no call can change it
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            if not all(alias.name in _PURE_MODULES for alias in node.names):
                return False
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module not in _PURE_MODULES:
                return False
            if any(alias.name.startswith("_") or alias.name == "*" for alias in node.names):
                return False
        elif isinstance(node, ast.Name):
            if node.id in _IMPURE_NAMES or node.id.startswith("__"):
                return False
        elif isinstance(node, ast.Attribute):
            if node.attr.startswith("_") or not isinstance(node.ctx, ast.Load):
                return False
            if node.attr in ("cache", "lru_cache", "cached_property", "singledispatch"):
                return False
        elif isinstance(node, (ast.Global, ast.Nonlocal, ast.ClassDef, ast.AsyncFunctionDef)):
            return False
        elif isinstance(node, ast.arguments):
            defaults = [d for d in (*node.defaults, *node.kw_defaults) if d is not None]
            if not all(isinstance(d, ast.Constant) for d in defaults):
                return False
    return True
