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
_TAGS: Final = {
    "tokens": "Log in, and make tokens for programs.",
    "runs": "Run a stored function: once, for each index, or over the rows of a query.",
    "jobs": "Follow runs that the server has taken over.",
    "callbacks": "See who was told of a job's end.",
    "scripts": "Store, read and share functions.",
    "tables": "Load, look at and share tables.",
    "sources": "Databases of others, from which queries read.",
    "datastores": "Share the objects that functions keep.",
    "environments": "Make and look at what functions import from.",
    "secrets": "What functions need and nobody may see.",
    "network": "What functions may reach of the network.",
    "compatible": "What else the compatible API has.",
    "server": "Health, documents, and who did what.",
}
"""In the order in which a reader wants them."""

METHODS: Final = ("get", "put", "post", "delete")
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
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
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
        for method in METHODS:
            if method in item:
                _complete(path, method, item[method])
    return document


def by_tag(document: Mapping[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """Sort the operations of a document by tag, in the order of its list of tags.

    Returns:
        (method, path, operation) of each, by the tag that it has first. No tag is without any.
    """
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
        tag["name"]: [] for tag in document["tags"]
    }
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                operation = item[method]
                groups[operation["tags"][0]].append((method, path, operation))
    return {tag: operations for tag, operations in groups.items() if operations}


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
