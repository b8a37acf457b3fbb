"""Our own API of environments: making, updating, turning back and removing them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import PlainTextResponse

from fanfold_server.http.answers import Json, Nothing
from fanfold_server.http.environments_schemas import (
    BuildList,
    BuildOut,
    EnvironmentDetail,
    EnvironmentIn,
    EnvironmentList,
    EnvironmentOut,
    RollbackIn,
    WarmOut,
)
from fanfold_server.http.schemas import iso_ms
from fanfold_server.http.surface import Caller, CallerRoute, ProvisioningOf, SurfaceOf
from fanfold_server.model.environment import Maker, Recipe
from fanfold_server.model.errors import InvalidField
from fanfold_server.service.provisioning import Described
from fanfold_server.service.recipes import read_recipe, recipe_of

router = APIRouter(prefix="/api/v1", tags=["environments"], route_class=CallerRoute)

Name = Annotated[str, Path(description="The environment's name.")]
BuildId = Annotated[str, Path(alias="buildId", description="A build's id.")]


@router.get("/environments", response_model=EnvironmentList)
async def list_environments(provisioning: ProvisioningOf, _caller: Caller) -> Json:
    """List the environments that were built here."""
    listing = await provisioning.listing()
    return Json(EnvironmentList(environments=[_out(described) for described in listing]))


@router.post(
    "/environments",
    response_model=BuildOut,
    status_code=202,
    responses={200: {"description": "It is there already.", "model": EnvironmentDetail}},
    response_description="It is being built; `Location` says where that can be followed.",
)
async def create_environment(
    request: Request,
    surface: SurfaceOf,
    provisioning: ProvisioningOf,
    caller: Caller,
    body: EnvironmentIn,
) -> Json:
    """Have an environment built, or, with `overwrite`, another version of one.

    For administrators; for everybody, of names and versions of packages, where the operator lets
    users do so.
    """
    recipe = _recipe(body)
    order = provisioning.order(
        caller,
        body.name,
        recipe,
        description=body.description,
        tags=body.tags,
        replaces=body.overwrite,
    )
    if provisioning.ready(order) is not None:
        return Json(detail(await provisioning.describe(order.name)))
    build, _ = provisioning.start(order)
    url = f"{surface.base_url(request)}{router.prefix}/environment-builds/{build.id}"
    return Json(BuildOut.of(build), status_code=202, headers={"Location": url})


@router.get("/environments/{name}", response_model=EnvironmentDetail)
async def describe_environment(provisioning: ProvisioningOf, _caller: Caller, name: Name) -> Json:
    """Describe an environment: its packages, its versions, who wants it, whether it is warm."""
    return Json(detail(await provisioning.describe(name)))


@router.delete("/environments/{name}", status_code=204, response_class=Nothing)
async def drop_environment(
    provisioning: ProvisioningOf,
    caller: Caller,
    name: Name,
    version: Annotated[
        int | None, Query(ge=1, description="This version alone; without it, all of them.")
    ] = None,
) -> Nothing:
    """Remove an environment, or a version, once nothing runs there; jobs that want it keep it."""
    await provisioning.drop(caller, name, version)
    return Nothing()


@router.post("/environments/{name}/rollback", status_code=204, response_class=Nothing)
async def roll_environment_back(
    provisioning: ProvisioningOf, caller: Caller, name: Name, body: RollbackIn
) -> Nothing:
    """Let what begins from now on run in another version."""
    provisioning.make_current(caller, name, body.version)
    return Nothing()


@router.get("/environment-builds", response_model=BuildList)
async def list_builds(provisioning: ProvisioningOf, caller: Caller) -> Json:
    """List your builds, newest first; an administrator sees all."""
    return Json(BuildList(builds=[BuildOut.of(build) for build in provisioning.builds(caller)]))


@router.get("/environment-builds/{buildId}", response_model=BuildOut)
async def describe_build(provisioning: ProvisioningOf, caller: Caller, build_id: BuildId) -> Json:
    """Say how far a build is."""
    return Json(BuildOut.of(provisioning.build(caller, build_id)))


@router.get(
    "/environment-builds/{buildId}/log",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def read_build_log(
    provisioning: ProvisioningOf,
    caller: Caller,
    build_id: BuildId,
    offset: Annotated[
        int, Query(alias="from", ge=0, description="Characters to leave out at the beginning.")
    ] = 0,
) -> PlainTextResponse:
    """Give what a build has said so far."""
    return PlainTextResponse(provisioning.log_of(caller, build_id)[offset:])


def _recipe(body: EnvironmentIn) -> Recipe:
    if (body.spec is None) == (body.packages is None):
        raise InvalidField('Give either "spec" or "packages".', field="spec")
    maker = _maker(body.maker)
    if body.spec is None:
        assert body.packages is not None
        return recipe_of(body.packages, channels=body.channels or (), maker=maker)
    if body.format is None:
        raise InvalidField(
            'The member "format" says how "spec" is written: environment.yml, requirements.txt or '
            "pyproject.toml.",
            field="format",
        )
    return read_recipe(body.spec, body.format, maker=maker)


def _maker(word: str | None) -> Maker | None:
    try:
        return None if word is None else Maker(word)
    except ValueError:
        raise InvalidField(
            f'The member "maker" is {word!a}; it has to be one of {", ".join(Maker)}.',
            field="maker",
        ) from None


def _out(described: Described) -> EnvironmentOut:
    used = described.last_used
    return EnvironmentOut.of(
        described.made,
        described.versions,
        last_used=iso_ms(used) if used else None,
        jobs=described.jobs,
        warm=[
            WarmOut(owner=w.owner, workers=w.workers, busy=w.busy, preloaded=w.preloaded)
            for w in described.warm
        ],
        network=described.network,
    )


def detail(described: Described) -> EnvironmentDetail:
    """Write an environment with what is in it."""
    return EnvironmentDetail(
        **_out(described).model_dump(),
        packages=dict(described.made.packages),
        variables=dict(described.made.variables),
    )
