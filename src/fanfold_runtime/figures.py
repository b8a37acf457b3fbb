"""Matplotlib figures as PNG: what is open when a call ends, and what was passed to `plt.show()`.

The backend is Agg, whatever a script asks for: there is no screen. As in a notebook, showing a
figure renders and closes it, so that it is not captured again at the end.
"""

from __future__ import annotations

import io
import sys
from typing import Any

DPI = 100
"""Dots per inch, as in the images of the compatible service."""


class NoMatplotlib(Exception):
    """The environment has no matplotlib."""


class Figures:
    """Captures figures of the call in hand, in the order in which they were shown or made."""

    def __init__(self) -> None:
        self._plt: Any = None
        self._images: list[tuple[bytes, str | None]] = []

    def prepare(self) -> None:
        """Make sure that matplotlib is there. Raises NoMatplotlib."""
        try:
            import matplotlib.pyplot  # noqa: F401
        except Exception as exc:
            raise NoMatplotlib(str(exc)) from None
        self.hook()

    def hook(self) -> None:
        """Take over `show` and keep the backend, once pyplot has been imported by anyone."""
        plt: Any = sys.modules.get("matplotlib.pyplot")
        if plt is None:
            return
        if plt is not self._plt:
            self._plt = plt
        if getattr(plt.show, "fanfold", None) is self:
            return
        if not plt.get_fignums():  # pyplot chooses its backend late, by what is taken over below
            plt.switch_backend("agg")

        def show(*_args: object, **_kwargs: object) -> None:
            """Render every open figure, then close them."""
            self._take_open()

        def figure_show(figure: Any, *_args: object, **_kwargs: object) -> None:
            """Render this figure, then close it."""
            self._take(figure)
            plt.close(figure)

        def stay(*_args: object, **_kwargs: object) -> None:
            """Keep Agg."""

        show.fanfold = self  # type: ignore[attr-defined]
        plt.show = show
        plt.switch_backend = stay
        matplotlib: Any = sys.modules["matplotlib"]
        matplotlib.use = stay
        matplotlib.figure.Figure.show = figure_show

    def take(self) -> list[tuple[bytes, str | None]]:
        """Return [(PNG bytes, title or None), …] of the call and close its figures."""
        self.hook()
        if self._plt is not None:
            self._take_open()
        images, self._images = self._images, []
        return images

    def drop(self) -> None:
        """Close whatever a call left open."""
        if self._images:
            self._images = []
        plt: Any = sys.modules.get("matplotlib.pyplot")
        if plt is not None:
            self.hook()
            if plt.get_fignums():
                plt.close("all")

    def _take_open(self) -> None:
        plt = self._plt
        try:
            for number in plt.get_fignums():
                self._take(plt.figure(number))
        finally:
            plt.close("all")

    def _take(self, figure: Any) -> None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
        self._images.append((buffer.getvalue(), _title(figure)))


def _title(figure: Any) -> str | None:
    """The title of the first axes that has one; a figure's own heading does not count."""
    for axes in figure.get_axes():
        for place in ("center", "left", "right"):
            text: str = axes.get_title(loc=place)
            if text:
                return text
    return None
