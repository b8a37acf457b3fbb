"""Matplotlib figures as PNG: what is open when a call ends, and what was passed to `plt.show()`.

The backend is Agg, whatever a script asks for: there is no screen. As in a notebook, showing a
figure renders and closes it, so that it is not captured again at the end.
"""

import io
import sys

DPI = 100
"""Dots per inch, as in the images of the compatible service."""


class NoMatplotlib(Exception):
    """The environment has no matplotlib."""


class Figures:
    """Captures figures of the call in hand, in the order in which they were shown or made."""

    def __init__(self):
        self._plt = None
        self._images = []

    def prepare(self):
        """Make sure that matplotlib is there. Raises NoMatplotlib."""
        try:
            import matplotlib.pyplot  # noqa: F401
        except Exception as exc:
            raise NoMatplotlib(str(exc)) from None
        self.hook()

    def hook(self):
        """Take over `show` and keep the backend, once pyplot has been imported by anyone."""
        plt = sys.modules.get("matplotlib.pyplot")
        if plt is None:
            return
        if plt is not self._plt:
            self._plt = plt
        if getattr(plt.show, "fanfold", None) is self:
            return
        if not plt.get_fignums():  # pyplot chooses its backend late, by what is taken over below
            plt.switch_backend("agg")

        def show(*args, **kwargs):
            """Render every open figure, then close them."""
            self._take_open()

        def figure_show(figure, *args, **kwargs):
            """Render this figure, then close it."""
            self._take(figure)
            plt.close(figure)

        def stay(*args, **kwargs):
            """Keep Agg."""

        show.fanfold = self
        plt.show = show
        plt.switch_backend = stay
        sys.modules["matplotlib"].use = stay
        sys.modules["matplotlib.figure"].Figure.show = figure_show

    def take(self):
        """Return [(PNG bytes, title or None), …] of the call and close its figures."""
        self.hook()
        if self._plt is not None:
            self._take_open()
        images, self._images = self._images, []
        return images

    def drop(self):
        """Close whatever a call left open."""
        if self._images:
            self._images = []
        plt = sys.modules.get("matplotlib.pyplot")
        if plt is not None:
            self.hook()
            if plt.get_fignums():
                plt.close("all")

    def _take_open(self):
        plt = self._plt
        try:
            for number in plt.get_fignums():
                self._take(plt.figure(number))
        finally:
            plt.close("all")

    def _take(self, figure):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI)
        self._images.append((buffer.getvalue(), _title(figure)))


def _title(figure):
    """The title of the first axes that has one; a figure's own heading does not count."""
    for axes in figure.get_axes():
        for place in ("center", "left", "right"):
            text = axes.get_title(loc=place)
            if text:
                return text
    return None
