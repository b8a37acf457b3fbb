"""Our own API of the script repository: what the compatible wire leaves to Python and SQL."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from fanfold_server.http.answers import Json, Nothing
from fanfold_server.http.grants import Grantee, GrantList, grantee_of
from fanfold_server.http.schemas import (
    GrantedScript,
    NewScript,
    RollBack,
    ScriptList,
    ScriptText,
    ScriptVersion,
    VersionList,
)
from fanfold_server.http.script_openapi import script_document
from fanfold_server.http.surface import Caller, CallerRoute, SurfaceOf
from fanfold_server.model.actor import EVERYONE, GLOBAL_OWNER
from fanfold_server.model.script import ScriptType
from fanfold_server.service.signatures import signature_of

router = APIRouter(prefix="/api/v1/scripts", tags=["scripts"], route_class=CallerRoute)

Name = Annotated[str, Path(description="The script's name, matched exactly.")]
Owner = Annotated[
    str | None,
    Query(description="Whose script; without it your own, else the global one of that name."),
]
Global = Annotated[bool, Query(alias="global", description="The global script, not your own.")]


@router.get("", response_model=ScriptList)
async def list_scripts(
    surface: SurfaceOf,
    caller: Caller,
    script_type: Annotated[ScriptType, Query(alias="type")] = ScriptType.USER,
) -> Json:
    """List scripts, without their text.

    `user` your own; `all` every script that you may use; `global` those for everyone; `grant`
    those you granted to others; `granted` those others granted to you.
    """
    listing = await surface.library.listing(caller, script_type)
    if script_type is ScriptType.GRANT:
        granted = [
            GrantedScript(**ScriptVersion.of(script).model_dump(), grantee=grantee or EVERYONE)
            for script, grantee in listing
        ]
        return Json(ScriptList(scripts=granted))
    return Json(ScriptList(scripts=[ScriptVersion.of(script) for script, _ in listing]))


@router.put(
    "/{name}",
    response_model=ScriptText,
    status_code=201,
    responses={200: {"description": "A new version of it is stored.", "model": ScriptText}},
    response_description="The script is stored; its name is new.",
)
async def store_script(surface: SurfaceOf, caller: Caller, name: Name, body: NewScript) -> Json:
    """Store a function under a name.

    The text is parsed and never run. It defines one function; if there are several at its top
    level, a run calls the one that is named like the script, else `main`, else the first. Versions
    are kept and never change; the same text again makes no new version.
    """
    script, is_new = await surface.library.publish(
        caller,
        name=name,
        source=body.source,
        description=body.description,
        is_global=body.is_global,
        overwrite=body.overwrite,
    )
    return Json(ScriptText.of(script), status_code=201 if is_new else 200)


@router.get("/{name}", response_model=ScriptText)
async def read_script(
    surface: SurfaceOf,
    caller: Caller,
    name: Name,
    owner: Owner = None,
    version: Annotated[
        int | None, Query(ge=1, description="Without it, the current version.")
    ] = None,
) -> Json:
    """Read a script: your own, a global one, or one that is granted to you."""
    return Json(ScriptText.of(await surface.library.load(caller, name, owner, version)))


@router.delete("/{name}", status_code=204, response_class=Nothing)
async def drop_script(
    surface: SurfaceOf, caller: Caller, name: Name, is_global: Global = False
) -> Nothing:
    """Delete a script with all its versions and grants."""
    await surface.library.drop(caller, name, is_global=is_global)
    return Nothing()


@router.get("/{name}/versions", response_model=VersionList)
async def list_versions(
    surface: SurfaceOf, caller: Caller, name: Name, owner: Owner = None
) -> Json:
    """List the versions of a script, the newest first."""
    versions = await surface.library.versions(caller, name, owner)
    return Json(VersionList(versions=[ScriptVersion.of(version) for version in versions]))


@router.post("/{name}/rollback", response_model=ScriptText)
async def roll_back_script(surface: SurfaceOf, caller: Caller, name: Name, body: RollBack) -> Json:
    """Make an older version the current one; the newer ones stay."""
    script = await surface.library.roll_back(caller, name, body.version, is_global=body.is_global)
    return Json(ScriptText.of(script))


@router.get("/{name}/openapi.json", response_model=dict[str, Any])
async def describe_script(
    request: Request, surface: SurfaceOf, caller: Caller, name: Name, owner: Owner = None
) -> Json:
    """Describe how to run a script, by an OpenAPI 3.1 document of its own.

    Parameters, defaults and texts are those of the function's signature and docstring.
    """
    script = await surface.library.load(caller, name, owner)
    is_others = script.owner not in {caller.name, GLOBAL_OWNER}
    document = script_document(
        script,
        signature_of(script.source, script.entry),
        owner=script.owner if is_others else None,
        url=surface.base_url(request),
        data=surface.tables is not None,
    )
    return Json(document)


@router.get("/{name}/grants", response_model=GrantList)
async def list_grants(surface: SurfaceOf, caller: Caller, name: Name) -> Json:
    """List who else may run your script."""
    grants = await surface.library.grants(caller, name)
    return Json(GrantList.of(grant.grantee for grant in grants))


@router.put("/{name}/grants/{grantee}", status_code=204, response_class=Nothing)
async def grant_script(surface: SurfaceOf, caller: Caller, name: Name, grantee: Grantee) -> Nothing:
    """Let another account, or everyone, run and read your script."""
    await surface.library.grant(caller, name, grantee_of(grantee))
    return Nothing()


@router.delete("/{name}/grants/{grantee}", status_code=204, response_class=Nothing)
async def revoke_script(
    surface: SurfaceOf, caller: Caller, name: Name, grantee: Grantee
) -> Nothing:
    """Take a grant back."""
    await surface.library.revoke(caller, name, grantee_of(grantee))
    return Nothing()
