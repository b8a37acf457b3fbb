"""Our own API of datastores: to look at them, delete them, and say who else may load them.

Objects are saved and loaded by functions alone (`oml.ds`): their bytes never leave through here.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from fanfold_server.http.answers import Json, Nothing
from fanfold_server.http.datastores_schemas import (
    DatastoreDetail,
    DatastoreList,
    DatastoreOut,
)
from fanfold_server.http.grants import Grantee, GrantList, grantee_of
from fanfold_server.http.surface import Caller, CallerRoute, DatastoresOf
from fanfold_server.model.datastore import DatastoreType

router = APIRouter(prefix="/api/v1/datastores", tags=["datastores"], route_class=CallerRoute)

Name = Annotated[str, Path(description="The datastore's name.")]
Owner = Annotated[
    str | None, Query(description="Whose datastore; without it your own.", max_length=128)
]


@router.get("", response_model=DatastoreList)
async def list_datastores(
    datastores: DatastoresOf,
    caller: Caller,
    which: Annotated[
        DatastoreType,
        Query(
            alias="type",
            description="all: your own and those granted to you; user: your own; private and "
            "grantable: of your own, those that may not and may be granted; granted: those of "
            "others; grant: your own, once for each grant.",
        ),
    ] = DatastoreType.ALL,
) -> Json:
    """List datastores that you may load."""
    listing = await datastores.listing(caller.name, which)
    return Json(DatastoreList(datastores=[DatastoreOut.of(each, to) for each, to in listing]))


@router.get("/{name}", response_model=DatastoreDetail)
async def describe_datastore(
    datastores: DatastoresOf, caller: Caller, name: Name, owner: Owner = None
) -> Json:
    """Describe a datastore that you may load, and its objects."""
    return Json(DatastoreDetail.of(await datastores.find(caller.name, name, owner)))


@router.delete("/{name}", status_code=204, response_class=Nothing)
async def delete_datastore(datastores: DatastoresOf, caller: Caller, name: Name) -> Nothing:
    """Delete your datastore with its objects and grants."""
    await datastores.delete(caller.name, name)
    return Nothing()


@router.delete("/{name}/objects/{object}", status_code=204, response_class=Nothing)
async def delete_object(
    datastores: DatastoresOf,
    caller: Caller,
    name: Name,
    wanted: Annotated[str, Path(alias="object", description="The object's name.")],
) -> Nothing:
    """Delete an object of your datastore."""
    await datastores.delete(caller.name, name, [wanted])
    return Nothing()


@router.get("/{name}/grants", response_model=GrantList)
async def list_datastore_grants(datastores: DatastoresOf, caller: Caller, name: Name) -> Json:
    """List who else may load your datastore."""
    grantees = await datastores.grants(caller.name, name)
    return Json(GrantList.of(grantees))


@router.put("/{name}/grants/{grantee}", status_code=204, response_class=Nothing)
async def grant_datastore(
    datastores: DatastoresOf, caller: Caller, name: Name, grantee: Grantee
) -> Nothing:
    """Let another account, or everyone, load your datastore.

    What is loaded is code: it runs with the rights of who loads it.
    """
    await datastores.grant(caller.name, name, grantee_of(grantee))
    return Nothing()


@router.delete("/{name}/grants/{grantee}", status_code=204, response_class=Nothing)
async def revoke_datastore(
    datastores: DatastoresOf, caller: Caller, name: Name, grantee: Grantee
) -> Nothing:
    """Take a grant back."""
    await datastores.revoke(caller.name, name, grantee_of(grantee))
    return Nothing()
