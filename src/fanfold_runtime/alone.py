"""A run without a server: what `fanfold run --local` starts, in whatever interpreter it is told.

It reads one JSON object from standard input, forks workers that are the server's own (`loop.py`),
leases them the calls, and writes one JSON object a line to standard output, in whatever order the
calls end:

    in   {"name","source","indexed","times","parameters","seed","graphics","degree"}, and for a run
         on rows "data" (see `datafile.cut`), "input_type", "na_omit" and "splice"
    out  first {"calls"} and with groups "keys", or {"refused"}: why nothing is run; then of each
         call {"index","value"} or {"index","error":{code,type,message,traceback}}, and with what
         there is of "log" (text) and "images" ([base64 of PNG, title] each)

What a call gives here it gives there: arguments are looked at, functions loaded, calls seeded,
values and figures written by the same code. What is not the same: there is no sandbox and no limit
of time or memory, nothing is kept warm, and `oml` has nobody to ask.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import platform
import signal
import socket
import sys
import tempfile
import threading
from typing import Any

from fanfold_runtime import datafile, loop
from fanfold_runtime import protocol as p
from fanfold_runtime.baseline import Baseline
from fanfold_runtime.channel import Channel, Closed
from fanfold_runtime.signatures import refusal_of, signature_of

MAX_LEN = 5000
MAX_VALUE_BYTES = 64 << 20
MAX_LOG_BYTES = 64 << 10
MOST_OF_A_LEASE = 100
LOST = 3005
NO_FUNCTION = "the file defines no function at its top level"

INPUT_TYPES = {"default": 0, "pandas.DataFrame": p.AS_FRAME, "numpy.recarray": p.AS_RECORDS}

_RUN = 1


class Worker:
    """A forked worker and our end of its channel."""

    def __init__(self, folder: str, number: int) -> None:
        ours, theirs = socket.socketpair()
        side, their_side = socket.socketpair()
        log = os.open(os.path.join(folder, "log%d" % number), os.O_RDWR | os.O_CREAT, 0o600)
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                ours.close()
                side.close()
                os.setsid()
                home = os.path.join(folder, "w%d" % number)
                os.mkdir(home)
                os.chdir(home)
                hello = {"python": platform.python_version()}
                loop.main(theirs, their_side, log, hello, Baseline())
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        their_side.close()
        os.close(log)
        self._side = side
        self.channel = Channel(ours)

    def give(self, files: list[int]) -> None:
        """Send the open files of a run that begins; they stay the caller's."""
        socket.send_fds(self._side, [p.FILES], files)


