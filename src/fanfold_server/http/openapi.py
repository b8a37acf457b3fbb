"""The OpenAPI 3.1 document: what the framework writes, made true.

The framework does not know that errors have one shape, that nothing answers 422, who needs a
token, or that the runs exist.
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from fanfold_server.http.schemas import ErrorOut
from fanfold_server.http.scopes import needed

_DESCRIPTION: Final = """\
Stores Python functions and runs them. The paths below `/oml` and `/omlusers` are wire-compatible
with Oracle's OML4Py REST API for Embedded Python Execution; those below `/api` are fanfold's own,
and refuse query parameters that are not listed with them, or are given twice.

Every error is `{"errorMessage": text, "errorCode": number}`; more members may stand beside these.
"""
_TAGS: Final = (
    {"name": "tokens", "description": "Obtain, refresh and revoke tokens."},
    {"name": "runs", "description": "Run a stored function once, or once for each index."},
    {"name": "jobs", "description": "Follow runs that the server has taken over."},
    {"name": "scripts", "description": "Store, read and share functions: fanfold's own API."},
    {"name": "tables", "description": "Load, look at and share tables: fanfold's own API."},
    {
        "name": "secrets",
        "description": "What functions need and nobody may see: fanfold's own API.",
    },
    {"name": "compatible", "description": "What else the compatible API has."},
    {"name": "server", "description": "What needs no token."},
)
"""In the order in which a reader wants them."""

_METHODS: Final = ("get", "put", "post", "delete")
_OPEN: Final = frozenset({"/health", "/docs", "/openapi.json"})
_FRAMEWORK_ERRORS: Final = ("HTTPValidationError", "ValidationError")
_ERROR: Final[dict[str, Any]] = {
    "description": "The request was refused or failed.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def describe(
    app: FastAPI, *, version: str, run_paths: Mapping[str, Any], public_url: str | None
) -> dict[str, Any]:
    """Write the OpenAPI document of the whole surface.

    Args:
        app: the framework's application with all of its routes.
        version: fanfold's.
        run_paths: the path items of the runs, which the framework does not know.
        public_url: where clients reach the server, if that is set.
    """
    document = get_openapi(
        title="fanfold",
        version=version,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=[dict(tag) for tag in _TAGS],
        servers=[{"url": public_url}] if public_url else None,
    )
    paths: dict[str, Any] = document["paths"]
    paths |= run_paths
    components = document.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    for name in _FRAMEWORK_ERRORS:
        schemas.pop(name, None)
    schemas["Error"] = {**ErrorOut.model_json_schema(), "title": "Error"}
    components["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of POST /omlusers/api/oauth2/v1/token or of POST "
            "/api/v1/tokens; the latter needs the scope that `x-fanfold-scope` names.",
        }
    }
    document["security"] = [{"bearer": []}]
    for path, item in paths.items():
        for method in _METHODS:
            if method in item:
                _complete(path, method, item[method])
    return document


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    """Put one operation right."""
    operation["responses"].pop("422", None)
    operation["responses"].setdefault("default", _ERROR)
    if path not in _OPEN and "security" not in operation:
        operation["x-fanfold-scope"] = str(needed(path, method.upper()))
    if path in _OPEN:
        operation["security"] = []
    if path.startswith("/oml/api/py-scripts/v1"):
        operation["deprecated"] = True
