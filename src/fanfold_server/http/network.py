"""Our own API of the network policy: what a script may reach, and who has decided that."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from fanfold_server.http.answers import Json, Nothing
from fanfold_server.http.network_schemas import (
    NetworkGrantList,
    NetworkGrantOut,
    NetworkIn,
    NetworkInForce,
    NetworkOut,
    ScriptNetworkOut,
)
from fanfold_server.http.surface import Caller, CallerRoute, NetworksOf
from fanfold_server.model.environment import DEFAULT_ENVIRONMENT

router = APIRouter(prefix="/api/v1", tags=["network"], route_class=CallerRoute)

Name = Annotated[str, Path(description="The script's name, matched exactly.")]
Whose = Annotated[str, Path(description="The script's owner; PYQSYS for a global script.")]
Owner = Annotated[
    str | None,
    Query(description="Whose script; without it your own, else the global one of that name."),
]
Global = Annotated[bool, Query(alias="global", description="The global script, not your own.")]


@router.get("/scripts/{name}/network", response_model=NetworkInForce)
async def read_script_network(
    networks: NetworksOf,
    caller: Caller,
    name: Name,
    owner: Owner = None,
    environment: Annotated[
        str, Query(alias="envName", description="In which environment.")
    ] = DEFAULT_ENVIRONMENT,
) -> Json:
    """Say what a script may reach of the network, and why.

    That is what the operator lets the environment reach, with what an administrator has granted to
    the script, limited to what the script's owner wants.
    """
    decided, effective = await networks.of(caller, name, owner, environment)
    return Json(
        NetworkInForce(
            **ScriptNetworkOut.of(decided).model_dump(),
            envName=environment,
            effective=NetworkOut.of(effective),
        )
    )


@router.put("/scripts/{name}/network", response_model=ScriptNetworkOut)
async def limit_script_network(
    networks: NetworksOf, caller: Caller, name: Name, body: NetworkIn, is_global: Global = False
) -> Json:
    """Keep a script of yours, in all its versions, to less of the network than it might reach.

    Nothing is widened by it; `full` takes the limit away.
    """
    decided = await networks.limit(caller, name, body.network(), is_global=is_global)
    return Json(ScriptNetworkOut.of(decided))


@router.get("/network-grants", response_model=NetworkGrantList)
async def list_network_grants(networks: NetworksOf, caller: Caller) -> Json:
    """List which scripts may reach more than their environment may; for administrators."""
    grants = await networks.grants(caller)
    return Json(
        NetworkGrantList(
            grants=[
                NetworkGrantOut(
                    owner=each.owner, name=each.name, **NetworkOut.of(each.network).model_dump()
                )
                for each in grants
            ]
        )
    )


@router.put("/network-grants/{owner}/{name}", response_model=NetworkGrantOut)
async def grant_network(
    networks: NetworksOf, caller: Caller, owner: Whose, name: Name, body: NetworkIn
) -> Json:
    """Let a script reach more of the network than its environment may; for administrators.

    It holds for all versions of the script, also for those that its owner has yet to publish: who
    is granted a network is trusted with it. It ends when the script is deleted.
    """
    granted = await networks.grant(caller, owner, name, body.network())
    described = NetworkOut.of(granted.network).model_dump()
    return Json(NetworkGrantOut(owner=granted.owner, name=granted.name, **described))


@router.delete("/network-grants/{owner}/{name}", status_code=204, response_class=Nothing)
async def revoke_network(networks: NetworksOf, caller: Caller, owner: Whose, name: Name) -> Nothing:
    """Take the grant back; for administrators. Runs that have begun keep what they have."""
    await networks.revoke(caller, owner, name)
    return Nothing()
