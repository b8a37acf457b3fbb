"""The compatible surface but for runs: versions, listings of scripts, environments.

v1 and v2 answer alike; v2 has the filtered listing besides. The front door adds v1's deprecation
headers.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Request

from fanfold_server.http.answers import Json
from fanfold_server.http.schemas import (
    ApiVersion,
    ApiVersions,
    Link,
    OmlEnvironmentList,
    OmlGrantedScript,
    OmlGrantList,
    OmlScript,
    OmlScriptList,
)
from fanfold_server.http.surface import Caller, CallerRoute, Surface, SurfaceOf
from fanfold_server.model.actor import EVERYONE
from fanfold_server.model.errors import InvalidField
from fanfold_server.model.script import ScriptType

ROOT = "/oml/api/py-scripts"
router = APIRouter(prefix=ROOT, tags=["compatible"], route_class=CallerRoute)

_LIFECYCLES = {"v1": "DEPRECATED@2026-03-31", "v2": "ACTIVE"}
_LATEST = "v2"
_CHILDREN: Final[tuple[str, ...]] = (
    "scripts",
    "envs",
    "do-eval/{scriptName}",
    "do-eval/{scriptName}/{ownerName}",
    "index-apply/{scriptName}",
    "index-apply/{scriptName}/{ownerName}",
    "jobs/{jobId}",
    "jobs/{jobId}/result",
)
_CHILDREN_OF_DATA = (
    "table-apply/{scriptName}",
    "table-apply/{scriptName}/{ownerName}",
    "row-apply/{scriptName}",
    "row-apply/{scriptName}/{ownerName}",
    "group-apply/{scriptName}",
    "group-apply/{scriptName}/{ownerName}",
)
_CHILDREN_OF_V2 = (
    "scripts/{scriptType}",
    "jobs",
    "jobs/{jobId}/cancel",
    "preload/conda",
    "preload/conda/{envName}",
)

ScriptTypePath = Annotated[
    str, Path(alias="scriptType", description="user, all, global, grant or granted, in any case.")
]


@router.get("", response_model=ApiVersions)
async def list_api_versions(request: Request, surface: SurfaceOf) -> Json:
    """Describe the versions of the compatible API."""
    base = surface.base_url(request) + ROOT
    return Json(
        ApiVersions(
            items=[_version(surface, base, name) for name in _LIFECYCLES],
            links=[
                Link(href=base, rel="self"),
                *(Link(href=f"{base}/{name}", rel="child") for name in _LIFECYCLES),
            ],
        )
    )


@router.get("/v1", response_model=ApiVersion)
async def describe_v1(request: Request, surface: SurfaceOf) -> Json:
    """Describe version 1."""
    return Json(_version(surface, surface.base_url(request) + ROOT, "v1"))


@router.get("/v2", response_model=ApiVersion)
async def describe_v2(request: Request, surface: SurfaceOf) -> Json:
    """Describe version 2."""
    return Json(_version(surface, surface.base_url(request) + ROOT, "v2"))


@router.get("/v1/scripts", response_model=OmlScriptList)
async def list_oml_scripts_v1(surface: SurfaceOf, caller: Caller) -> Json:
    """List every script that you may use, with its text."""
    return await _listed(surface, caller, ScriptType.ALL)


@router.get("/v2/scripts", response_model=OmlScriptList)
async def list_oml_scripts_v2(surface: SurfaceOf, caller: Caller) -> Json:
    """List every script that you may use, with its text."""
    return await _listed(surface, caller, ScriptType.ALL)


@router.get("/v2/scripts/{scriptType}", response_model=OmlGrantList)
async def list_oml_scripts_of_type(
    surface: SurfaceOf, caller: Caller, script_type: ScriptTypePath
) -> Json:
    """List scripts by how you come to them, with their text.

    `user` your own; `all` every script that you may use; `global` those for everyone; `grant`
    those you granted to others, with `grantee`; `granted` those others granted to you.
    """
    try:
        wanted = ScriptType(script_type.lower())
    except ValueError:
        types = ", ".join(kind.value for kind in ScriptType)
        raise InvalidField(
            f'There is no script type "{script_type}"; there are {types}.', field="scriptType"
        ) from None
    return await _listed(surface, caller, wanted)


@router.get("/v1/envs", response_model=OmlEnvironmentList)
async def list_environments_v1(surface: SurfaceOf, caller: Caller) -> Json:
    """List the environments that a run may name."""
    return await _environments(surface, caller)


@router.get("/v2/envs", response_model=OmlEnvironmentList)
async def list_environments_v2(surface: SurfaceOf, caller: Caller) -> Json:
    """List the environments that a run may name."""
    return await _environments(surface, caller)


async def _listed(surface: SurfaceOf, caller: Caller, script_type: ScriptType) -> Json:
    listing = await surface.library.listing(caller, script_type)
    if script_type is ScriptType.GRANT:
        granted = [
            OmlGrantedScript(**OmlScript.of(script).model_dump(), grantee=grantee or EVERYONE)
            for script, grantee in listing
        ]
        return Json(OmlGrantList(result=granted))
    return Json(OmlScriptList(result=[OmlScript.of(script) for script, _ in listing]))


async def _environments(surface: SurfaceOf, caller: Caller) -> Json:
    return Json({"result": {"envs": await surface.environments.listing(caller)}})


def _version(surface: Surface, base: str, name: str) -> ApiVersion:
    children = _CHILDREN
    if surface.tables is not None:
        children += _CHILDREN_OF_DATA
    if name == _LATEST:
        children += _CHILDREN_OF_V2
    return ApiVersion(
        version=name,
        is_latest=name == _LATEST,
        lifecycle=_LIFECYCLES[name],
        links=[
            Link(href=f"{base}/{name}", rel="self"),
            *(Link(href=f"{base}/{name}/{child}", rel="child") for child in children),
        ],
    )
