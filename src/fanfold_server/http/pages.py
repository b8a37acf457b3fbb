"""What needs no token: health, the OpenAPI document, and the reference for people."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from fanfold_server.http.answers import Json
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
    document: bytes = request.app.state.openapi_json
    return Json(document)


@router.get("/docs", response_class=HTMLResponse)
async def show_reference(request: Request) -> HTMLResponse:
    """Show the reference as one page of HTML."""
    page: str = request.app.state.reference
    return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
