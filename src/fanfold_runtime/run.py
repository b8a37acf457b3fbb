"""A run as the worker knows it: what its RUN frame said, and what became of its script."""

from __future__ import annotations

import json
import os
import socket
from types import ModuleType
from typing import Any, Callable

from fanfold_runtime import protocol as p
from fanfold_runtime.failures import describe
from fanfold_runtime.figures import Figures, Image, NoMatplotlib, Undrawn
from fanfold_runtime.hitting import limit_of
from fanfold_runtime.interrupts import Interrupts
from fanfold_runtime.loading import Program
from fanfold_runtime.placing import placed
from fanfold_runtime.plain import NotJson
from fanfold_runtime.randomness import NUMPY
from fanfold_runtime.rows import NoArrow, Rows, UnreadableRows, receive_files
from fanfold_runtime.seeding import Seeder
from fanfold_runtime.values import Encoder, TooLong, Unfit, is_frame

Failure = tuple[int, str, str, str]
"""(kind, type name, message, traceback): why a call has no value."""

Part = Callable[[bytes], None]
"""Sends elements with which a value begins; see `Report.part`."""

PART_BYTES = 192 << 10
"""A value is sent in parts of about so many bytes: the server reads one while the next is made."""

_loads = json.loads


def is_last(body: bytes) -> bool:
    """Say whether no other run follows that of a RUN frame's payload."""
    flags: int = p.RUN_HEADER.unpack_from(body)[3]
    return bool(flags & p.ONCE)


class TooLarge(Exception):
    """The value or the figures are over the limit; `args` = (what takes how much, limit)."""


