"""Which one type the JSON values of a column have, found a few values at a time. Pure.

Called in the process of `columnar_process.py`, which makes Arrow types of what is found here. It
holds nothing of the values themselves, only what kinds there were: it does not grow with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

MAX_COLUMNS: Final = 2000
"""Columns and members of nested objects, in all."""

MAX_DEPTH: Final = 50
"""Lists and objects inside one another."""

EXACT: Final = 1 << 53
"""Up to here every whole number is a float."""

VALUE_COLUMN: Final = "value"

_NULL: Final = type(None)
_FAMILIES: Final[dict[type, str]] = {
    bool: "booleans",
    int: "numbers",
    float: "numbers",
    str: "texts",
    list: "lists",
    dict: "objects",
}


class Untyped(Exception):
    """Values have no type in common; the text says which column, and why."""


class Shape:
    """What the values of one place were so far.

    Attributes:
        path: the column's name, and what leads into its values: "a.b", "a[]".
        kinds: Python's types of the values, without that of null.
        low, high: of the whole numbers.
        inexact: one of the whole numbers is no float.
        items: of lists: what is in them.
        members: of objects: what is in them, in the order of first appearance.
    """

    __slots__ = ("_depth", "high", "inexact", "items", "kinds", "low", "members", "path")

    def __init__(self, path: str, depth: int = 0) -> None:
        self.path = path
        self.kinds: set[type] = set()
        self.low = 0
        self.high = 0
        self.inexact = False
        self.items: Shape | None = None
        self.members: dict[str, Shape] = {}
        self._depth = depth
        if depth > MAX_DEPTH:
            raise Untyped(f'in the column "{path[:40]}…" values are nested {depth} deep')

    def add(self, values: list[Any]) -> int:
        """Look at values. Returns how many members were new in objects, at any depth.

        Raises:
            Untyped: they have no type in common with each other or with those before.
        """
        kinds = set(map(type, values))
        kinds.discard(_NULL)
        if not kinds:
            return 0
        if not kinds <= self.kinds:
            self.kinds |= kinds
            families = sorted({_FAMILIES[kind] for kind in self.kinds})
            if len(families) > 1:
                raise Untyped(f'the column "{self.path}" holds {_listed(families)}')
        if int in kinds:
            self._add_whole([value for value in values if type(value) is int])
        if list in kinds:
            if self.items is None:
                self.items = Shape(f"{self.path}[]", self._depth + 1)
            return self.items.add(list(chain.from_iterable(v for v in values if v is not None)))
        if dict in kinds:
            return self._add_objects(v for v in values if v is not None)
        return 0

    def _add_whole(self, numbers: list[int]) -> None:
        low, high = min(numbers), max(numbers)
        self.low, self.high = min(self.low, low), max(self.high, high)
        if (low < -EXACT or high > EXACT) and not self.inexact:
            self.inexact = any(not _is_float(number) for number in numbers)

    def _add_objects(self, objects: Iterable[dict[str, Any]]) -> int:
        columns: defaultdict[str, list[Any]] = defaultdict(list)
        for one in objects:
            for name, value in one.items():
                columns[name].append(value)
        new = 0
        for name, values in columns.items():
            shape = self.members.get(name)
            if shape is None:
                shape = self.members[name] = Shape(f"{self.path}.{name}", self._depth + 1)
                new += 1
            new += shape.add(values)
        return new

    @property
    def is_float(self) -> bool:
        """Whether its numbers are floats, those that were written as whole ones with them."""
        if float in self.kinds or not (self.low >= -(1 << 63) and self.high < 1 << 64):
            return True
        return self.low < 0 and self.high >= 1 << 63

    @property
    def needs_floats(self) -> bool:
        """Whether whole numbers in it are floats that a conversion has to be told of."""
        if self.items is not None:
            return self.items.needs_floats
        if self.members:
            return any(shape.needs_floats for shape in self.members.values())
        return self.is_float and (self.low < -EXACT or self.high > EXACT)

    def check(self) -> None:
        """Look whether the numbers have a type that keeps all of their digits. Raises Untyped."""
        if self.inexact and self.is_float:
            beside = "that no float is equal to, beside floats"
            why = beside if float in self.kinds else "that 64 bits do not hold"
            raise Untyped(f'the column "{self.path}" holds whole numbers {why}')
        for inner in (*self.members.values(), *((self.items,) if self.items else ())):
            inner.check()


class Rows:
    """How values become rows, and which columns these have.

    An object is a row and a list of objects several; null is a row without anything; whatever else
    stands in the column `value`. An empty list is no row where other lists are several.

    Attributes:
        columns: in the order of their first appearance.
    """

    def __init__(self) -> None:
        self.columns: dict[str, Shape] = {}
        self._has_tables = False
        self._has_empty = False
        self._names = 0

    def add(self, values: list[Any]) -> None:
        """Look at the values of calls. Raises Untyped."""
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for value in values:
            if isinstance(value, dict):
                for name, cell in value.items():
                    found[name].append(cell)
            elif is_table(value):
                self._has_tables = True
                for row in value:
                    for name, cell in row.items():
                        found[name].append(cell)
            elif value == []:
                self._has_empty = True
            elif value is not None:
                found[VALUE_COLUMN].append(value)
        for name, cells in found.items():
            shape = self.columns.get(name)
            if shape is None:
                shape = self.columns[name] = Shape(name)
                self._names += 1
            self._names += shape.add(cells)
            if self._names > MAX_COLUMNS:
                raise Untyped(f"there are more than {MAX_COLUMNS} columns")

    def end(self) -> None:
        """Look at what was left open until all values are known. Raises Untyped."""
        if self._has_empty and not self._has_tables:
            self.columns.setdefault(VALUE_COLUMN, Shape(VALUE_COLUMN)).add([[]])
        for shape in self.columns.values():
            shape.check()

    def of(self, value: Any) -> list[dict[str, Any]]:
        """Return the rows of a call's value, once all have been looked at."""
        if isinstance(value, dict):
            return [value]
        if is_table(value) or (value == [] and self._has_tables):
            rows: list[dict[str, Any]] = value
            return rows
        return [{}] if value is None else [{VALUE_COLUMN: value}]


def is_table(value: Any) -> bool:
    """Tell whether a value is a list of objects, and not an empty one."""
    return isinstance(value, list) and bool(value) and all(type(row) is dict for row in value)


def with_floats(value: Any, shape: Shape) -> Any:
    """Write the whole numbers of a value as floats where its shape has floats."""
    if type(value) is int:
        return float(value) if shape.is_float else value
    if isinstance(value, list) and shape.items is not None:
        return [with_floats(item, shape.items) for item in value]
    if isinstance(value, dict):
        return {name: with_floats(cell, shape.members[name]) for name, cell in value.items()}
    return value


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return a column's name, with underscores behind it until there is no other of that name."""
    names = set(taken)
    while name in names:
        name += "_"
    return name


def _is_float(number: int) -> bool:
    try:
        return int(float(number)) == number
    except OverflowError:
        return False


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
