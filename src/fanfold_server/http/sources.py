"""Our own API of registered databases, which the member "source" of a run can name."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from fanfold_server.http.answers import Json, Nothing
from fanfold_server.http.grants import Grantee, GrantList, grantee_of
from fanfold_server.http.sources_schemas import (
    SourceIn,
    SourceList,
    SourceOut,
    SourceTested,
)
from fanfold_server.http.surface import Caller, CallerRoute, SourcesOf

router = APIRouter(prefix="/api/v1/sources", tags=["sources"], route_class=CallerRoute)

Name = Annotated[str, Path(description="The database's name; its case does not matter.")]
User = Annotated[
    str | None, Query(description="Whose default, instead of your own; for administrators.")
]


@router.get("", response_model=SourceList)
async def list_sources(sources: SourcesOf, caller: Caller) -> Json:
    """List the databases that you may use; administrators see all, with where they are."""
    default = await sources.registered.default(caller.name)
    listing = await sources.registered.listing(caller)
    return Json(
        SourceList(
            sources=[
                SourceOut.of(each, is_admin=caller.is_admin, default=default) for each in listing
            ]
        )
    )


@router.put(
    "/{name}",
    response_model=SourceOut,
    status_code=201,
    responses={200: {"description": "The database is registered anew.", "model": SourceOut}},
    response_description="The database is registered; its name is new.",
)
async def register_source(sources: SourcesOf, caller: Caller, name: Name, body: SourceIn) -> Json:
    """Register a database, in place of one of that name, whose grants stay; for administrators.

    Nobody may use it until it is granted. A password is stored encrypted, and no answer ever holds
    it. Give the rights of a reader to the account whose password it is: nothing else keeps all
    databases from all harm.
    """
    source, is_new = await sources.registered.register(caller, body.registration(name))
    default = await sources.registered.default(caller.name)
    out = SourceOut.of(source, is_admin=True, default=default)
    return Json(out, status_code=201 if is_new else 200)


@router.get("/{name}", response_model=SourceOut)
async def describe_source(sources: SourcesOf, caller: Caller, name: Name) -> Json:
    """Describe a database that you may use."""
    source = await sources.registered.find(caller, name)
    default = await sources.registered.default(caller.name)
    return Json(SourceOut.of(source, is_admin=caller.is_admin, default=default))


@router.delete("/{name}", status_code=204, response_class=Nothing)
async def drop_source(sources: SourcesOf, caller: Caller, name: Name) -> Nothing:
    """Forget a database with its password and its grants; for administrators."""
    await sources.registered.drop(caller, name)
    return Nothing()


@router.post("/{name}/test", response_model=SourceTested)
async def test_source(sources: SourcesOf, caller: Caller, name: Name) -> Json:
    """Try whether the database lets this server in, as for a query; for administrators."""
    await sources.registered.probe(caller, name, sources.probe)
    return Json(SourceTested(name=name.upper(), reachable=True))


@router.put("/{name}/default", status_code=204, response_class=Nothing)
async def set_default_source(
    sources: SourcesOf, caller: Caller, name: Name, user: User = None
) -> Nothing:
    """Have runs that name no database read this one; it is set aside by "source": "EMBEDDED"."""
    await sources.registered.set_default(caller, name, user)
    return Nothing()


@router.delete("/{name}/default", status_code=204, response_class=Nothing)
async def unset_default_source(
    sources: SourcesOf, caller: Caller, name: Name, user: User = None
) -> Nothing:
    """Have runs that name no database read the server's own tables again."""
    await sources.registered.find(caller, name)
    await sources.registered.set_default(caller, None, user)
    return Nothing()


@router.get("/{name}/grants", response_model=GrantList)
async def list_source_grants(sources: SourcesOf, caller: Caller, name: Name) -> Json:
    """List who may use a database; for administrators."""
    grants = await sources.registered.grants(caller, name)
    return Json(GrantList.of(grant.grantee for grant in grants))


@router.put("/{name}/grants/{grantee}", status_code=204, response_class=Nothing)
async def grant_source(sources: SourcesOf, caller: Caller, name: Name, grantee: Grantee) -> Nothing:
    """Let an account, or everyone, use a database; for administrators."""
    await sources.registered.grant(caller, name, grantee_of(grantee))
    return Nothing()


@router.delete("/{name}/grants/{grantee}", status_code=204, response_class=Nothing)
async def revoke_source(
    sources: SourcesOf, caller: Caller, name: Name, grantee: Grantee
) -> Nothing:
    """Take a grant back; for administrators."""
    await sources.registered.revoke(caller, name, grantee_of(grantee))
    return Nothing()
