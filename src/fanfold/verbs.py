"""One definition, two ways to call it: what makes `Client` and `AsyncClient` twins.

A method is written once, as a generator of `Steps`, and marked with `verb` (one result) or `stream`
(many). Called on a part of a blocking client it runs to its end; called on a part of an awaiting
one it gives a coroutine, or an asynchronous iterator. Type checkers see the two signatures, too:
which one holds follows from the parameter of `Part`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

if TYPE_CHECKING:
    from fanfold.messages import Steps
    from fanfold.progress import Display
    from fanfold.session import Session
    from fanfold.transport import Awaiting, Blocking

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")
"""Who carries out the commands: `Blocking` or `Awaiting`."""


class Part(Generic[D]):
    """What has verbs: a client, or a part of one.

    Args:
        driver: carries out commands.
        session: knows the server and the token.
        display: shows progress.
    """

    def __init__(self, driver: D, session: Session, display: Display) -> None:
        self._driver = driver
        self._session = session
        self._display = display


class _Bound:
    """What `verb` and `stream` share: to keep the definition, and to look like it."""

    def __init__(self, steps: Callable[..., Any]) -> None:
        self.steps = steps
        self.__doc__ = steps.__doc__
        self._signature: inspect.Signature | None = None

    def bound(self, part: Any, name: str) -> Callable[..., Any]:
        """Make the method of a part: its driver's `name` carries the steps out."""
        run, steps = getattr(part._driver, name), self.steps  # noqa: SLF001  # a part is ours

        @functools.wraps(steps)
        def call(*args: Any, **kwargs: Any) -> Any:
            return run(steps(part, *args, **kwargs))

        if self._signature is None:
            signature = inspect.signature(steps)
            _, *others = signature.parameters.values()
            # what the steps give is said by the text; how they are carried out is nobody's matter
            self._signature = signature.replace(
                parameters=others, return_annotation=inspect.Signature.empty
            )
        call.__signature__ = self._signature  # type: ignore[attr-defined]  # for help()
        return call


class verb(_Bound, Generic[P, T]):  # noqa: N801  # it is used as a decorator
    """A method with one result."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        super().__init__(steps)

    @overload
    def __get__(self, part: None, owner: type) -> verb[P, T]: ...
    @overload
    def __get__(self, part: Part[Blocking], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, part: Part[Awaiting], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, part: Part[Any] | None, owner: type) -> Any:
        return self if part is None else self.bound(part, "run")


class stream(_Bound, Generic[P, T]):  # noqa: N801  # it is used as a decorator
    """A method with results one after another; its steps `Give` them."""

    def __init__(
        self, steps: Callable[Concatenate[Any, P], Steps[None]], _kind: type[T] | None = None
    ) -> None:
        super().__init__(steps)

    @overload
    def __get__(self, part: None, owner: type) -> stream[P, T]: ...
    @overload
    def __get__(self, part: Part[Blocking], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, part: Part[Awaiting], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, part: Part[Any] | None, owner: type) -> Any:
        return self if part is None else self.bound(part, "iterate")


def stream_of(
    kind: type[T],
) -> Callable[[Callable[Concatenate[Any, P], Steps[None]]], stream[P, T]]:
    """Mark a method whose steps give values of a type."""

    def mark(steps: Callable[Concatenate[Any, P], Steps[None]]) -> stream[P, T]:
        return stream(steps, kind)

    return mark