class Alone:
    """A run: leases what is left to whichever worker is free."""

    def __init__(self, spec: dict[str, Any], rows: datafile.Cut | None) -> None:
        self._spec = spec
        self._rows = rows
        self._lock = threading.Lock()
        is_cut = rows is not None and rows.offsets is not None
        first = 1 if spec["indexed"] or is_cut else 0
        times = spec["times"] if rows is None else rows.calls
        self._next = first
        self._end = first + times
        self._lease = max(1, min(MOST_OF_A_LEASE, times // (spec["degree"] * 4)))
        self._again: list[tuple[int, int]] = []

    def serve(self, worker: Worker) -> None:
        """Keep one worker busy to the end of the run."""
        channel = worker.channel
        lease = None
        reached = 0
        try:
            self._begin(worker)
            while True:
                lease = self._take()
                if lease is None:
                    return
                reached = lease[0]
                channel.write(p.LEASE, p.LEASE_HEADER.pack(_RUN, *lease, 0, 1))
                while reached < lease[0] + lease[1]:
                    reached = self._read(channel, reached)
        except (Closed, OSError):
            if lease is not None:
                self._lost(reached, lease[0] + lease[1])

    def rest(self) -> None:
        """Tell what nobody was left to run."""
        while True:
            lease = self._take()
            if lease is None:
                return
            for index in range(lease[0], lease[0] + lease[1]):
                self._say(index, error=_lost_error(index))

    def _begin(self, worker: Worker) -> None:
        spec, channel = self._spec, worker.channel
        channel.read()  # HELLO
        source, name = spec["source"].encode(), spec["name"].encode()
        entry = spec["entry"].encode()
        digest = hashlib.sha256(source).digest()
        head = p.SOURCE_HEADER.pack(digest, len(entry))
        size = len(name).to_bytes(2, "little")
        channel.write(p.SOURCE, head, entry, size, name, source)
        flags = p.ROUND_FRAMES | p.KEEP_LOGS
        flags |= p.INDEXED if spec["indexed"] else 0
        flags |= p.GRAPHICS | p.KEEP_POINT_ZERO if spec["graphics"] else 0
        if self._rows is not None:
            flags |= self._give_rows(worker, self._rows)
        run = p.RUN_HEADER.pack(
            _RUN, digest, spec["seed"], flags, MAX_LEN, MAX_VALUE_BYTES, MAX_LOG_BYTES, 0
        )
        channel.write(p.RUN, run, json.dumps(spec["parameters"]).encode())

    def _give_rows(self, worker: Worker, rows: datafile.Cut) -> int:
        """Hand a worker the files of the rows; return the flags that say how to read them."""
        paths = [rows.file] if rows.offsets is None else [rows.file, rows.offsets]
        files = [os.open(path, os.O_RDONLY) for path in paths]
        try:
            worker.give(files)
        finally:
            for file in files:
                os.close(file)
        spec = self._spec
        return (
            p.ROWS
            | (p.CUT if rows.offsets is not None else 0)
            | (p.NA_OMIT if spec["na_omit"] else 0)
            | (p.SPLICE if spec["splice"] else 0)
            | INPUT_TYPES[spec["input_type"]]
        )

    def _take(self) -> tuple[int, int] | None:
        with self._lock:
            if self._again:
                return self._again.pop()
            if self._next >= self._end:
                return None
            count = min(self._lease, self._end - self._next)
            self._next += count
            return self._next - count, count

    def _read(self, channel: Channel, reached: int) -> int:
        """Take a frame; return the index that comes after what it told."""
        kind, body = channel.read()
        if kind == p.VALUES:
            _, start, count, _, _ = p.VALUES_HEADER.unpack_from(body)
            for position, value in enumerate(json.loads(body[p.VALUES_HEADER.size :])):
                self._say(start + position, value=value)
            return int(start + count)
        if kind == p.OUTCOME:
            return self._outcome(body)
        if kind == p.RETIRE:
            raise Closed
        return reached

    def _outcome(self, body: bytes) -> int:
        _, index, size = p.OUTCOME_HEADER.unpack_from(body)
        at = p.OUTCOME_HEADER.size
        head = json.loads(body[at : at + size])
        at += size
        value = body[at : at + head["value"]]
        at += head["value"]
        told: dict[str, Any] = {}
        if head["log"]:
            told["log"] = body[at : at + head["log"]].decode("utf-8", "replace")
        at += head["log"]
        images = []
        for length, title in head["images"]:
            images.append([base64.b64encode(body[at : at + length]).decode(), title])
            at += length
        if images:
            told["images"] = images
        if "failure" in head:
            names = ("code", "type", "message", "traceback")
            told["error"] = dict(zip(names, head["failure"]))
        else:
            told["text"] = value.decode()
            told["value"] = json.loads(value)
        self._say(index, **told)
        return int(index) + 1

    def _lost(self, index: int, end: int) -> None:
        """Blame the call that was running for the worker's death, and have the others run."""
        self._say(index, error=_lost_error(index))
        if index + 1 < end:
            with self._lock:
                self._again.append((index + 1, end - index - 1))

    def _say(self, index: int, **told: Any) -> None:
        with self._lock:
            sys.stdout.write(json.dumps(dict(told, index=index)) + "\n")
            sys.stdout.flush()


def entry_of(source: str, name: str) -> str | None:
    """Return the function that a run calls, by the server's rule; None if there is none."""
    found = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    for wanted in (name, "main"):
        if wanted in found:
            return wanted
    return found[0] if found else None


def _lost_error(index: int) -> dict[str, Any]:
    message = "its process ended while it ran index %d" % index
    return {"code": LOST, "type": "WorkerLost", "message": message, "traceback": ""}


def main() -> int:
    """Run what standard input says; return the exit status."""
    spec = json.load(sys.stdin)
    sys.path[:] = [entry for entry in sys.path if entry not in ("", os.getcwd())]
    try:
        entry = entry_of(spec["source"], spec["name"])
    except SyntaxError as exc:
        sys.stderr.write("%s, line %s: %s\n" % (spec["name"], exc.lineno, exc.msg))
        return 2
    if entry is None:
        sys.stderr.write(NO_FUNCTION + "\n")
        return 2
    spec["entry"] = entry
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = datafile.cut(spec["data"], folder) if "data" in spec else None
        except datafile.Unusable as exc:
            sys.stderr.write("%s\n" % exc)
            return 2
        times = spec["times"] if rows is None else rows.calls
        refusal = _refusal(spec, is_given=spec["indexed"] or rows is not None)
        if refusal is not None:
            sys.stdout.write(json.dumps({"refused": refusal}) + "\n")
            return 0
        told: dict[str, Any] = {"calls": times}
        if rows is not None and rows.keys is not None:
            told["keys"] = rows.keys
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        _run(Alone(spec, rows), folder, min(spec["degree"], times))
    return 0


def _refusal(spec: dict[str, Any], *, is_given: bool) -> str | None:
    """Say why the function does not take its arguments, as the server would; None if it does."""
    signature = signature_of(spec["source"], spec["entry"])
    if signature is None:
        return None
    refusal = refusal_of(signature, int(is_given), spec["parameters"], types=True)
    return None if refusal is None else refusal.message


def _run(run: Alone, folder: str, degree: int) -> None:
    workers = [Worker(folder, number) for number in range(degree)]
    threads = [threading.Thread(target=run.serve, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.rest()
    for worker in workers:
        _end(worker.pid)


def _end(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main())
