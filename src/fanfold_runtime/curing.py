"""What to return in place of an object that has no JSON form."""

from __future__ import annotations

import collections.abc
import numbers
import os
from typing import Any

ANYTHING = "return a bool, int, float, str, list, tuple, dict, enumeration or DataFrame"
_FIGURES = 'return a value: with "graphicsFlag", the open figures come as images by themselves'
_PLOT = "draw it with its .show(), and return a value"

_KINDS: tuple[tuple[Any, str], ...] = (
    ((set, frozenset), "a set has no order; return sorted(...) of it"),
    (complex, "return the real and the imaginary part"),
    (numbers.Rational, "return float(...) of it, or its numerator and its denominator"),
    (
        collections.abc.Coroutine,
        "it has not run: return asyncio.run(...) of it, in a function without async",
    ),
    ((collections.abc.Iterator, range), "return list(...) of it"),
    (BaseException, "raise it, or return str(...) of it"),
    (os.PathLike, "return str(...) of it"),
    (collections.abc.Mapping, "return dict(...) of it"),
)
_METHODS = (
    ("__dataclass_fields__", "return dataclasses.asdict(...) of it"),
    ("model_dump", "return its .model_dump()"),
    ("to_dicts", "return its .to_dicts()"),
    ("to_pylist", "return its .to_pylist()"),
    ("tolist", "return its .tolist()"),
    ("to_list", "return its .to_list()"),
    ("to_dataframe", "return its .to_dataframe()"),
    ("to_pandas", "return its .to_pandas()"),
    ("get_params", "return what is wanted of the model, such as its .coef_.tolist()"),
)
"""What a class has, and what that is good for: models of pydantic, tables of Polars, PyArrow and
xarray, arrays of any library, estimators of scikit-learn."""


def cure_of(v: Any) -> str:
    """Return what to do, as an imperative."""
    kind = type(v)
    if getattr(getattr(v, "dtype", None), "kind", "") == "c":
        return "return the real and the imaginary part"
    for base, cure in _KINDS:
        if isinstance(v, base):
            return cure
    if isinstance(v, type) or (callable(v) and hasattr(v, "__qualname__")):
        return "return what it computes, not the function itself"
    library = str(kind.__module__).partition(".")[0]
    if library == "plotnine" or (library, kind.__name__) == ("seaborn", "Plot"):
        return _PLOT
    if library in ("matplotlib", "seaborn", "mpl_toolkits"):
        return _FIGURES
    for name, cure in _METHODS:
        if hasattr(kind, name):
            return cure
    return "return list(...) of it" if isinstance(v, collections.abc.Collection) else ANYTHING
