"""Matplotlib figures as PNG: what is open when a call ends, and what was passed to `plt.show()`.

The backend is Agg, whatever a script asks for: there is no screen. As in a notebook, showing a
figure renders and closes it, so that it is not captured again at the end.
"""

from __future__ import annotations

import io
from typing import Any

from fanfold_runtime.imports import Watcher

DPI = 100
"""Dots per inch, as in the images of the compatible service."""

Image = tuple[bytes, "str | None"]
"""(PNG file, title)."""


class NoMatplotlib(Exception):
    """The environment has no matplotlib."""


class Undrawn(Exception):
    """A figure that was open when its call ended cannot be drawn; its cause says why."""


class Figures:
    """Captures figures of the call in hand, in the order in which they were shown or made.

    Attributes:
        wanted: whether shown figures are rendered; without it they are only closed.
    """

    def __init__(self, watcher: Watcher) -> None:
        self.wanted = False
        self._plt: Any = None
        self._images: list[Image] = []
        watcher.on("matplotlib", _keep_backend)
        watcher.on("matplotlib.pyplot", self._hook)

    def prepare(self) -> None:
        """Make sure that matplotlib is there. Raises NoMatplotlib."""
        try:
            import matplotlib.pyplot  # noqa: F401
        except Exception as exc:
            raise NoMatplotlib(str(exc)) from None

    def _hook(self, plt: Any) -> None:
        """Take over `show` and keep the backend; `plt` has just been imported."""
        self._plt = plt
        plt.switch_backend("agg")

        def show(*_args: object, **_kwargs: object) -> None:
            """Render every open figure, then close them."""
            self._take_open()

        def figure_show(figure: Any, *_args: object, **_kwargs: object) -> None:
            """Render this figure, then close it."""
            self._take(figure)
            plt.close(figure)

        plt.show = show
        plt.switch_backend = _stay
        plt.Figure.show = figure_show

    def take(self) -> list[Image]:
        """Return the images of the call and close its figures. Raises Undrawn."""
        if self._plt is not None and self._plt.get_fignums():
            try:
                self._take_open()
            except Exception as exc:  # no line of the script tells that it was drawing
                raise Undrawn("figure %d cannot be drawn" % (len(self._images) + 1)) from exc
        images, self._images = self._images, []
        return images

    def drop(self) -> None:
        """Close whatever a call left open."""
        if self._plt is not None:
            self._images = []
            if self._plt.get_fignums():
                self._plt.close("all")

    def _take_open(self) -> None:
        plt = self._plt
        try:
            for number in plt.get_fignums() if self.wanted else ():
                self._take(plt.figure(number))
        finally:
            plt.close("all")

    def _take(self, figure: Any) -> None:
        if self.wanted:
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=DPI)
            self._images.append((buffer.getvalue(), _title(figure)))


def _keep_backend(matplotlib: Any) -> None:
    matplotlib.use = _stay


def _stay(*_args: object, **_kwargs: object) -> None:
    """Keep Agg."""


def _title(figure: Any) -> str | None:
    """The title of the first axes that has one; a figure's own heading does not count."""
    for axes in figure.get_axes():
        for place in ("center", "left", "right"):
            text: str = axes.get_title(loc=place)
            if text:
                return text.encode("utf-8", "backslashreplace").decode()
    return None
