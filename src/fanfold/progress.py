"""What a person sees while something takes long: a bar, in the terminal and in a notebook.

Nothing is shown where nobody looks: neither when the error output is no terminal, nor for what is
done in half a second. rich is imported when there is something to show.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanfold.records import JobInfo

SHOW_AFTER_S = 0.5
NOTEBOOK_PAUSE_S = 0.1
"""A notebook is told no more often: each time is a message to a browser."""

_MINUTE = 60
_HOUR = 3600


class Display:
    """Shows progress to a person, if there is one.

    Args:
        wanted: True or False; None: if there is a terminal or a notebook.
    """

    def __init__(self, wanted: bool | None = None) -> None:
        self._notebook = wanted is not False and _in_notebook()
        self.on = _has_terminal() or self._notebook if wanted is None else wanted

    def bar(self, title: str, total: int | None) -> Bar:
        """Give a bar to be used in a `with`; it shows itself when that takes long."""
        return Bar(title, total, on=self.on, notebook=self._notebook)

    def ask(self, info: JobInfo | None) -> str:
        """Ask a person who pressed Ctrl-C what is to become of the job: detach or cancel."""
        done = f" ({info.returned + info.failed} of {info.times} calls are done)" if info else ""
        question = f"\nThe job goes on{done}. [d]etach from it, or [c]ancel it? "
        if not self.on or not (self._notebook or sys.stdin.isatty()):
            return "detach"
        try:
            if not self._notebook:
                # Past whatever a bar may have put in the place of sys.stderr.
                out = sys.__stderr__ or sys.stderr
                out.write(question)
                out.flush()
            answer = input(question.strip() + " " if self._notebook else "")
            return "cancel" if answer.strip().lower().startswith("c") else "detach"
        except (EOFError, KeyboardInterrupt, NotImplementedError):
            return "detach"  # the last is a notebook's that nobody can type into


class Bar:
    """A bar with counts, rate, errors and the time that is left."""

    def __init__(self, title: str, total: int | None, *, on: bool, notebook: bool) -> None:
        self._title = title
        self._total = total
        self._on = on
        self._notebook = notebook
        self._began = time.monotonic()
        self._done = 0
        self._shown: Any = None
        self._task: Any = None
        self._updated = 0.0

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take it away."""
        shown, self._shown = self._shown, None
        if shown is None:
            return
        if self._notebook:
            shown.update(_Line("", 0, None))
        else:
            shown.stop()

    def advance(self, count: int) -> None:
        """Tell that so many more are done: bytes of an upload, for one."""
        self._done += count
        spent = max(time.monotonic() - self._began, 1e-6)
        rate = self._done / spent
        left = (self._total - self._done) / rate if self._total and rate else None
        self._show(self._done, f"{rate / 1e6:.1f} MB/s", left)

    def step(self, done: int, words: str) -> None:
        """Tell that so much is done by now, and what is being done."""
        self._show(done, words, None)

    def job(self, info: JobInfo) -> None:
        """Tell how a job stands."""
        done = info.returned + info.failed
        words = [info.state] if info.state == "queued" else []
        if info.state == "queued" and info.ahead:
            words.append(f"{info.ahead:,} calls before it")
        if info.rate_per_s:
            words.append(f"{info.rate_per_s:,.1f}/s")
        if info.failed:
            words.append(f"{info.failed:,} failed")
        self._show(done, ", ".join(words), info.eta["seconds"] if info.eta else None)

    def _show(self, done: int, words: str, left_s: float | None) -> None:
        if not self._on:
            return
        if self._shown is None:
            if time.monotonic() - self._began < SHOW_AFTER_S:
                return
            if self._notebook:
                self._shown = self._notebook_line()
            else:
                # Kept before it is started, so that it can be stopped wherever Ctrl-C comes.
                self._shown = self._terminal_bar()
                self._shown.start()
        left = "" if left_s is None else f"{duration(left_s)} left"
        if self._notebook:
            now = time.monotonic()
            if now - self._updated < NOTEBOOK_PAUSE_S and done != self._total:
                return
            self._updated = now
            share = "" if not self._total else f" {100 * done // self._total} %"
            count = f"{done:,}" + (f" of {self._total:,}" if self._total else "")
            text = ", ".join(part for part in (count + share, words, left) if part)
            self._shown.update(_Line(f"{self._title}: {text}", done, self._total))
        else:
            self._shown.update(self._task, completed=done, words=words, left=left)

    def _terminal_bar(self) -> Any:
        rich = importlib.import_module("rich.progress")
        console = importlib.import_module("rich.console").Console(stderr=True)
        bar = rich.Progress(
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[words]}", markup=False),
            rich.TextColumn("{task.fields[left]}", markup=False),
            console=console,
            transient=True,
        )
        self._task = bar.add_task(self._title, total=self._total, words="", left="")
        return bar

    def _notebook_line(self) -> Any:
        display = importlib.import_module("IPython.display").display
        return display(_Line(self._title, 0, self._total), display_id=True)


class _Line:
    """What a notebook shows of a bar: as HTML where it has that, else its text."""

    def __init__(self, text: str, done: int, total: int | None) -> None:
        self._text = text
        self._done = done
        self._total = total

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        if not self._text:
            return ""
        value = f' max="{self._total}" value="{self._done}"' if self._total else ""
        return f"<progress{value}></progress> {escape(self._text)}"


def duration(seconds: float) -> str:
    """Write a duration as people say it."""
    if seconds < 1:
        return "under 1 s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"
    return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // _MINUTE:.0f} min"


def _has_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _in_notebook() -> bool:
    """Tell whether a notebook's kernel runs us; what it lacks is not imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")
