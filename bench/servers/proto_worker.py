"""The design probe's worker: a blocking loop over one end of a socketpair.

Frames: u32 length | payload. RUN: u32 run, u32 script, u64 start, u64 count, u32 budget_us.
Answer: u32 run | u8 status | u64 start | u64 done | u32 spent_us | JSON array. A RUN is a lease:
the worker stops when its time is up and says how many it did.
"""

# ruff: noqa: PLR2004 (4 bytes of length)

import socket
import struct
import sys
import threading
import time

import orjson

from bench.functions import sources

U32 = struct.Struct("<I")
RUN = struct.Struct("<IIQQI")
ANSWER = struct.Struct("<IBQQI")
MOST = 65536

indexes = None
deadline = 0.0
armed = threading.Event()


def tick():
    # A list's iterator looks at the length at every step, so emptying the list from here ends the
    # comprehension after the index in hand, and the limit costs nothing per index.
    while True:
        armed.wait()
        mine, left = indexes, deadline - time.perf_counter()
        if left <= 0 and mine is not None:
            mine.clear()
        time.sleep(min(max(left, 0.001), 0.005))


def run(function, start, count, budget_us, began):
    global indexes, deadline  # noqa: PLW0603 (the ticker looks at them)
    if count == 1:
        return [function(start)]
    mine = list(range(start, start + min(count, MOST)))
    indexes, deadline = None, began + budget_us * 1e-6
    indexes = mine
    armed.set()
    values = [function(k) for k in mine]
    armed.clear()
    return values


def main(descriptor):
    sock = socket.socket(fileno=descriptor)
    reading = sock.makefile("rb", buffering=1 << 16)
    namespace = {}
    texts = sources()
    for text in texts.values():
        exec(text, namespace)  # noqa: S102 (ours)
    functions = [namespace[name] for name in texts]
    threading.Thread(target=tick, daemon=True).start()
    while True:
        head = reading.read(4)
        if len(head) < 4:
            return
        number, script, start, count, budget_us = RUN.unpack(reading.read(U32.unpack(head)[0]))
        began = time.perf_counter()
        status, done = 0, 0
        try:
            values = run(functions[script], start, count, budget_us, began)
            done = len(values)
            text = orjson.dumps(values)[1:-1]
        except Exception as exc:  # noqa: BLE001 (whatever the function raises is its answer)
            status, text = 1, repr(exc).encode()
        spent_us = int((time.perf_counter() - began) * 1e6)
        answer = ANSWER.pack(number, status, start, done, spent_us)
        sock.sendall(U32.pack(len(answer) + len(text)) + answer + text)


if __name__ == "__main__":
    main(int(sys.argv[1]))
