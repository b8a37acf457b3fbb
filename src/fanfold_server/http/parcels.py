"""Our own API of environments on the move: one file out, one file in."""

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from fanfold_server.http.answers import Json
from fanfold_server.http.environments import detail
from fanfold_server.http.environments_schemas import BuildOut, EnvironmentDetail
from fanfold_server.http.receiving import receive_file
from fanfold_server.http.surface import Caller, CallerRoute, CarryingOf, ProvisioningOf, SurfaceOf

router = APIRouter(prefix="/api/v1", tags=["environments"], route_class=CallerRoute)

MEDIA_TYPE: Final = "application/x-tar"
_FILE: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}

Name = Annotated[str, Path(description="The environment's name.")]


class _HeldFile(FileResponse):
    """A file that goes when it has been sent, or when sending has failed."""

    def __init__(self, path: str, held: AsyncExitStack, file_name: str) -> None:
        super().__init__(path, media_type=MEDIA_TYPE, filename=file_name)
        self._held = held

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


@router.get(
    "/environments/{name}/archive",
    response_class=FileResponse,
    responses={200: {"description": "A tar file.", "content": {MEDIA_TYPE: _FILE}}},
)
async def export_environment(
    carrying: CarryingOf,
    caller: Caller,
    name: Name,
    version: Annotated[
        int | None, Query(ge=1, description="This version; without it, the current one.")
    ] = None,
) -> FileResponse:
    """Give a version with all of its packages in one file: another server needs no network for it.

    For its owner and for administrators. Every package is fetched from where it came, and compared
    with the lock, before the answer begins.
    """
    async with AsyncExitStack() as stack:
        path = await stack.enter_async_context(carrying.export(caller, name, version))
        return _HeldFile(str(path), stack.pop_all(), path.name)


@router.put(
    "/environments/{name}/archive",
    response_model=BuildOut,
    status_code=202,
    responses={200: {"description": "It is there already.", "model": EnvironmentDetail}},
    response_description="It is being built; `Location` says where that can be followed.",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "What the export of an environment has given.",
            "content": {MEDIA_TYPE: _FILE},
        }
    },
)
async def import_environment(
    request: Request,
    surface: SurfaceOf,
    provisioning: ProvisioningOf,
    carrying: CarryingOf,
    *,
    caller: Caller,
    name: Name,
    overwrite: Annotated[
        bool, Query(description="Make another version of one that is there.")
    ] = False,
) -> Json:
    """Have an environment built from a file that another server has exported, without a network.

    For administrators. What does not hash to what the lock says is refused before anything is
    built. The file may be as large as a table.
    """
    carrying.check(caller)
    async with AsyncExitStack() as stack:
        room = await stack.enter_async_context(carrying.room())
        await receive_file(request, room / "archive")
        order = await carrying.order(caller, room / "archive", room, name=name, replaces=overwrite)
        await asyncio.to_thread((room / "archive").unlink)
        if provisioning.ready(order) is not None:
            return Json(detail(await provisioning.describe(order.name)))
        build, _ = provisioning.start(order, holding=stack)
    url = f"{surface.base_url(request)}{router.prefix}/environment-builds/{build.id}"
    return Json(BuildOut.of(build), status_code=202, headers={"Location": url})
