"""What needs no token: health, the OpenAPI document, and the reference for people."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from fanfold_server.http.answers import Json
from fanfold_server.http.documents import Documents
from fanfold_server.http.reference import CONTENT_SECURITY_POLICY
from fanfold_server.http.surface import SurfaceOf

router = APIRouter(tags=["server"])


@router.get("/health")
async def show_health(surface: SurfaceOf) -> Json:
    """Say version, readiness, and the isolation in which functions run."""
    return Json(surface.health())


@router.get("/openapi.json")
async def show_openapi(request: Request) -> Json:
    """Give the OpenAPI 3.1 document."""
    documents: Documents = request.app.state.documents
    return Json(await documents.openapi_json())


@router.get("/docs", response_class=HTMLResponse)
async def show_reference(request: Request) -> HTMLResponse:
    """Show the reference as one page of HTML."""
    documents: Documents = request.app.state.documents
    page = await documents.reference()
    return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
