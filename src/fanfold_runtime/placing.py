"""Arguments that can only be given by position, for a caller who names all that he gives.

A request has its arguments by name; `def f(i, x, /)` takes `x` by position alone. The caller need
not know how the function is written, so it is given as the function takes it.
"""

from __future__ import annotations

import types
from typing import Any, Callable


def by_position(function: Callable[..., Any]) -> tuple[str, ...]:
    """List the parameters that cannot be given by name, in their order.

    Of what is no plain function nothing is known: a method has one before the first.
    """
    if not isinstance(function, types.FunctionType):
        return ()
    code = function.__code__
    return code.co_varnames[: code.co_posonlyargcount]


def placed(
    function: Callable[..., Any], first: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call, each as the function takes it.

    Args:
        function: one of which `by_position` lists more than there are in `first`.
        first: what the run itself gives.
        keywords: what the caller names.
    """
    assert isinstance(function, types.FunctionType), "of others nothing is listed"
    defaults = function.__defaults__ or ()
    required = function.__code__.co_argcount - len(defaults)
    given, rest = list(first), dict(keywords)
    for at, name in enumerate(by_position(function)[len(first) :], len(first)):
        if name in rest:
            given.append(rest.pop(name))
        elif at >= required:
            given.append(defaults[at - required])
        else:
            break  # Python says best what is missing
    return tuple(given), rest
