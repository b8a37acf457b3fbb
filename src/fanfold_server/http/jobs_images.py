"""The figures of a job in one piece: a page with all of them, and an archive.

Both are made while they are sent, one figure after another. The page holds its figures inside, so
that it can be kept and passed on, and needs no token for them.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator
from html import escape
from typing import Final

from typing_extensions import Buffer, override

from fanfold_server.model.actor import Actor
from fanfold_server.model.job import Job
from fanfold_server.service.jobs import Jobs
from fanfold_server.service.reading import ImageEntry

PAGE: Final = 500
"""Entries of the list of figures that are in memory at once."""

_STYLE: Final = """\
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:1.5rem}
h1{font-size:1.2rem}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(18rem,1fr));gap:1rem;align-items:start}
figure{margin:0;border:1px solid #8884;border-radius:8px;padding:.5rem}
img{display:block;max-width:100%;height:auto;margin:0 auto .3rem;background:#fff}
figcaption{font-size:.85rem;overflow-wrap:anywhere}
"""
_STYLE_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; img-src data:; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


async def contact_sheet(jobs: Jobs, actor: Actor, job: Job) -> AsyncIterator[bytes]:
    """Yield a page of HTML with every figure of a job."""
    title = escape(f"{job.spec.script_name}: figures of job {job.id}")
    counts = f"{job.returned:,} of {job.spec.times:,} calls have returned"
    counts += f", {job.failed:,} failed" if job.failed else ""
    yield (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{title}</h1><p>{counts}.</p><main>"
    ).encode()
    keys = await jobs.keys(job)
    async for entry in _entries(jobs, actor, job.id):
        png = await jobs.image(actor, job.id, entry.index, entry.number)
        group = keys[entry.index - 1] if keys is not None else None
        words = (f"{entry.index}-{entry.number}", group and f"{group}:", entry.title)
        caption = escape(" ".join(filter(None, words)).removesuffix(":"))
        yield f'<figure><img alt="{caption}" src="data:image/png;base64,'.encode()
        yield b64encode(png)
        yield f'"><figcaption>{caption}</figcaption></figure>\n'.encode()
    yield b"</main></body></html>\n"


async def archive(jobs: Jobs, actor: Actor, job: Job) -> AsyncIterator[bytes]:
    """Yield a zip file with every figure of a job, named as their addresses are."""
    out = _Pieces()
    created = job.created.timetuple()[:6]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        async for entry in _entries(jobs, actor, job.id):
            png = await jobs.image(actor, job.id, entry.index, entry.number)
            packed.writestr(zipfile.ZipInfo(f"{entry.index}-{entry.number}.png", created), png)
            yield out.taken()
    yield out.taken()


async def _entries(jobs: Jobs, actor: Actor, job_id: str) -> AsyncIterator[ImageEntry]:
    start, skip = 0, 0
    while True:
        page = await jobs.images(actor, job_id, start=start, limit=PAGE + skip)
        for entry in page[skip:]:
            yield entry
        if len(page) < PAGE + skip:
            return
        # The next page begins with the last call of this one, which may have more figures.
        start = page[-1].index
        skip = sum(entry.index == start for entry in page)


class _Pieces(io.RawIOBase):
    """A file that can only be written to, and that forgets what has been taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: Buffer, /) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        """Take out what has been written."""
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body
