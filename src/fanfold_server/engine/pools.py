"""All pools of this machine: which there are, and the zygote that is ready for the next owner."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from fanfold_server.engine.bundle import write_bundle
from fanfold_server.engine.memory import family_kib
from fanfold_server.engine.outlets import Outlets
from fanfold_server.engine.pool import Host, Pool
from fanfold_server.engine.port import Work
from fanfold_server.engine.sandbox import NetworkRefused, RootRefused, Sandbox
from fanfold_server.engine.scratch import Scratch
from fanfold_server.engine.uses import is_going
from fanfold_server.engine.watching import Watch
from fanfold_server.engine.zygote import Zygote
from fanfold_server.model.apply import ServiceLevel
from fanfold_server.model.environment import Environment, Warm
from fanfold_server.model.network import Network

MEASURE_S = 5.0
"""How often the memory of idle pools is measured."""

USUAL = ServiceLevel.LOW
"""The level of runs that name none: what is kept ready is for them."""

REFILL_AFTER_S = 1.0
"""How long after the spare zygote was taken the next is started: the run goes first."""

_Key = tuple[str, str, int, str]
"""Owner, environment, tier of limits, network policy."""


class Pools:
    """One pool for each (script owner, environment, limits, network) that has been used lately.

    Args:
        host: the engine, which pools report to.
        limit: pools at most; the least recently used that is idle is ended for a new one.
        preload: modules that zygotes import.
        cache: directory for what speeds up the start of environments.
        spare: the environment for which an unowned zygote is kept ready; None for none.
        warm_memory_mib: what the pools that are idle may take, together.
        max_frame_bytes: the longest frame that is taken from a worker.
    """

    def __init__(
        self,
        *,
        host: Host,
        sandbox: Sandbox,
        limit: int,
        preload: tuple[str, ...],
        cache: Path,
        spare: Environment | None,
        warm_memory_mib: int,
        max_frame_bytes: int,
    ) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._warm_memory_kib = warm_memory_mib * 1024
        self._measured_at = 0.0
        self._measuring: asyncio.Task[None] | None = None
        self._host = host
        self._sandbox = sandbox
        self._usual_tier = sandbox.tiers.number(USUAL)
        self._limit = limit
        self._preload = preload
        self._cache = cache
        self._spare_environment = spare
        self._spare: Zygote | None = None
        self._pools: dict[_Key, Pool] = {}
        self._leaving: list[Pool] = []  # have runs to finish, and take no new ones
        self._numbers = itertools.count(1)
        self._closing = False
        self._background: set[asyncio.Task[None]] = set()
        self._refusal = ""
        self._watch = Watch()
        self._scratch = Scratch()
        self._bundle = write_bundle(self._scratch.path)
        self._outlets = Outlets(self._scratch.path)

    def __iter__(self) -> Iterator[Pool]:
        return iter([*self._pools.values(), *self._leaving])

    def __len__(self) -> int:
        return len(self._pools) + len(self._leaving)

    @property
    def busy(self) -> int:
        """Workers that are not idle."""
        busy = 0
        for pool in self._pools.values():  # asked for at every run: no generator, no list
            busy += pool.busy
        for pool in self._leaving:
            busy += pool.busy
        return busy

    @property
    def is_ready(self) -> bool:
        """Whether a run could begin without waiting for an interpreter to start."""
        zygotes = [pool.zygote for pool in self._pools.values()]
        spare = self._spare
        return any(z.ready.done() for z in zygotes) or spare is None or spare.ready.done()

    @property
    def facts(self) -> dict[str, Any]:
        """What some zygote has said of itself: see `fanfold_runtime.zygote`."""
        zygotes = [pool.zygote for pool in self._pools.values()]
        if self._spare is not None:
            zygotes.append(self._spare)
        return next((z.facts for z in zygotes if z.facts), {})

    @property
    def refusal(self) -> str:
        """Why the last process that could not be started was not."""
        return self._refusal

    def of(self, work: Work) -> Pool | None:
        """Return the pool for a work, a new one if need be; None if no process can be started."""
        tier = self._sandbox.tiers.number(work.level)
        network = self._sandbox.network_of(work.environment, work.script.network)
        return self._pool(work.script.owner, work.environment, tier, network)

    def _pool(
        self, owner: str, environment: Environment, tier: int, network: Network
    ) -> Pool | None:
        key = (owner, environment.label, tier, network.label)
        pool = self._pools.get(key)
        if pool is not None and (
            pool.zygote.environment is environment or pool.zygote.environment == environment
        ):
            return pool
        if pool is not None:  # the name stands for another prefix now
            self._leaving.append(self._pools.pop(key))
        self._make_room()
        try:
            self._sandbox.require(network)
            zygote = self._take_spare(environment, tier, network) or self._new_zygote(
                environment, tier, network
            )
        except (OSError, RootRefused, NetworkRefused) as exc:
            self._refusal = str(exc)
            return None
        pool = self._pools[key] = Pool(
            owner=owner,
            zygote=zygote,
            host=self._host,
            watch=self._watch,
            max_frame_bytes=self._max_frame_bytes,
        )
        return pool

    def _make_room(self) -> None:
        if len(self._pools) < self._limit:
            return
        idle = [key for key, pool in self._pools.items() if _is_idle(pool) and not pool.kept]
        if idle:
            self._retire(min(idle, key=lambda key: self._pools[key].last_used))

    def _new_zygote(self, environment: Environment, tier: int, network: Network) -> Zygote:
        return Zygote(
            number=next(self._numbers),
            environment=environment,
            sandbox=self._sandbox,
            bundle=self._bundle,
            scratch=self._scratch.path,
            cache=self._cache / environment.label,
            preload=self._preload if environment.preload is None else environment.preload,
            limits=self._sandbox.tiers[tier],
            network=network,
            outlets=self._outlets,
        )

    def _take_spare(self, environment: Environment, tier: int, network: Network) -> Zygote | None:
        spare = self._spare
        if spare is None or spare.environment != environment or not spare.is_alive:
            return None
        if tier != self._usual_tier or spare.network != network:
            return None
        self._spare = None
        asyncio.get_running_loop().call_later(REFILL_AFTER_S, self.refill)
        return spare

    def refill(self) -> None:
        """Start the spare zygote if there is none."""
        if self._closing or self._spare_environment is None:
            return
        if self._spare is not None:
            if self._spare.is_alive:
                return
            self._later(self._spare.close())
        try:
            network = self._sandbox.network_of(self._spare_environment, None)
            self._sandbox.require(network)
            self._spare = self._new_zygote(self._spare_environment, self._usual_tier, network)
        except (OSError, RootRefused, NetworkRefused):  # the first run will say why
            self._spare = None

    def keep(self, owner: str, environment: Environment) -> None:
        network = self._sandbox.network_of(environment, None)
        pool = self._pool(owner, environment, self._usual_tier, network)
        if pool is not None:
            pool.kept = True
            if not pool.workers:
                pool.grow()

    def release(self, owner: str, environment: Environment) -> None:
        network = self._sandbox.network_of(environment, None)
        pool = self._pools.get((owner, environment.label, self._usual_tier, network.label))
        if pool is not None:
            pool.kept = False

    def warm(self) -> list[Warm]:
        """List the interpreters that have started for somebody, and their workers."""
        return [
            Warm(
                owner=pool.owner,
                environment=pool.zygote.environment.name,
                version=pool.zygote.environment.version,
                workers=len(pool.workers),
                busy=pool.busy,
                preloaded=pool.kept,
            )
            for pool in self._pools.values()
            if pool.zygote.ready.done()
        ]

    # ------------------------------------------------------------------ the end

    def drop(self, pool: Pool) -> None:
        """Forget a pool whose zygote has ended by itself."""
        self._pools = {key: other for key, other in self._pools.items() if other is not pool}
        self._leaving = [other for other in self._leaving if other is not pool]
        self._later(pool.zygote.close())

    def tend(self, now: float, idle_s: float) -> None:
        """Look at calls in hand, at memory, and for pools that nobody has used for so long."""
        self._watch.look(self)
        if now - self._measured_at >= MEASURE_S and self._measuring is None:
            self._measured_at = now
            self._measuring = asyncio.get_running_loop().create_task(self._fit())
            self._measuring.add_done_callback(self._has_measured)
        for key, pool in list(self._pools.items()):
            is_old = pool.last_used < now - idle_s and not pool.kept
            if _is_idle(pool) and (is_old or is_going(pool.zygote.environment)):
                self._retire(key)
            else:
                pool.note_use()
        spare = self._spare_environment
        if spare is not None and is_going(spare):
            self._spare_environment = None
            if self._spare is not None:
                self._later(self._spare.close())
                self._spare = None
        for pool in [pool for pool in self._leaving if _is_idle(pool)]:
            self._leaving.remove(pool)
            self._later(pool.close())

    async def _fit(self) -> None:
        """End idle pools, the least recently used first, until the rest fits into the memory."""
        idle = {
            key: pool.zygote.process.pid
            for key, pool in self._pools.items()
            if _is_idle(pool) and not pool.kept
        }
        if not idle:
            return
        taken_kib = await asyncio.to_thread(family_kib, idle.values())
        sizes = {key: taken_kib[pid] for key, pid in idle.items()}
        total_kib = sum(sizes.values())
        known = [key for key in sizes if key in self._pools]
        for key in sorted(known, key=lambda key: self._pools[key].last_used):
            if total_kib <= self._warm_memory_kib:
                break
            if _is_idle(self._pools[key]):
                self._retire(key)
                total_kib -= sizes[key]

    def _has_measured(self, task: asyncio.Task[None]) -> None:
        self._measuring = None
        if not task.cancelled():
            task.result()

    def _retire(self, key: _Key) -> None:
        self._later(self._pools.pop(key).close())

    def _later(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """End every process and remove every file."""
        self._closing = True
        if self._measuring is not None:
            self._measuring.cancel()
        spare = [self._spare.close()] if self._spare is not None else []
        await asyncio.gather(*(pool.close() for pool in self), *spare)
        await asyncio.gather(*self._background, return_exceptions=True)
        self._pools.clear()
        self._leaving.clear()
        if self._sandbox.groups is not None:
            await self._sandbox.groups.close()
        self._outlets.close_all()
        await asyncio.to_thread(self._scratch.close)


def _is_idle(pool: Pool) -> bool:
    return not pool.waiting and not pool.busy
