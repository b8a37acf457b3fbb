"""The page that the demo leaves behind: one file of HTML, without scripts, that needs no server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from importlib.metadata import version
from importlib.resources import files

from fanfold_server.demo import histogram
from fanfold_server.demo.step import Picture, Step

TAG_LINE = "Fan out the calls, fold the answers back into one JSON."


def write_page(steps: list[Step]) -> str:
    """Write the page that shows these steps."""
    return "".join(_parts(steps))


def _parts(steps: list[Step]) -> Iterator[str]:
    style = files("fanfold_server.demo").joinpath("page.css").read_text(encoding="utf-8")
    is_right = all(step.is_right for step in steps)
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>fanfold demo</title>\n<style>\n{style}</style></head>\n<body><main>\n"
    yield "<header><h1>fanfold</h1>"
    yield f'<p class="tag">{TAG_LINE}</p>'
    verdict = "Everything is as documented" if is_right else "Something differs, see below"
    yield f'<p class="verdict {_word(is_right=is_right)}">{verdict}</p></header>\n'
    for number, step in enumerate(steps, 1):
        yield from _step(number, step)
    yield f"<footer>fanfold {escape(version('fanfold'))} · written by <code>fanfold demo</code>"
    yield " · penguins: Gorman, Williams and Fraser 2014, CC0</footer>\n</main></body></html>\n"


def _step(number: int, step: Step) -> Iterator[str]:
    yield f"<section><h2><span>{number}</span>{escape(step.title)}</h2>"
    yield f"<p>{escape(step.about)}</p>\n"
    if not step.source:
        yield "<details><summary>request and answer</summary>"
    yield '<div class="columns"><div>'
    if step.source:
        yield f"<h3>Function</h3><pre>{escape(step.source)}</pre>\n"
    yield f"<h3>Request</h3><pre>{escape(step.request)}</pre></div>\n<div>"
    if step.pictures or step.estimate:
        yield '<div class="pictures">'
        yield from (_figure(picture) for picture in step.pictures)
        if step.estimate:
            caption = escape(step.estimate.verdict)
            drawing = histogram.draw(step.estimate)
            yield f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"
        yield "</div>"
    yield f'<h3>Answer</h3><pre class="answer">{escape(step.answer)}</pre></div></div>\n'
    yield "<ul>" if step.source else "</details><ul>"
    for finding in step.findings:
        yield f'<li class="{_word(is_right=finding.is_right)}">{escape(finding.text)}</li>'
    yield "</ul></section>\n"


def _figure(picture: Picture) -> str:
    encoded = base64.b64encode(picture.png).decode()
    caption = escape(picture.caption)
    return (
        f'<figure><img src="data:image/png;base64,{encoded}" width="640" height="480" '
        f'alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )


def _word(*, is_right: bool) -> str:
    return "right" if is_right else "wrong"
