"""What scripts may reach of the network: an owner may want less, an administrator may give more."""

from __future__ import annotations

from collections.abc import Sequence

from fanfold_server.model.actor import GLOBAL_OWNER, Actor, Scope, account_name
from fanfold_server.model.errors import Forbidden, InvalidField, UnknownGrant, UnknownScript
from fanfold_server.model.network import (
    MAX_HOSTS,
    NOTHING,
    Network,
    Networks,
    Reach,
    ScriptNetwork,
    listed,
)
from fanfold_server.service.library import Library
from fanfold_server.service.tokens import require, require_script
from fanfold_server.store.port import NetworkGrant, NetworkStore, ScriptStore


class ScriptNetworks:
    """Decides, and tells what is decided.

    Args:
        store: where decisions are kept.
        scripts: who published what.
        library: finds scripts, and forgets what it has found.
        networks: what the operator says of environments.
    """

    def __init__(
        self, store: NetworkStore, scripts: ScriptStore, library: Library, networks: Networks
    ) -> None:
        self._store = store
        self._scripts = scripts
        self._library = library
        self._networks = networks

    async def of(
        self, actor: Actor, name: str, owner: str | None, environment: str
    ) -> tuple[ScriptNetwork, Network]:
        """Tell what is decided of a script, and what it may reach in an environment.

        Raises:
            UnknownScript: there is none that `actor` may use.
        """
        script = await self._library.load(actor, name, owner)
        return (script.network or ScriptNetwork()), self._networks.of(environment, script.network)

    async def limit(
        self, actor: Actor, name: str, network: Network, *, is_global: bool
    ) -> ScriptNetwork:
        """Keep a script of one's own to less than it might reach, in all its versions.

        Args:
            actor: the owner; of a global script, who published it, or an administrator.
            network: the most that it may reach; the whole: no limit.

        Raises:
            UnknownScript: there is no such script of the actor's own (or global one).
            Forbidden: it is a global script of another account.
        """
        owner = GLOBAL_OWNER if is_global else actor.name
        require_script(actor, owner, name)
        creator = await self._scripts.creator(name, owner) if name.isprintable() else None
        if creator is None:
            raise UnknownScript(f'You have no script "{name}".', name=name)
        if creator.user_id != actor.user_id and not actor.is_admin:
            raise Forbidden(
                f'The global script "{name}" is {creator.name}\'s: only {creator.name} or an admin '
                "may change it.",
                name=name,
            )
        kept = None if network.reach is Reach.FULL else network
        if not await self._store.limit(name, owner, kept):
            raise UnknownScript(f'You have no script "{name}".', name=name)
        self._library.forget()
        script = await self._library.load(actor, name, owner)
        return script.network or ScriptNetwork()

    async def grants(self, actor: Actor) -> list[NetworkGrant]:
        """List what scripts were granted. Raises Forbidden: the actor is no administrator."""
        require(actor, Scope.ADMIN)
        return await self._store.grants()

    async def grant(self, actor: Actor, owner: str, name: str, network: Network) -> NetworkGrant:
        """Let a script reach more than its environment may, in all its versions.

        Raises:
            Forbidden: the actor is no administrator.
            UnknownScript: there is no such script.
            InvalidField: nothing would be granted.
        """
        require(actor, Scope.ADMIN)
        if network == NOTHING:
            raise InvalidField(
                'The member "policy" is "none", which grants nothing: DELETE takes a grant back.',
                field="policy",
            )
        whose = account_name(owner)
        is_possible = name.isprintable() and whose.isprintable()
        if not (is_possible and await self._store.grant(name, whose, network)):
            raise UnknownScript(f'There is no script "{name}" of {whose}.', name=name, owner=whose)
        self._library.forget()
        return NetworkGrant(owner=whose, name=name, network=network)

    async def revoke(self, actor: Actor, owner: str, name: str) -> None:
        """Take back what a script was granted; runs that have begun end as they began.

        Raises:
            Forbidden: the actor is no administrator.
            UnknownGrant: it was granted nothing.
        """
        require(actor, Scope.ADMIN)
        whose = account_name(owner)
        is_possible = name.isprintable() and whose.isprintable()
        if not (is_possible and await self._store.grant(name, whose, None)):
            raise UnknownGrant(f'The script "{name}" of {whose} is granted no network.', name=name)
        self._library.forget()


def read_network(policy: str, hosts: Sequence[str]) -> Network:
    """Read what a caller says.

    Raises:
        InvalidField: the hosts do not go with the policy, are too many, or one is none.
    """
    reach = Reach(policy)
    if reach is not Reach.LISTED:
        if hosts:
            raise InvalidField(
                f'The member "hosts" goes with the policy "{Reach.LISTED}" alone.', field="hosts"
            )
        return Network(reach)
    if not 1 <= len(hosts) <= MAX_HOSTS:
        raise InvalidField(
            f'The member "hosts" has {len(hosts)} entries; a list has from 1 to {MAX_HOSTS}.',
            field="hosts",
        )
    try:
        return listed(hosts)
    except ValueError as exc:
        raise InvalidField(f'The member "hosts": {exc}.', field="hosts") from exc