class Run:
    """One run.

    Args:
        body: payload of the RUN frame.
        programs: the source texts that the worker knows, by digest.
        orjson: the module, if the environment has it.
        side: the socket over which the files of its rows come.

    Attributes:
        has_rows: whether the function is given rows.
        rows: those, from `load` to `close`.
        flat: no parameter is a list or an object, so that no call can change one for the next.
        broken: why there is no function to call, if so.
        touched: something ran that may have left traces in the process.
    """

    __slots__ = (
        "_files",
        "_flags",
        "_in_parts",
        "_keywords",
        "_parameters",
        "broken",
        "encoder",
        "flat",
        "function",
        "graphics",
        "has_rows",
        "indexed",
        "keep_logs",
        "keep_meters",
        "max_log_bytes",
        "max_value_bytes",
        "module",
        "number",
        "program",
        "refuse_output",
        "rows",
        "seed",
        "seeder",
        "splice",
        "threads",
        "touched",
    )  # fmt: skip

    def __init__(
        self, body: bytes, programs: dict[bytes, Program], orjson: Any, side: socket.socket
    ) -> None:
        number, digest, seed, flags, max_len, max_value_bytes, max_log_bytes, threads = (
            p.RUN_HEADER.unpack_from(body)
        )
        self.threads: int = threads
        self.number: int = number
        self.has_rows = bool(flags & p.ROWS)
        self._flags: int = flags
        self._files = receive_files(side) if self.has_rows else []
        self.rows: Rows | None = None
        self._in_parts = bool(flags & p.IN_PARTS)
        self.splice = bool(flags & p.SPLICE)
        self.program = programs[digest]
        self.seed: int = seed
        self.indexed = bool(flags & p.INDEXED)
        self.graphics = bool(flags & p.GRAPHICS)
        self.keep_logs = bool(flags & p.KEEP_LOGS)
        self.keep_meters = bool(flags & p.KEEP_METERS)
        self.refuse_output = bool(flags & p.REFUSE_OUTPUT)
        self.max_value_bytes: int = max_value_bytes
        self.max_log_bytes: int = max_log_bytes
        self.encoder = Encoder(
            bool(flags & p.KEEP_POINT_ZERO),
            bool(flags & p.ROUND_FRAMES),
            max_len,
            orjson,
            column_frames=bool(flags & p.COLUMN_FRAMES),
        )
        self._parameters = body[p.RUN_HEADER.size :]
        self._keywords: dict[str, Any] = _loads(self._parameters)
        self.flat = not any(isinstance(v, (list, dict)) for v in self._keywords.values())
        self.module: ModuleType | None = None
        self.function: Callable[..., Any] | None = None
        self.seeder: Seeder | None = None
        self.broken: Failure | None = None
        self.touched = False

    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments; fresh ones where a call could change them."""
        if self.flat:
            return self._keywords
        fresh: dict[str, Any] = _loads(self._parameters)
        return fresh

    def first(self, index: int) -> tuple[Any, ...]:
        """Return the positional arguments of a call: its rows, its index, or none."""
        if self.rows is not None:
            return (self.rows.of(index),)
        return (index,) if self.indexed else ()

    def arguments(self, index: int, seeder: Seeder) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call, by position and by name."""
        program, first, keywords = self.program, self.first(index), self.keywords()
        if program.wants_generator and "rng" not in keywords:
            keywords = dict(keywords, rng=seeder.generator(index))
        if len(program.by_position) > len(first):
            assert self.function is not None, "a run that is not broken has its function"
            return placed(self.function, first, keywords)
        return first, keywords

    def expect(self, last: int) -> None:
        """Take note that no call after this one is in hand."""
        if self.rows is not None:
            self.rows.last = last

    def load(
        self, figures: Figures, interrupts: Interrupts, let_threads: Callable[[int], None]
    ) -> None:
        """Make the function, in a fresh namespace. What fails is kept in `broken`.

        Args:
            let_threads: sets how many threads numerical libraries use. They start them at once, and
                each looks busily for work for a while: so only where a function can reach NumPy.
        """
        program = self.program
        try:
            program.compile()
            if program.draws & NUMPY or self.has_rows:
                let_threads(self.threads)
            if not program.independent:
                self.touched = True
                self.seeder = Seeder(self.seed)
                self.seeder.reseed(0)
            interrupts.in_call = True
            self.module, self.function = program.load()
            interrupts.in_call = False
            figures.wanted = self.graphics
            if self.has_rows:
                self.touched = True
            if self.graphics:
                self.touched = True
                figures.prepare()
            if program.wants_generator:
                let_threads(self.threads)
        except NoMatplotlib as exc:
            message = "figures need matplotlib, which this environment does not have"
            self.broken = (p.NO_FIGURES, "NoMatplotlib", "%s (%s)" % (message, exc), "")
        except BaseException as exc:
            interrupts.in_call = False
            self.broken = (p.LOAD, *describe(exc, program.filename))
        if self.broken is None and program.wants_generator and "rng" not in self._keywords:
            self.seeder = self.seeder or Seeder(self.seed)
            if not self.seeder.has_generator:
                message = "the parameter rng needs numpy, which this environment does not have"
                self.broken = (p.NO_GENERATOR, "NoGenerator", message, "")
        if self.broken is None and self.has_rows:
            self._open_rows()

    def _open_rows(self) -> None:
        """Map the files of the rows. What fails is kept in `broken`."""
        files, self._files = self._files, []
        try:
            self.rows = Rows(files, self._flags)
        except NoArrow as exc:
            self.broken = (p.NO_ARROW, "NoArrow", str(exc), "")
        except BaseException as exc:
            self.broken = (p.UNREADABLE_ROWS, *describe(exc, self.program.filename))

    def close(self) -> None:
        """Let go of the rows and their files."""
        rows, self.rows = self.rows, None
        files, self._files = self._files, []
        for file in files:
            os.close(file)
        if rows is not None:
            rows.close()

    def encode(self, value: object, part: Part | None = None) -> bytes:
        """Return a call's value as JSON.

        Args:
            part: if given, takes elements with which a large array begins; what is returned has
                the rest of them, at least one.

        Raises:
            NotJson, TooLong, TooLarge, MemoryError: as they say; what was sent is void.
        """
        if part is not None and self._in_parts and is_frame(value):
            try:
                return self._encode_in_parts(value, part)
            except Unfit:
                part(b"")
        text = self.encoder.one(value)
        if self.splice and not is_frame(value):
            text = b"[" + text + b"]"
        self._check_size(len(text))
        return text

    def _encode_in_parts(self, value: object, part: Part) -> bytes:
        """Return the rest of what was sent. Raises Unfit, and what `encode` does."""
        texts: list[bytes] = []
        waiting, taken = 0, 1  # bytes: of the texts, and of the whole value
        for stretch in self.encoder.stretches(value):
            if waiting >= PART_BYTES:
                if taken <= self.max_value_bytes:
                    part(b"[%b]" % b",".join(texts))
                texts, waiting = [], 0
            texts.append(stretch[1:-1])
            waiting += len(stretch)
            taken += len(stretch) - 1
        if not texts:
            raise Unfit
        self._check_size(taken)
        return b"[%b]" % b",".join(texts)

    def _check_size(self, size: int) -> None:
        if size > self.max_value_bytes:
            raise TooLarge("returned value takes %d bytes as JSON" % size, self.max_value_bytes)

    def check_images(self, images: list[Image]) -> list[Image]:
        """Return the images of a call. Raises TooLarge if they take more than one value may."""
        taken = sum(len(png) + len(title or "") for png, title in images)
        if taken > self.max_value_bytes:
            raise TooLarge("figures take %d bytes as PNG" % taken, self.max_value_bytes)
        return images

    def failure(self, exc: BaseException) -> Failure:
        """Return why a call failed, given what it raised or what its value lacks."""
        kind = type(exc)
        if kind is TooLong:
            message = "Output exceeds maximum length %d" % self.encoder.max_len
            return (p.TOO_LONG, "OutputTooLong", message, "")
        if kind is UnreadableRows:
            return (p.UNREADABLE_ROWS, "UnreadableRows", str(exc), "")
        if kind is NotJson:
            return (p.NOT_JSON, "NotJson", str(exc), "")
        if kind is TooLarge:
            message = "the %s; the limit is %d" % exc.args
            return (p.TOO_LARGE, "OutputTooLarge", message, "")
        why = exc.__cause__ if kind is Undrawn and exc.__cause__ is not None else exc
        name, message, text = describe(why, self.program.filename)
        if why is not exc:
            message = "%s: %s" % (exc, message)
        return (limit_of(why) or p.RAISED, name, message, text)
