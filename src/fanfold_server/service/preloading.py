"""Keeping interpreters of environments started for whoever has asked, for a while.

Kept in memory: a server that starts again has none, and the first run starts one as ever. To start
interpreters for everybody who once asked would keep those waiting who ask now.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fanfold_server.engine.port import Warmer
from fanfold_server.environments.port import Environments
from fanfold_server.model.actor import Actor
from fanfold_server.model.environment import APPLICATION, Environment
from fanfold_server.model.errors import InvalidField, NotPreloaded, PreloadRefused
from fanfold_server.service.access import utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Preloaded:
    """An environment that is kept started for an account.

    Attributes:
        id: of the request, a UUID.
    """

    id: str
    environment: Environment
    created: datetime
    expires: datetime


class Preloading:
    """Preloads environments.

    Args:
        warmer: starts and keeps interpreters; None: this server has none.
        per_user: how many an account may have at once.
        lifetime_s: how long each is kept, > 0.
    """

    def __init__(
        self,
        environments: Environments,
        warmer: Warmer | None,
        *,
        per_user: int,
        lifetime_s: int,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._environments = environments
        self._warmer = warmer
        self._per_user = per_user
        self._lifetime_s = lifetime_s
        self._now = now
        self._kept: dict[tuple[str, str], tuple[Preloaded, asyncio.TimerHandle]] = {}

    async def preload(self, actor: Actor, name: str, *, overwrite: bool) -> Preloaded:
        """Have an environment started and kept; it goes on while the answer is on its way.

        Args:
            overwrite: begin its time anew if it is preloaded already.

        Raises:
            InvalidField: there is no name.
            UnknownEnvironment: there is no environment of this name.
            PreloadRefused: it is not for functions, the account has as many as it may have, it is
                preloaded already, or this server starts no interpreters.
        """
        if not name:
            raise InvalidField('The member "envName" names the environment.', field="envName")
        environment = self._environments.find(name)
        listed = await self._environments.listing(actor)
        tags = next((entry["tags"] for entry in listed if entry["name"] == environment.name), {})
        application = tags.get("application", "") if isinstance(tags, dict) else ""
        if str(application).upper() != APPLICATION:
            raise PreloadRefused(
                f'The environment "{name}" has not the tag application "{APPLICATION}".'
            )
        if self._warmer is None:
            raise PreloadRefused("Functions do not run on this server, but on agents beside it.")
        key = (actor.name, environment.name)
        if key in self._kept:
            if not overwrite:
                raise PreloadRefused(
                    f'The environment "{name}" is preloaded already; send "overwrite": true to '
                    "begin its time anew."
                )
            self._end(key)
        own = sum(owner == actor.name for owner, _ in self._kept)
        if own >= self._per_user:
            raise PreloadRefused(
                f"You have preloaded {own} environments, and may have {self._per_user}: delete one."
            )
        self._warmer.keep(actor.name, environment)
        created = self._now()
        preloaded = Preloaded(
            id=str(uuid.uuid4()),
            environment=environment,
            created=created,
            expires=created + timedelta(seconds=self._lifetime_s),
        )
        loop = asyncio.get_running_loop()
        self._kept[key] = (preloaded, loop.call_later(self._lifetime_s, self._end, key))
        return preloaded

    def has(self, actor: Actor, preload_id: str) -> bool:
        """Tell whether this is the id of something that the actor has preloaded."""
        return any(one.id == preload_id for one in self.listing(actor))

    def listing(self, actor: Actor) -> list[Preloaded]:
        """List what the actor has preloaded, the oldest first."""
        return [kept for (owner, _), (kept, _) in self._kept.items() if owner == actor.name]

    def drop(self, actor: Actor, name: str) -> None:
        """Let an environment that was preloaded go when it is idle.

        Raises:
            NotPreloaded: the actor has not preloaded it.
        """
        key = (actor.name, name)
        if key not in self._kept:
            raise NotPreloaded(f"Preloaded environment not found with name '{name}'")
        self._end(key)

    def _end(self, key: tuple[str, str]) -> None:
        preloaded, timer = self._kept.pop(key)
        timer.cancel()
        if self._warmer is not None:
            self._warmer.release(key[0], preloaded.environment)

    def close(self) -> None:
        """Keep nothing any more."""
        for key in list(self._kept):
            self._end(key)
