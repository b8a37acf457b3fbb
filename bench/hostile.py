"""What hostile clients cost the others: `python -m bench.hostile [SECONDS]`, about 50 s.

One client asks a warm function again and again, over one connection, and each kind of attack goes
on beside it for a while, from a process of its own, on a server with the default limits. Attacks
take turns, with quiet in between, so that what else the machine does meets all alike. Shown are the
median and the 99th percentile of the client's answers, and both as factors of the quiet ones; and
what became of the attackers' connections.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from bench.client import Connection, Request
from tests.acceptance.conftest import serving

ROUNDS = 3
SETTLE_S = 0.5
QUIET = "nobody else"
PATH = b"POST /oml/api/py-scripts/v2/do-eval/one HTTP/1.1\r\nHost: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
PACKED = gzip.compress(bytes(10 << 20), 9)
Attack = Callable[[int, bytes], Awaitable[str]]


async def _answer(port: int, pieces: list[bytes], *, wait_s: float = 5.0) -> str:
    """Send pieces on a connection of its own; give the status of what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        line = await asyncio.wait_for(reader.readline(), wait_s)
        return line.split(b" ")[1].decode() if line else "closed"
    except TimeoutError:
        return "waiting"
    except (ConnectionError, OSError):
        return "closed"
    finally:
        writer.close()


async def slow_loris(port: int, token: bytes) -> str:
    """Begin a request and go on with a byte now and then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(PATH + token)
        while True:
            writer.write(b"X")
            await writer.drain()
            with suppress(TimeoutError):
                line = await asyncio.wait_for(reader.readline(), 0.5)
                return line.split(b" ")[1].decode() if line else "closed"
    except (ConnectionError, OSError):
        return "closed"
    finally:
        writer.close()


async def oversized(port: int, token: bytes) -> str:
    """Announce little, and send 64 MiB in chunks, of which 16 are allowed."""
    head = PATH + token + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
    piece = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    return await _answer(port, [head, *[piece] * 64])


async def truncated(port: int, token: bytes) -> str:
    """Announce a body, send half of it and go away."""
    body = PATH + token + JSON + b"Content-Length: 100000\r\n\r\n" + b" " * 50_000
    return await _answer(port, [body], wait_s=0.05)


async def bomb(port: int, token: bytes) -> str:
    """Send 10 MiB as 10 KiB of gzip, and nested lists without an end, in turns."""
    head = PATH + token + JSON
    packed = head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED
    deep = b'{"parameters":' + b"[" * 1_000_000
    nested = head + b"Content-Length: %d\r\n\r\n" % len(deep) + deep
    await _answer(port, [packed])
    return await _answer(port, [nested])


async def pipelined(port: int, token: bytes) -> str:
    """Send sixty requests at once, without reading an answer."""
    one = b"GET /api/v1/scripts HTTP/1.1\r\nHost: localhost\r\n" + token + b"\r\n"
    return await _answer(port, [one * 60])


ATTACKS: dict[str, tuple[Attack, int]] = {
    "slow loris": (slow_loris, 400),
    "oversized": (oversized, 4),
    "truncated": (truncated, 20),
    "bombs": (bomb, 4),
    "pipelined": (pipelined, 4),
}
"""By name: what one attacker does, again and again, and how many do it at once."""


async def attack(name: str, port: int, token: bytes) -> None:
    """Attack until standard input ends; print how many connections ended in which way."""
    act, count = ATTACKS[name]
    ends: dict[str, int] = defaultdict(int)

    async def go_on() -> None:
        while True:
            ends[await act(port, token)] += 1

    tasks = [asyncio.create_task(go_on()) for _ in range(count)]
    await asyncio.to_thread(sys.stdin.read)
    told = ", ".join(f"{number} times {end}" for end, number in sorted(ends.items()))
    print(told or f"{len(tasks)} held open", flush=True)
    os._exit(0)  # a task whose answer comes just then would not hear that it is cancelled


def measure(port: int, token: str, seconds: float) -> list[float]:
    """Ask a warm function again and again; give the milliseconds of each answer."""
    request = Request(
        path="/oml/api/py-scripts/v2/do-eval/one",
        body={},
        headers=(("Authorization", f"Bearer {token}"),),
    ).raw()
    connection, taken = Connection(port), []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        status, body = connection.ask(request)
        assert status == 200, body  # noqa: PLR2004
        taken.append(1e3 * (time.perf_counter() - began))
    connection.close()
    return taken


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    taken: dict[str, list[float]] = defaultdict(list)
    ends: dict[str, list[str]] = defaultdict(list)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), "--no-access-log", users={"ada": "developer"}) as server,
        server.caller("ada") as ada,
    ):
        ada.store("one", "def one():\n    return 1\n")
        port = int(server.url.rpartition(":")[2])
        measure(port, ada.token, seconds)  # warm
        for _ in range(ROUNDS):
            for name in ATTACKS:
                taken[QUIET] += measure(port, ada.token, seconds / 2)
                command = [sys.executable, "-m", "bench.hostile", "attack", name, str(port)]
                with subprocess.Popen(
                    [*command, ada.token],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                ) as attacker:
                    time.sleep(SETTLE_S)
                    taken[name] += measure(port, ada.token, seconds)
                    ends[name].append(attacker.communicate()[0].strip())
    _report(taken, ends)


def _report(taken: dict[str, list[float]], ends: dict[str, list[str]]) -> None:
    quiet = _median_and_p99(taken[QUIET])
    print("| beside | median, ms | factor | p99, ms | factor | the attackers, last round |")
    print("|---|---|---|---|---|---|")
    for name in (QUIET, *ATTACKS):
        median, p99 = _median_and_p99(taken[name])
        print(
            f"| {name} | {median:.2f} | {median / quiet[0]:.1f} | {p99:.2f} | {p99 / quiet[1]:.1f} "
            f"| {ends[name][-1] if ends[name] else ''} |"
        )


def _median_and_p99(values: list[float]) -> tuple[float, float]:
    return statistics.median(values), statistics.quantiles(values, n=100)[98]


if __name__ == "__main__":
    if sys.argv[1:2] == ["attack"]:
        header = f"Authorization: Bearer {sys.argv[4]}\r\n".encode()
        asyncio.run(attack(sys.argv[2], int(sys.argv[3]), header))
    else:
        main()
