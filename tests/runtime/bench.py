"""A workbench for what the runtime promises: a real engine, driven from ordinary tests."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil
import uvloop

from fanfold_server.engine.cgroup import Groups
from fanfold_server.engine.ladder import Ladder, climb
from fanfold_server.engine.limits import Limits, Tiers
from fanfold_server.engine.local import LocalEngine
from fanfold_server.engine.options import EngineOptions
from fanfold_server.engine.port import Work
from fanfold_server.engine.running import LocalRun, RunLimits
from fanfold_server.engine.sandbox import Openings, Sandbox
from fanfold_server.model.apply import ServiceLevel
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import FanfoldError
from fanfold_server.model.network import ScriptNetwork
from fanfold_server.model.outcome import Failed, Failure, Outcome, Returned, Values
from tests.fakes.words import script_of
from tests.family import offspring

ANSWER_LIMIT_S = 120.0
"""How long a test waits for anything before it fails."""

T = TypeVar("T")

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


@cache
def ladder(wanted: str = "auto", prefix: Path | None = None) -> Ladder:
    """Return how high this host lets us climb; it is tried once."""
    return climb(wanted, prefix=prefix)


@dataclass
class Record:
    """What came of a run; the `Recorder` of the port.

    Attributes:
        texts: index → the value's JSON, for calls that returned.
        failures: index → why a call has no value.
        outcomes: index → what was reported beyond a plain value.
        error: why the engine gave the run up, if it did.
    """

    texts: dict[int, bytes] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    error: BaseException | None = None

    def values(self, values: Values) -> None:
        raw = _split(b"[" + values.json + b"]")
        assert len(raw) == values.count
        for position, text in enumerate(raw):
            self._take(values.start + position)
            self.texts[values.start + position] = bytes(text)

    def outcome(self, outcome: Outcome) -> None:
        self._take(outcome.index)
        self.outcomes[outcome.index] = outcome
        match outcome:
            case Returned():
                self.texts[outcome.index] = outcome.json
            case Failed():
                self.failures[outcome.index] = outcome.failure

    def _take(self, index: int) -> None:
        assert index not in self.texts, f"index {index} is recorded twice"
        assert index not in self.failures, f"index {index} is recorded twice"

    @property
    def returned(self) -> dict[int, Any]:
        """Index → value."""
        return {index: json.loads(text) for index, text in sorted(self.texts.items())}

    @property
    def value(self) -> Any:
        """The value of the only call, which returned."""
        assert self.error is None, self.error
        assert not self.failures, self.failures
        (text,) = self.texts.values()
        return json.loads(text)

    @property
    def failure(self) -> Failure:
        """The failure of the only call that failed."""
        assert self.error is None, self.error
        (failure,) = self.failures.values()
        return failure

    @property
    def logs(self) -> dict[int, str]:
        """Index → what the call printed, for those that were reported with it."""
        return {index: outcome.log for index, outcome in sorted(self.outcomes.items())}


class Engine:
    """A `LocalEngine` on a thread of its own.

    Args:
        environment: where code runs if a run does not say otherwise.

    Attributes:
        rung: what stands around its workers.
        shared: a directory that its workers may write to.
    """

    def __init__(
        self,
        environment: Environment,
        cache: Path,
        *,
        reuse: str = "auto",
        workers: int = 8,
        preload: tuple[str, ...] = ("numpy", "pandas", "matplotlib.pyplot"),
        limits: RunLimits | None = None,
        memory_mib: int = 4096,
        files: int = 256,
        processes: int = 512,
        file_mib: int = 256,
        tmp_mib: int = 1024,
        isolation: str = "auto",
        openings: Openings | None = None,
        allow_root: bool = True,
        groups: Groups | None = None,
        levels: Mapping[ServiceLevel, Mapping[str, Any]] | None = None,
        threads: int | None = None,
        cores: int | None = None,
        warm_memory_mib: int = 8192,
        **further: Any,
    ) -> None:
        self.environment = environment
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine")
        self._thread.start()
        self.faults: list[dict[str, Any]] = []
        options = EngineOptions(
            workers=workers,
            pools=16,
            max_queued_runs=10_000,
            reuse=reuse,
            preload=preload,
            limits=limits or run_limits(),
            threads=threads,
            cores=cores or len(os.sched_getaffinity(0)),
            warm_memory_mib=warm_memory_mib,
        )
        limited = Limits(
            memory_mib=memory_mib,
            files=files,
            processes=processes,
            file_mib=file_mib,
            tmp_mib=tmp_mib,
            **further,
        )
        tiers = Tiers(
            limited, {level: replace(limited, **own) for level, own in (levels or {}).items()}
        )
        found = ladder(isolation, environment.prefix)
        self.rung = found.rung
        self.shared = Path(tempfile.mkdtemp(prefix="shared-"))
        self.shared.chmod(0o777)
        openings = openings or Openings(writable=(self.shared,))
        sandbox = Sandbox(tiers, found, openings, allow_root=allow_root, groups=groups)
        self.engine = self._await(self._open(options, sandbox, cache))
        self.scratch = self.engine._pools._scratch.path

    async def _open(self, options: EngineOptions, sandbox: Sandbox, cache: Path) -> LocalEngine:
        self._loop.set_exception_handler(lambda _, context: self.faults.append(context))
        engine = LocalEngine(options=options, sandbox=sandbox, cache=cache, spare=None)
        engine.open()
        return engine

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(ANSWER_LIMIT_S)

    def call(self, function: Callable[[], T]) -> T:
        """Return what the function returns on the engine's own thread."""

        async def called() -> T:
            return function()

        return self._await(called())

    def run(self, source: str, **options: Any) -> Record:
        """Run a script to its end: see `start`."""
        return self.start(source, **options).wait()

    def start(
        self,
        source: str,
        *,
        count: int = 1,
        start: int = 1,
        degree: int = 2,
        entry: str = "f",
        owner: str = "ANN",
        caller: str | None = None,
        parameters: Mapping[str, object] | str | None = None,
        environment: Environment | None = None,
        network: ScriptNetwork | None = None,
        **options: Any,
    ) -> Going:
        """Begin a run of a script's function, `f` if nothing else is said."""
        source = textwrap.dedent(source)
        script = replace(script_of(source, owner=owner, entry=entry), network=network)
        if not isinstance(parameters, str):
            parameters = json.dumps(parameters or {})
        settings: dict[str, Any] = {
            "indexed": True,
            "seed": 7,
            "graphics": False,
            "keep_point_zero": False,
            "keep_logs": False,
            "stop_on_failure": False,
            "timeout_s": ANSWER_LIMIT_S - 5,
        } | options
        work = Work(
            script=script,
            environment=environment or self.environment,
            caller=caller or owner,
            start=start,
            count=count,
            degree=min(degree, count),
            parameters=parameters.encode(),
            **settings,
        )
        record = Record()
        return Going(self, self.call(lambda: self.engine.start(work, record)), record)

    def workers(self) -> dict[int, int]:
        """Return the live workers: number → process id."""

        def look() -> dict[int, int]:
            return {w.number: w.pid for pool in self.engine._pools for w in pool.workers.values()}

        return self.call(look)

    def outside(self, pid: int, owner: str = "ANN") -> int:
        """Return what this machine calls the process that its worker calls `pid`."""
        (found,) = (p for p in self.family(owner) if namespace_pid(p) == pid)
        return found

    def family(self, owner: str = "ANN") -> list[int]:
        """Return the workers of an owner and what they have started."""
        return [p.pid for p in offspring(psutil.Process(self.zygote_pid(owner)))]

    def has_untouched(self, owner: str = "ANN") -> bool:
        """Tell whether a process that has served nobody is there for an owner, or coming."""
        pools = self.call(lambda: [p for p in self.engine.pools if p.owner == owner])
        return any(pool.untouched for pool in pools)

    def zygote_pid(self, owner: str = "ANN") -> int:
        """Return the process id of an owner's zygote."""
        pools = self.call(lambda: [p for p in self.engine._pools if p.owner == owner])
        return pools[0].zygote.process.pid

    def close(self) -> None:
        """Close the engine; nothing that it made may be left."""
        self._await(self.engine.close())
        shutil.rmtree(self.shared)
        strays = processes_with(str(self.scratch))
        files = self.scratch.exists()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_LIMIT_S)
        self._loop.close()
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
        assert not strays, f"processes were left: {strays}"
        assert not files, "files were left"
        assert not self.faults, self.faults


