"""Who may make, turn and remove environments, and what must be so before it is done.

An environment belongs to the account that ordered it, or to the operator; its owner and every
administrator may change it, everybody may run in it. Versions never change: an update is another
version, and what has begun ends where it began.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from fanfold_server.environments.port import Shelf
from fanfold_server.model.actor import Actor
from fanfold_server.model.environment import (
    APPLICATION,
    Build,
    BuildState,
    Made,
    Order,
    Parcel,
    Recipe,
    Warm,
)
from fanfold_server.model.errors import (
    EnvironmentExists,
    EnvironmentInUse,
    EnvironmentNotFound,
    FanfoldError,
    Forbidden,
    InvalidEnvironment,
    QuotaExceeded,
    UnknownBuild,
    UnknownVersion,
)
from fanfold_server.model.network import Network, Networks
from fanfold_server.service.access import utc_now
from fanfold_server.service.recipes import refuse_beyond_names
from fanfold_server.service.unawaited import seen
from fanfold_server.store.port import EnvironmentUses

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What an environment may be called."""

DRAIN_S = 30.0
"""How long whoever drops an environment waits for runs that somebody waits for."""

MAX_TEXT = 1_000
"""The longest description, and the longest tag."""

MAX_TAGS = 20
CLOSE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An environment as those see it who may run in it.

    Attributes:
        made: its current version.
        versions: all of them, newest first.
        last_used: when something last ran in the current version.
        jobs: that have not ended and want it, in any version, by owner.
        warm: processes that have started, in any version.
        network: what functions may reach there.
    """

    made: Made
    versions: list[int]
    last_used: datetime | None
    jobs: Mapping[str, int]
    warm: list[Warm]
    network: Network


class Provisioning:
    """Makes and removes environments.

    Args:
        shelf: where they are.
        uses: which jobs that have not ended will run where.
        users_may: whether accounts that are no administrators may order environments.
        per_user: how many of their own such an account may have.
        warm: lists the processes of this server that have started.
        networks: what functions may reach in which environment.
    """

    def __init__(
        self,
        shelf: Shelf,
        uses: EnvironmentUses,
        *,
        users_may: bool,
        per_user: int,
        warm: Callable[[], list[Warm]] = list,
        networks: Networks | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._shelf = shelf
        self._uses = uses
        self._users_may = users_may
        self._per_user = per_user
        self._warm = warm
        self._networks = networks or Networks()
        self._now = now
        self._going: dict[str, tuple[Order, Build, asyncio.Task[Made]]] = {}
        self._log = structlog.get_logger("fanfold_server.environments")

    # ------------------------------------------------------------------ what there is

    def names(self) -> list[str]:
        """List the environments that were built here."""
        return self._shelf.names()

    def versions(self, name: str) -> tuple[Made | None, list[Made]]:
        """Give the current version of an environment, and all of them, newest first.

        Raises:
            EnvironmentNotFound: there is none of this name.
        """
        versions = self._shelf.versions(name) if NAME.fullmatch(name) else []
        if not versions:
            raise _unknown(name)
        return self._shelf.current(name), versions

    async def describe(self, name: str) -> Described:
        """Describe an environment.

        Raises:
            EnvironmentNotFound: there is none of this name.
        """
        _, versions = self.versions(name)
        return self._describe(versions, await self._uses.open_jobs(), self._warm())

    async def listing(self) -> list[Described]:
        """Describe all environments that were built here, by name."""
        uses, warm = await self._uses.open_jobs(), self._warm()
        listed = (self._shelf.versions(name) for name in self._shelf.names())
        return [self._describe(versions, uses, warm) for versions in listed if versions]

    def _describe(
        self,
        versions: list[Made],
        uses: Mapping[tuple[str, int | None], Mapping[str, int]],
        warm: list[Warm],
    ) -> Described:
        made = self._shelf.current(versions[0].name) or versions[0]
        jobs: dict[str, int] = {}
        for version in versions:
            for owner, count in uses.get((made.name, version.version), {}).items():
                jobs[owner] = jobs.get(owner, 0) + count
        return Described(
            made=made,
            versions=[version.version for version in versions],
            last_used=self._shelf.last_used(made),
            jobs=jobs,
            warm=[one for one in warm if one.environment == made.name],
            network=self._networks.of(made.name),
        )

    async def uses(self) -> Mapping[tuple[str, int | None], Mapping[str, int]]:
        """Count the jobs that have not ended: by environment and version, then by owner."""
        return await self._uses.open_jobs()

    def builds(self, actor: Actor) -> list[Build]:
        """List the builds that the actor has ordered, newest first; all, for an administrator."""
        known = self._shelf.builds()
        ids = {build.id for build in known}
        # Those that wait for another process's build have not written anything down yet.
        waiting = [build for _, build, _ in self._going.values() if build.id not in ids]
        return [b for b in (*waiting, *known) if actor.is_admin or b.owner == actor.name]

    def build(self, actor: Actor, build_id: str) -> Build:
        """Give a build as it stands.

        Raises:
            UnknownBuild: there is none that the actor may see.
        """
        found = next((build for build in self.builds(actor) if build.id == build_id), None)
        if found is None:
            raise UnknownBuild(f'There is no build "{build_id}".')
        return found

    def log_of(self, actor: Actor, build_id: str) -> str:
        """Give what a build has said so far.

        Raises:
            UnknownBuild: there is none.
        """
        return self._shelf.log(self.build(actor, build_id).id) or ""

    # ------------------------------------------------------------------ making

    def order(
        self,
        actor: Actor,
        name: str,
        recipe: Recipe,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        replaces: bool = False,
        parcel: Parcel | None = None,
    ) -> Order:
        """Check that the actor may have this made.

        Args:
            parcel: what it is to be installed from; for administrators.

        Raises:
            Forbidden, QuotaExceeded, InvalidEnvironment.
            EnvironmentExists: `replaces` is not said, and there is another of this name.
        """
        if not (actor.is_admin or self._users_may):
            raise Forbidden(
                "Only an administrator may make environments here; the operator can let users do "
                'so with the setting "user_environments".'
            )
        if parcel is not None:
            self.refuse_but_administrators(actor)
        if NAME.fullmatch(name) is None:
            raise InvalidEnvironment(
                f"{name!a} is no name: it begins with a letter or digit and holds at most 64 "
                'letters, digits, ".", "_" and "-".',
                field="name",
            )
        if not actor.is_admin:
            refuse_beyond_names(recipe)
        tags = {"application": APPLICATION, **(tags or {})}
        texts = [description or "", *tags, *tags.values()]
        if len(tags) > MAX_TAGS or any(len(text) > MAX_TEXT for text in texts):
            raise InvalidEnvironment(
                f"There may be {MAX_TAGS} tags, each and the description with at most {MAX_TEXT} "
                "characters.",
                field="tags",
            )
        order = Order(
            name=name,
            owner=actor.name,
            recipe=recipe,
            description=description or "",
            tags=tags,
            replaces=replaces,
            parcel=parcel,
        )
        current = self._shelf.current(name)
        if current is not None:
            self.refuse_others(actor, current)
            if not replaces and not order.is_met_by(current):
                raise EnvironmentExists(
                    f'There is an environment "{name}", version {current.version}, made from '
                    'something else: "overwrite": true, or "fanfold env update", makes another.'
                )
        elif not actor.is_admin:
            self._refuse_too_many(actor)
        if description is None:
            description = current.description if current else _described(recipe)
        return replace(order, description=description)

    def start(
        self, order: Order, holding: AsyncExitStack | None = None
    ) -> tuple[Build, asyncio.Task[Made]]:
        """Begin to carry out an order; the same order at the same time is carried out once.

        Args:
            holding: what has to be open until it is carried out; taken over if that begins.

        Raises:
            EnvironmentInUse: another order for this environment is being carried out.
        """
        going = self._going.get(order.name)
        if going is not None:
            if _are_same(going[0], order):
                return going[1], going[2]
            raise EnvironmentInUse(
                f'The environment "{order.name}" is being built from something else: see build '
                f"{going[1].id}."
            )
        build = Build(
            id=f"{self._now():%Y%m%d%H%M%S}-{secrets.token_hex(4)}",
            name=order.name,
            owner=order.owner,
            digest=order.recipe.digest,
            state=BuildState.WAITING,
            step="wait",
            progress=0.0,
            created=self._now(),
        )
        held = holding.pop_all() if holding is not None else AsyncExitStack()
        task = asyncio.create_task(self._carry_out(order, build, held), name=f"builds {order.name}")
        task.add_done_callback(seen)
        self._going[order.name] = (order, build, task)
        return build, task

    async def _carry_out(self, order: Order, build: Build, held: AsyncExitStack) -> Made:
        try:
            async with held:
                made = await self._shelf.build(order, build)
        except FanfoldError as exc:
            self._log.warning("build failed", environment=order.name, error=exc.message)
            raise
        except Exception:
            self._log.exception("build failed", environment=order.name)
            raise
        finally:
            del self._going[order.name]
        self._log.info("environment ready", environment=order.name, version=made.version)
        return made

    def ready(self, order: Order) -> Made | None:
        """Return the current version if it is what the order wants, and nothing is to be done."""
        current = self._shelf.current(order.name)
        is_there = current is not None and order.is_met_by(current)
        return current if is_there and not order.replaces else None

    # ------------------------------------------------------------------ turning and dropping

    def make_current(self, actor: Actor, name: str, version: int) -> None:
        """Let what begins from now on run in this version.

        Raises:
            EnvironmentNotFound, UnknownVersion, Forbidden.
        """
        _, versions = self.versions(name)
        self.refuse_others(actor, versions[0])
        if not self._shelf.make_current(name, version):
            raise _no_version(name, version, versions)

    async def drop(self, actor: Actor, name: str, version: int | None = None) -> None:
        """Remove an environment, or one version of it, once nothing runs there any more.

        Runs that somebody waits for are waited for; jobs are not.

        Raises:
            EnvironmentNotFound, UnknownVersion, Forbidden.
            EnvironmentInUse: jobs that have not ended want it, or runs do not end in time.
        """
        current, versions = self.versions(name)
        self.refuse_others(actor, versions[0])
        wanted = [made for made in versions if version in {None, made.version}]
        if not wanted:
            assert version is not None
            raise _no_version(name, version, versions)
        uses = await self._uses.open_jobs()
        for made in wanted:
            owners = dict(uses.get((name, made.version), {}))
            if owners:
                whose = ", ".join(f"{count} of {owner}" for owner, count in sorted(owners.items()))
                raise EnvironmentInUse(
                    f'The environment "{name}", version {made.version}, is wanted by jobs that '
                    f"have not ended: {whose}."
                )
        wanted.sort(key=lambda made: made == current)  # the current one last: it may stay
        for made in wanted:
            if not await self._shelf.drop(made, wait_s=DRAIN_S):
                raise EnvironmentInUse(
                    f'Runs in the environment "{name}", version {made.version}, have not ended '
                    f"within {DRAIN_S:g} s; it stays."
                )

    async def close(self) -> None:
        """End the builds that go on; what they have made so far is removed."""
        tasks = [task for _, _, task in self._going.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)

    @staticmethod
    def refuse_but_administrators(actor: Actor) -> None:
        """Refuse to bring packages of one's own: only an administrator may.

        Raises:
            Forbidden.
        """
        if not actor.is_admin:
            raise Forbidden("Only an administrator may bring environments here.")

    def refuse_others(self, actor: Actor, made: Made) -> None:
        """Refuse who neither owns an environment nor is an administrator.

        Raises:
            Forbidden.
        """
        if not actor.is_admin and made.owner != actor.name:
            raise Forbidden(f'The environment "{made.name}" belongs to {made.owner}.')

    def _refuse_too_many(self, actor: Actor) -> None:
        currents = (self._shelf.current(name) for name in self._shelf.names())
        own = sum(made is not None and made.owner == actor.name for made in currents)
        if own >= self._per_user:
            raise QuotaExceeded(
                f"You have {own} environments, and may have {self._per_user}; drop one first."
            )


def _are_same(one: Order, other: Order) -> bool:
    """Tell whether two orders come to the same: the second need not be carried out as well."""
    locks = [order.parcel.lock if order.parcel else None for order in (one, other)]
    return one.recipe == other.recipe and locks[0] == locks[1]


def _described(recipe: Recipe) -> str:
    what = "conda environment" if recipe.kind == "conda" else "virtual environment"
    packages = [*recipe.packages, *recipe.requirements]
    return f"{what} with {', '.join(packages[:5])}"[:MAX_TEXT] if packages else what


def _unknown(name: str) -> EnvironmentNotFound:
    return EnvironmentNotFound(f'There is no environment "{name}" that was built here.')


def _no_version(name: str, version: int, versions: list[Made]) -> UnknownVersion:
    there = ", ".join(str(made.version) for made in versions)
    return UnknownVersion(
        f'The environment "{name}" has no version {version}; there are {there}.', version=version
    )
