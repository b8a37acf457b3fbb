"""Trying an interpreter out: it is started and made to work exactly as it is for users' runs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fanfold_server.engine.local import LocalEngine
from fanfold_server.engine.options import EngineOptions
from fanfold_server.engine.port import Work
from fanfold_server.engine.sandbox import Sandbox
from fanfold_server.model.environment import Environment, Hello
from fanfold_server.model.errors import BuildFailed, FanfoldError
from fanfold_server.model.outcome import Failed, Outcome, Values
from fanfold_server.model.script import Script

START_LIMIT_S = 120.0
"""How long an interpreter may take to start, to import what is preloaded, and to call once."""

CALL_LIMIT_S = 5.0
"""How long a worker of an interpreter that has started may take to be forked and to call."""


class Prober:
    """Starts interpreters to see whether they work; the `Probe` of the environments' port.

    Args:
        options: of the engine that is opened for each probe; it has one worker, used once.
        sandbox: opens what interpreters are started in.
        cache: directory for what speeds up the start of environments.
    """

    def __init__(
        self, *, options: EngineOptions, sandbox: Callable[[], Awaitable[Sandbox]], cache: Path
    ) -> None:
        self._options = replace(options, workers=1, pools=1, reuse="fork")
        self._sandbox = sandbox
        self._cache = cache

    async def __call__(
        self, environment: Environment, sources: tuple[str, ...]
    ) -> tuple[Hello, list[bytes]]:
        engine = LocalEngine(
            options=self._options, sandbox=await self._sandbox(), cache=self._cache, spare=None
        )
        engine.open()
        try:
            values = []
            limit_s = START_LIMIT_S
            for source in sources:
                values.append(await _call(engine, environment, source, limit_s))
                limit_s = CALL_LIMIT_S
            facts = engine.pools.facts
        finally:
            await engine.close()
        return Hello(python=facts["python"], preload_failures=facts["preload_failures"]), values


class _Once:
    """Takes what comes of the one call."""

    def __init__(self) -> None:
        self.value = b""
        self.failed: Failed | None = None

    def values(self, values: Values) -> None:
        self.value = values.json

    def outcome(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failed):
            self.failed = outcome
        else:
            self.value = outcome.json


async def _call(
    engine: LocalEngine, environment: Environment, source: str, limit_s: float
) -> bytes:
    recorder = _Once()
    work = Work(
        script=_script(source),
        environment=environment,
        caller="",
        start=0,
        count=1,
        indexed=False,
        parameters=b"{}",
        degree=1,
        seed=0,
        graphics=False,
        keep_point_zero=False,
        keep_logs=False,
        stop_on_failure=True,
        timeout_s=limit_s,
    )
    try:
        async with asyncio.timeout(2 * limit_s):
            await engine.start(work, recorder).done
    except (FanfoldError, TimeoutError) as exc:
        why = exc.message if isinstance(exc, FanfoldError) else "it does not answer"
        raise BuildFailed(f"The environment does not work: {why}") from exc
    if recorder.failed is not None:
        failure = recorder.failed.failure
        raise BuildFailed(f"The environment does not work: {failure.type}: {failure.message}")
    return recorder.value


def _script(source: str) -> Script:
    entry = source.partition("def ")[2].partition("(")[0]
    return Script(
        name=entry,
        owner="",
        version=1,
        digest=hashlib.sha256(source.encode()).hexdigest(),
        source=source,
        entry=entry,
        description=None,
        created=datetime.now(UTC),
    )
