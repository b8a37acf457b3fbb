from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from fanfold_server.engine.port import Recorder, Work
from fanfold_server.model.outcome import Failed, Failure, FailureKind, Returned, Values


class PlainRunning:
    def __init__(self, engine: PlainEngine, work: Work, recorder: Recorder) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(engine, work, recorder))

    async def _run(self, engine: PlainEngine, work: Work, recorder: Recorder) -> None:
        engine.running += 1
        try:
            for index in range(work.start, work.start + work.count):
                await engine.open.wait()
                engine.calls.append(index)
                try:
                    value = engine.function(index)
                except Exception as exc:  # noqa: BLE001  # as a worker takes whatever is raised
                    kind = FailureKind.RAISED
                    failure = Failure(kind=kind, type=type(exc).__name__, message=str(exc))
                    recorder.outcome(Failed(index=index, failure=failure))
                    if work.stop_on_failure:
                        break
                else:
                    if isinstance(value, Returned):
                        recorder.outcome(value)
                    else:
                        json = orjson.dumps(value)
                        recorder.values(Values(start=index, count=1, json=json))
                await asyncio.sleep(0)
            if not self.done.done():
                self.done.set_result(None)
        finally:
            engine.running -= 1

    def cancel(self) -> None:
        self._task.cancel()
        if not self.done.done():
            self.done.set_result(None)


class PlainEngine:
    """`Engine` that calls a Python function in this process; it gives a value, or a `Returned`.

    Attributes:
        open: calls wait for it.
        calls: indexes of the calls that were begun, in order.
        running: works under way.
        refusals: errors that the next starts raise or end with, the last one first.
    """

    def __init__(self, function: Callable[[int], Any]) -> None:
        self.function = function
        self.open = asyncio.Event()
        self.open.set()
        self.calls: list[int] = []
        self.running = 0
        self.refusals: list[Exception] = []

    def start(self, work: Work, recorder: Recorder) -> PlainRunning:
        if self.refusals:
            raise self.refusals.pop()
        return PlainRunning(self, work, recorder)

    def describe(self) -> dict[str, Any]:
        return {"ready": True}
