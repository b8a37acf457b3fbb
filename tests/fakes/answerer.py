"""Answers asks of tests: what it was asked, a file, nothing for long, or an error."""

from __future__ import annotations

import asyncio
import os

import orjson

from fanfold_server.engine.port import Ask, Reply, Work
from fanfold_server.model.errors import DataUnavailable, UnknownTable


class FakeAnswerer:
    """The `Answerer` of the port.

    Attributes:
        asked: (caller, verb, members) of every ask that was taken.
        ended: asks of the verb "wait" that were cancelled.
        under_way, most: asks that are worked for, and the most of these at once.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, object]]] = []
        self.ended = 0
        self.under_way = 0
        self.most = 0

    async def answer(self, work: Work, ask: Ask) -> Reply:
        self.asked.append((work.caller, ask.verb, dict(ask.members)))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await self._answer(ask)
        finally:
            self.under_way -= 1

    async def _answer(self, ask: Ask) -> Reply:
        match ask.verb:
            case "wait":
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    self.ended += 1
                    raise
            case "pause":
                await asyncio.sleep(0.02)
            case "missing":
                raise UnknownTable("There is no such table.")
            case "away":
                raise DataUnavailable
            case "broken":
                raise ZeroDivisionError
            case "large":
                return Reply(json=b'"' + b"x" * 1_000_000 + b'"')
            case "give":
                assert ask.payload is not None
                told = os.pread(ask.payload, ask.payload_bytes, 0)
                return Reply(json=orjson.dumps(told.decode()))
            case "take":
                return Reply(file=os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
            case _:
                pass
        return Reply(json=orjson.dumps(ask.members))
