"""The place of the runs in the OpenAPI document: made from the same models that check them."""

from __future__ import annotations

from typing import Any

from fanfold_server.http.idempotency import MAX_KEY
from fanfold_server.http.run_bodies import BODIES, DATA_VERBS, DoEval

_JSON = "application/json"
_SEED_HEADERS = {
    "Fanfold-Seed": {
        "description": "The seed of the run, given or drawn.",
        "schema": {"type": "integer"},
    },
    "Fanfold-Script-Version": {
        "description": "The version of the script that ran.",
        "schema": {"type": "integer"},
    },
}
_ANSWER = {
    "description": 'The answer; with `onError` "continue" a member `errors` may stand beside it.',
    "headers": _SEED_HEADERS,
    "content": {_JSON: {"schema": {"type": "object", "required": ["result"]}}},
}
_CREATED = {
    "description": "With `asyncFlag`: the job is stored and will run. The body is empty.",
    "headers": {
        "Location": {"description": "Where the job is.", "schema": {"type": "string"}},
        **_SEED_HEADERS,
    },
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "With `asyncFlag`: of the client's choice. A second request with the same key "
    "makes no second job: it is answered with the first one.",
    "schema": {"type": "string", "maxLength": MAX_KEY},
}


def openapi_paths(*, data: bool = True) -> dict[str, Any]:
    """Return the OpenAPI path items of the runs.

    Args:
        data: whether the server has data, and so the verbs that are about rows.
    """
    paths = {}
    verbs = {verb: model for verb, model in BODIES.items() if data or verb not in DATA_VERBS}
    for version in ("v1", "v2"):
        for verb, model in verbs.items():
            for owned in (False, True):
                path = f"/oml/api/py-scripts/{version}/{verb}/{{scriptName}}"
                path += "/{ownerName}" if owned else ""
                paths[path] = {"post": _operation(version, verb, model, owned=owned)}
    return paths


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Put what a schema refers to where it does: the document keeps no definitions of its own."""
    definitions = schema.pop("$defs", {})

    def put(part: Any) -> Any:
        match part:
            case {"$ref": str(name), **rest}:
                return {**put(definitions[name.rsplit("/", 1)[1]]), **rest}
            case dict():
                return {key: put(value) for key, value in part.items()}
            case list():
                return [put(value) for value in part]
            case _:
                return part

    inlined: dict[str, Any] = put(schema)
    return inlined


def _operation(version: str, verb: str, model: type[DoEval], *, owned: bool) -> dict[str, Any]:
    schema = _inlined(model.model_json_schema())
    names = ["scriptName", *(["ownerName"] if owned else [])]
    return {
        "operationId": "_".join([verb.replace("-", "_"), version, *(["owned"] if owned else [])]),
        "tags": ["runs"],
        "summary": (model.__doc__ or "").strip(),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
        + [_IDEMPOTENCY_KEY],
        "requestBody": {
            "required": verb != "do-eval",
            "content": {_JSON: {"schema": schema}},
        },
        "responses": {"200": _ANSWER, "201": _CREATED},
    }
