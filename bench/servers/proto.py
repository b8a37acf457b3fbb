"""The design's probe, not the product: asyncio, warm workers on socketpairs, spliced JSON.

No sandbox, no users, no logs: what the design reaches before features are paid for. The range is
cut into guided shares with a time limit; work known to be small goes to one worker as one lease.
"""

# ruff: noqa: PLR2004 (4 bytes of length)

import asyncio
import hmac
import os
import socket
import struct
import subprocess

import orjson

from bench.functions import sources

PREFIX = "/oml/api/py-scripts/v1/index-apply/"
TOKEN = b"Bearer t0ken"
U32 = struct.Struct("<I")
RUN = struct.Struct("<IIQQI")
ANSWER = struct.Struct("<IBQQI")
BUDGET_US = 10_000
DEPTH = 2
WORKERS = 2
SMALL_US = 1000
NAMES = {name: number for number, name in enumerate(sources())}


class Worker(asyncio.Protocol):
    def __init__(self, pool):
        self.pool, self.buffer, self.held = pool, bytearray(), 0
        self.sock, theirs = socket.socketpair()
        for end in (self.sock, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        command = [*os.environ["PROTO_WORKER"].split(), str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()

    def connection_made(self, transport):
        self.transport = transport

    def lease(self, run, start, count):
        self.held += 1
        run.held += 1
        payload = RUN.pack(run.number, run.script, start, count, BUDGET_US)
        self.transport.write(U32.pack(len(payload)) + payload)

    def data_received(self, data):
        self.buffer += data
        while len(self.buffer) >= 4:
            (size,) = U32.unpack_from(self.buffer)
            if len(self.buffer) < 4 + size:
                return
            message = bytes(memoryview(self.buffer)[4 : 4 + size])
            del self.buffer[: 4 + size]
            self.held -= 1
            self.pool.answered(ANSWER.unpack_from(message), message[ANSWER.size :])


class Run:
    def __init__(self, number, script, count, degree, future):
        self.number, self.script, self.count, self.future = number, script, count, future
        self.degree = degree
        self.waiting, self.leases, self.texts = [(1, count)], {}, {}
        self.left, self.held = count, 0

    def take(self, depth):
        start, count = self.waiting.pop()
        waits = count + sum(c for _, c in self.waiting)
        share = count if self.degree == 1 else min(count, -(-waits // (depth * self.degree)))
        if share < count:
            self.waiting.append((start + share, count - share))
        self.leases[start] = share
        return start, share


class Pool:
    def __init__(self):
        self.runs, self.queue, self.call_us, self.last = {}, [], {}, 0

    async def start(self):
        loop = asyncio.get_running_loop()
        self.workers = [Worker(self) for _ in range(WORKERS)]
        for worker in self.workers:
            await loop.create_connection(lambda worker=worker: worker, sock=worker.sock)

    def begin(self, script, count, degree):
        self.last = (self.last + 1) & 0xFFFFFFFF
        degree = max(1, min(degree, WORKERS))
        if self.call_us.get(script, 1e9) * count < SMALL_US:
            degree = 1
        future = asyncio.get_running_loop().create_future()
        run = self.runs[self.last] = Run(self.last, script, count, degree, future)
        self.queue.append(run)
        self.pump()
        return future

    def pump(self):
        for worker in sorted(self.workers, key=lambda w: w.held):
            while worker.held < DEPTH:
                fit = [r for r in self.queue if r.held < (1 if r.count == 1 else r.degree * DEPTH)]
                if not fit:
                    break
                run = fit[0]
                worker.lease(run, *run.take(DEPTH))
                if not run.waiting:
                    self.queue.remove(run)

    def answered(self, header, text):
        number, status, start, done, spent_us = header
        run = self.runs[number]
        run.held -= 1
        if status:
            del self.runs[number]
            run.future.set_exception(RuntimeError(text.decode()))
            return
        run.left -= done
        run.texts[start] = text
        self.call_us[run.script] = spent_us / done
        if not run.left:
            del self.runs[number]
            run.future.set_result(b",".join(run.texts[k] for k in sorted(run.texts)))
        tail = run.leases.pop(start) - done
        if tail:
            run.waiting.append((start + done, tail))
            if run not in self.queue:
                self.queue.append(run)
        self.pump()


pool = Pool()


async def handle(scope, body):
    sent = dict(scope["headers"]).get(b"authorization", b"")
    if not hmac.compare_digest(sent, TOKEN):
        return 401, b"{}"
    asked = orjson.loads(body)
    script = NAMES.get(scope["path"][len(PREFIX) :])
    if script is None:
        return 404, b"{}"
    degree = asked.get("parallel") or WORKERS if asked.get("parallelFlag") else 1
    return 200, b'{"result":[' + await pool.begin(script, asked["times"], degree) + b"]}"


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await pool.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for worker in pool.workers:
            worker.process.terminate()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    status, answer = await handle(scope, body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(answer)),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
