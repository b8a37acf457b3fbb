"""From the JSON of an answer to what a notebook works with: values, DataFrames, figures.

A list of records that all have the same names and hold plain values is what a DataFrame looks like
on the wire; it becomes one again where pandas is installed.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, overload

from fanfold.faults import NotSendable

_SHEET_CALLS = 24
_SHEET_WIDTH = "19em"
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Image:
    """A figure that a call drew; a notebook shows it.

    Attributes:
        png: the bytes of a PNG file.
        title: of its axes; None without one.
        number: 1, 2, … in the order in which the call drew.
        name: of the call: its index, chunk or group; None for a run of one call.
    """

    png: bytes = field(repr=False)
    title: str | None = None
    number: int = 1
    name: str | int | None = None

    def save(self, file: str | Path) -> Path:
        """Write a PNG file."""
        target = Path(file)
        target.write_bytes(self.png)
        return target

    @property
    def filename(self) -> str:
        """A name for its file, such as `7-1.png`."""
        name = "" if self.name is None else f"{self.name}-"
        plain = "".join(char if char.isalnum() or char in "-._" else "_" for char in name)
        return f"{plain}{self.number}.png"

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class DataImage(Sequence[Image]):
    """What a call with `graphics=True` came to: its value, and the figures that it drew.

    Attributes:
        dat: what the function returned.
        images: the figures, in the order of drawing.
    """

    dat: Any
    images: tuple[Image, ...] = ()

    @overload
    def __getitem__(self, at: int) -> Image: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Image]: ...
    def __getitem__(self, at: int | slice) -> Image | Sequence[Image]:
        return self.images[at]

    def __len__(self) -> int:
        return len(self.images)

    def _repr_html_(self) -> str:
        return "".join(map(_figure, self.images)) + f"<pre>{escape(repr(self.dat))}</pre>"


class Drawings(list[Any]):
    """The calls of a run with `graphics=True`, which a notebook shows side by side: a list."""

    def _repr_html_(self) -> str:
        return _sheet((_called(call, at), call) for at, call in enumerate(self, 1))


class NamedDrawings(dict[str, Any]):
    """The same of groups: a dict."""

    def _repr_html_(self) -> str:
        return _sheet(self.items())


def decode(verb: str, result: Any, *, graphics: bool, frames: bool) -> Any:
    """Turn the member `result` of an answer into values.

    Args:
        verb: do-eval, table-apply, row-apply, group-apply or index-apply.
        frames: make DataFrames where the values look like some.
    """
    if graphics:
        return _figures(verb, result, frames=frames)
    match verb:
        case "index-apply":
            return [value_of(value, frames=frames) for value in result]
        case "group-apply":
            return {name: value_of(value, frames=frames) for name, value in result.items()}
        case _:
            return value_of(result, frames=frames)


def value_of(value: Any, *, frames: bool) -> Any:
    """Make a DataFrame of what looks like one; leave everything else."""
    if frames and _is_frame(value) and importlib.util.find_spec("pandas") is not None:
        return importlib.import_module("pandas").DataFrame(value)
    return value


def parameters_text(parameters: Mapping[str, object]) -> str:
    """Write keyword arguments as the JSON text that the wire wants.

    Raises:
        NotSendable: one of them has no JSON form.
    """
    pieces = []
    for name, value in parameters.items():
        pieces.append(f"{json.dumps(name)}:{json_text(value, f'the argument {name!r}')}")
    return "{" + ",".join(pieces) + "}"


def json_text(value: object, what: str) -> str:
    """Write a value as JSON; NumPy's numbers and arrays are written as lists and numbers.

    Raises:
        NotSendable: it has no JSON form; the message says `what` it is.
    """
    try:
        return json.dumps(value, allow_nan=False, default=_plain, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as exc:
        reason = "it holds NaN or infinity; send None" if "range float" in str(exc) else exc
        raise NotSendable(f"{what} cannot be sent as JSON: {reason}") from exc


def _plain(value: object) -> object:
    """Write what is not JSON but has a plain form: NumPy's and pandas' values, dates, paths."""
    for name in ("tolist", "isoformat"):
        method = getattr(value, name, None)
        if callable(method):
            return method()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if hasattr(value, "columns"):
        raise TypeError(
            f"a {type(value).__name__} is given as the data of table_apply, row_apply or "
            "group_apply, or loaded as a table first: client.tables.load"
        )
    raise TypeError(f"an object of type {type(value).__name__} has no JSON form")


def _is_frame(value: Any) -> bool:
    if not isinstance(value, list) or not value or not isinstance(value[0], dict) or not value[0]:
        return False
    names = value[0].keys()
    return all(
        isinstance(row, dict)
        and row.keys() == names
        and all(isinstance(cell, _PLAIN) for cell in row.values())
        for row in value
    )


def _figures(verb: str, result: Any, *, frames: bool) -> Any:
    """Gather image objects by the call that drew them; a null stands for a call that failed."""
    objects = result if isinstance(result, list) else result.values()
    calls: dict[str | int | None, DataImage] = {}
    for entry in filter(None, objects):
        name = entry.get("TIME", entry.get("NAME"))
        before = calls.get(name)
        images = before.images if before is not None else ()
        if "IMAGE" in entry:
            png = binascii.a2b_base64(entry["IMAGE"])
            images = (*images, Image(png, entry.get("TITLE"), entry["ID"], name))
        dat = value_of(json.loads(entry["DATA"]), frames=frames) if before is None else before.dat
        calls[name] = DataImage(dat, images)
    match verb:
        case "index-apply" | "row-apply":
            return Drawings(calls.values())
        case "group-apply":
            return NamedDrawings({str(name): call for name, call in calls.items()})
        case _:
            return calls.get(None, DataImage(None))


def images_in(answer: Any) -> Iterator[Image]:
    """Yield every figure of what a run gave."""
    match answer:
        case DataImage():
            yield from answer.images
        case dict():
            for part in answer.values():
                yield from images_in(part)
        case list():
            for part in answer:
                yield from images_in(part)
        case _:
            return


def _called(call: Any, at: int) -> str:
    name = call.images[0].name if isinstance(call, DataImage) and call.images else None
    return str(at if name is None else name)


def _sheet(calls: Iterable[tuple[str, Any]]) -> str:
    """Write calls side by side: the name of each, its figures, and its value."""
    every = list(calls)
    cells = [
        f'<figure style="margin:0;width:{_SHEET_WIDTH}"><figcaption><b>{escape(name)}</b>'
        f"</figcaption>{_of_call(call)}</figure>"
        for name, call in every[:_SHEET_CALLS]
    ]
    more = len(every) - len(cells)
    rest = f"<p>… and {more:,} more</p>" if more else ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(cells)}</div>{rest}'


def _of_call(call: Any) -> str:
    if isinstance(call, DataImage):
        return call._repr_html_()  # one of ours
    return f"<pre>{escape(str(call) if isinstance(call, Exception) else repr(call))}</pre>"


def _figure(image: Image) -> str:
    data = base64.b64encode(image.png).decode()
    title = escape(image.title or f"figure {image.number}")
    return (
        f'<img alt="{title}" title="{title}" style="max-width:100%" '
        f'src="data:image/png;base64,{data}">'
    )