class Going:
    """A run under way."""

    def __init__(self, engine: Engine, run: LocalRun, record: Record) -> None:
        self._engine = engine
        self._run = run
        self.record = record

    def wait(self) -> Record:
        """Wait for the end of the run and return what came of it."""

        async def end() -> None:
            try:
                await asyncio.wait_for(asyncio.shield(self._run.done), ANSWER_LIMIT_S)
            except (FanfoldError, TimeoutError) as exc:
                self.record.error = exc

        self._engine._await(end())
        assert not isinstance(self.record.error, TimeoutError), "the run hangs"
        return self.record

    def cancel(self) -> None:
        self._engine.call(self._run.cancel)

    def peek(self) -> BaseException | None:
        """Return how the run ended; its engine may be closed."""
        return self._run.done.exception() if self._run.done.done() else None

    @property
    def pids(self) -> list[int]:
        """The processes that work for the run, by their own numbers."""
        return self._engine.call(lambda: [worker.pid for worker in self._run.workers if worker.pid])


def run_limits(
    *,
    max_len: int = 5_000,
    max_value_bytes: int = 64 << 20,
    max_log_bytes: int = 4_000,
    refuse_output: bool = False,
) -> RunLimits:
    """Return the limits of runs, small where a test would otherwise take long."""
    return RunLimits(
        max_len=max_len,
        max_value_bytes=max_value_bytes,
        max_log_bytes=max_log_bytes,
        refuse_output=refuse_output,
    )


