"""What a lease brings, as frames: plain values together, outcomes by themselves, in index order."""

from __future__ import annotations

import resource
import struct
import time

from fanfold_runtime import protocol as p
from fanfold_runtime.channel import Channel
from fanfold_runtime.figures import Image
from fanfold_runtime.jsontext import make_encoder
from fanfold_runtime.run import Failure, Run

_clock = time.perf_counter
_dumps = make_encoder(ascii_only=True)
_MAX_U32 = 0xFFFFFFFF


class Report:
    """Sends the outcomes of one lease.

    Args:
        start: the index of the lease's first call.
        began: when the lease was begun, by `time.perf_counter`.
    """

    __slots__ = (
        "_began",
        "_bytes",
        "_channel",
        "_elapsed",
        "_in_parts",
        "_next",
        "_peaks",
        "_run",
        "_start",
        "_texts",
    )

    def __init__(self, channel: Channel, run: Run, start: int, began: float) -> None:
        self._channel = channel
        self._run = run
        self._start = self._next = start
        self._began = began
        self._texts: list[bytes] = []
        self._bytes = 0
        self._in_parts = False
        self._elapsed: list[int] = []
        self._peaks: list[int] = []

    def value(self, text: bytes, elapsed_us: int = 0) -> None:
        """The next call returned and left nothing but its value."""
        self._texts.append(text)
        if self._run.keep_meters:
            self._elapsed.append(min(elapsed_us, _MAX_U32))
            self._peaks.append(_peak_kib())
        self._next += 1
        self._bytes += len(text)
        if self._in_parts or self._bytes > self._run.max_value_bytes:
            self.flush()

    def part(self, text: bytes) -> None:
        """Send elements with which the next call's value, an array, begins; none: forget them.

        Args:
            text: a JSON array, or nothing.
        """
        if not text and not self._in_parts:
            return
        self.flush()
        head = p.PART_HEADER.pack(self._run.number, self._next)
        self._channel.write(p.PART, head, text)
        self._in_parts = bool(text)

    def array(self, text: bytes, count: int) -> None:
        """The next `count` calls did so; `text` is a JSON array of their values."""
        self.flush()
        self._share_alike(count)
        self._values(text, self._next, count, final=False)
        self._next += count

    def whole(self, text: bytes, count: int) -> None:
        """These `count` calls are all that the lease brings; ends it."""
        self._share_alike(count)
        self._values(text, self._start, count, final=True)

    def outcome(
        self,
        failure: Failure | None,
        text: bytes | None = None,
        images: list[Image] | None = None,
        log: str = "",
        elapsed_us: int = 0,
    ) -> None:
        """The next call failed, drew, or wrote."""
        self.flush()
        images = images or []
        value, logged = text or b"", log.encode("utf-8", "replace")
        header: dict[str, object] = {
            "value": len(value),
            "log": len(logged),
            "images": [[len(png), title] for png, title in images],
            "elapsed_us": elapsed_us,
            "peak_kib": _peak_kib() if self._run.keep_meters else 0,
        }
        if failure is not None:
            if failure[0] == p.OUT_OF_MEMORY:
                header["peak_kib"] = _peak_kib()
            header["failure"] = failure
            value, header["value"] = b"", 0
        head = _dumps(header).encode()
        first = p.OUTCOME_HEADER.pack(self._run.number, self._next, len(head))
        self._channel.write(p.OUTCOME, first, head, value, logged, *(png for png, _ in images))
        self._next += 1
        self._in_parts = False

    def flush(self) -> None:
        """Send the values that were not sent yet."""
        n = len(self._texts)
        if n:
            self._values(self._joined(), self._next - n, n, final=False)
            self._texts, self._bytes, self._in_parts = [], 0, False

    def end(self) -> None:
        """Send what was not sent yet and end the lease."""
        n = len(self._texts)
        if n and n == self._next - self._start:
            self._values(self._joined(), self._start, n, final=True)
            return
        self.flush()
        count = self._next - self._start
        head = p.DONE_HEADER.pack(self._run.number, self._start, count, self._spent())
        self._channel.write(p.DONE, head)

    def _joined(self) -> bytes:
        return b"[%b]" % b",".join(self._texts)

    def _share_alike(self, count: int) -> None:
        """Measure calls of one `map`: they have its time in equal parts."""
        if self._run.keep_meters and count:
            self._elapsed = [self._spent() // count] * count
            self._peaks = [_peak_kib()] * count

    def _values(self, text: bytes, start: int, count: int, *, final: bool) -> None:
        if self._elapsed:
            form = struct.Struct("<%dI" % count)
            first = p.METERS_HEADER.pack(self._run.number, start, count)
            self._channel.write(p.METERS, first, form.pack(*self._elapsed), form.pack(*self._peaks))
            self._elapsed, self._peaks = [], []
        spent = self._spent() if final else 0
        head = p.VALUES_HEADER.pack(self._run.number, start, count, spent, final)
        self._channel.write(p.VALUES, head, text)

    def _spent(self) -> int:
        return min(int((_clock() - self._began) * 1e6), _MAX_U32)


def _peak_kib() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
