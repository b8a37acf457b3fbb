"""The OpenAPI 3.1 document of one script: how to run it, with its very parameters."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from fanfold_server.http.run_bodies import BODIES, DATA_VERBS
from fanfold_server.http.schemas import ErrorOut
from fanfold_server.model.script import Script
from fanfold_server.service.signatures import GENERATOR, Schema, Signature

_ROOT: Final = "/oml/api/py-scripts/v2"
_JSON: Final = "application/json"


def script_document(
    script: Script, signature: Signature | None, *, owner: str | None, url: str, data: bool
) -> dict[str, Any]:
    """Write the document.

    Args:
        signature: what its function takes; None if nothing is certain: then anything is allowed.
        owner: as the caller has to name it in the path; None: not at all.
        url: of the server.
        data: whether the server has data, and so the verbs that are about rows.
    """
    names = [script.name, *([owner] if owner is not None else [])]
    tail = "/".join(quote(name, safe="") for name in names)
    shared: dict[str, Schema] = {}
    paths = {
        f"{_ROOT}/{verb}/{tail}": {"post": _operation(verb, script, signature, shared)}
        for verb in BODIES
        if data or verb not in DATA_VERBS
    }
    title = f"{script.owner}.{script.name}"
    doc = signature.doc if signature is not None else ""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": str(script.version),
            "description": script.description or doc or title,
        },
        "servers": [{"url": url}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": {**ErrorOut.model_json_schema(), "title": "Error"}, **shared},
        },
    }


def _operation(
    verb: str, script: Script, signature: Signature | None, shared: dict[str, Schema]
) -> dict[str, Any]:
    """Write an operation; what its body refers to is put into `shared`."""
    model = BODIES[verb]
    body = model.model_json_schema(ref_template="#/components/schemas/{model}")
    shared |= body.pop("$defs", {})
    body.pop("example", None)
    parameters = _parameters(signature, 0 if verb == "do-eval" else 1)
    members = body["properties"]
    members["parameters"] = {**parameters, "description": "The function's keyword arguments."}
    if parameters.get("required"):
        body["required"] = [*body.get("required", ()), "parameters"]
    returns = signature.returns if signature is not None else {}
    result: Schema = {"type": "array", "items": returns} if verb == "index-apply" else returns
    if verb not in {"index-apply", "do-eval", "table-apply"}:
        result = {}
    answer = {"type": "object", "required": ["result"], "properties": {"result": result}}
    error = {"$ref": "#/components/schemas/Error"}
    return {
        "operationId": verb.replace("-", "_"),
        "summary": (model.__doc__ or "").strip(),
        "description": signature.doc if signature is not None else "",
        "requestBody": {
            "required": verb != "do-eval" or bool(parameters.get("required")),
            "content": {_JSON: {"schema": body}},
        },
        "responses": {
            "200": {"description": "The answer.", "content": {_JSON: {"schema": answer}}},
            "201": {"description": "With `asyncFlag`: a job is made; `Location` says where."},
            "default": {
                "description": f"The run of {script.name} was refused or failed.",
                "content": {_JSON: {"schema": error}},
            },
        },
    }


def _parameters(signature: Signature | None, positional: int) -> Schema:
    if signature is None:
        return {"type": "object"}
    members: dict[str, Schema] = {}
    required = []
    for parameter in signature.given(positional):
        if parameter.name == GENERATOR:
            continue
        schema = dict(parameter.schema)
        if parameter.default:
            schema["default"] = parameter.default[0]
        if parameter.description:
            schema["description"] = parameter.description
        members[parameter.name] = schema
        if parameter.is_required:
            required.append(parameter.name)
    found: Schema = {"type": "object", "properties": members}
    if required:
        found["required"] = required
    if not signature.takes_any_name:
        found["additionalProperties"] = False
        # Control arguments steer the run and are not passed on.
        found["patternProperties"] = {"^oml_": {}}
    return found