def processes_with(word: str) -> list[int]:
    """Return the live processes whose environment holds the word."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                held = word.encode() in (folder / "environ").read_bytes()
            except OSError:  # it has ended
                continue
            if held and _state(int(folder.name)) not in "ZX":
                found.append(int(folder.name))
    return found


def namespace_pid(pid: int) -> int:
    """Return what a process calls itself; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return next(int(line.split()[-1]) for line in lines if line.startswith("NSpid:"))


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def wait_until(claim: Callable[[], bool], what: str) -> None:
    """Wait until the claim holds; fail when it does not in time."""
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while not claim():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        threading.Event().wait(0.01)


def descriptors() -> dict[int, str]:
    """Return the open descriptors of this process: number → what it stands for."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them
            found[int(link.name)] = str(link.readlink())
    return found


@contextmanager
def opened(
    environment: Environment, cache: Path, *, alone: bool = False, **options: Any
) -> Iterator[Engine]:
    """Open an engine, and prove at its end that it leaves nothing behind.

    Args:
        alone: no other engine is open meanwhile, so that descriptors can be counted, too.
        options: see `Engine`.
    """
    uvloop.new_event_loop().close()  # the first one makes pipes that stay
    before = descriptors()
    engine = Engine(environment, cache, **options)
    try:
        yield engine
    finally:
        engine.close()
    if alone:
        left = {k: v for k, v in descriptors().items() if before.get(k) != v}
        assert not left, left


@asynccontextmanager
async def small_engine(folder: Path, *, workers: int) -> AsyncIterator[LocalEngine]:
    """Open an engine on the event loop of a test; `Engine` has a loop of its own."""
    limits = RunLimits(
        max_len=5000, max_value_bytes=1 << 20, max_log_bytes=4096, refuse_output=False
    )
    engine = LocalEngine(
        options=EngineOptions(
            workers=workers, pools=4, max_queued_runs=100, reuse="auto", preload=(), limits=limits
        ),
        sandbox=Sandbox(Limits(memory_mib=2048, files=256, processes=256, file_mib=64), ladder()),
        cache=folder / "cache",
        spare=None,
    )
    engine.open()
    try:
        yield engine
    finally:
        await engine.close()
