"""How every route of the surface is told which object is meant: what must not tell of others'.

A new route, query parameter or body member has to be entered here; `test_surface.py` holds the
OpenAPI document against these tables, and `test_unknown.py` tries every entry. A kind of object of
which accounts have their own goes into `test_unknown.py`, too (`Hidden`): a second account asks for
it and for one that does not exist, and must not be able to tell the two apart.
"""

from __future__ import annotations

from typing import Any

SCRIPT, TABLE, JOB, TOKEN = "script", "table", "job", "token"
SECRET, SOURCE, DATASTORE = "secret", "source", "datastore"
OWNED = frozenset({SCRIPT, TABLE, JOB, TOKEN, SECRET, SOURCE, DATASTORE})
"""Kinds that belong, or are granted, to an account: another account must not learn of them."""

ACCOUNT = "account"  # a grant names one, and says when there is none
SCRIPT_TOO = "script too"  # beside what the path names first; a script of the caller's own
PART = "part"  # of an object that the path names before it
WORD = "word"  # one of a few fixed words
SHARED = "shared"  # the operator's, for everyone
BUILD = "build"  # seen by its owner and administrators: see `test_environments_built.py`
PLAIN = None  # names nothing

PATH_MEMBERS: dict[str, tuple[str, ...]] = {
    "/health": (),
    "/docs": (),
    "/openapi.json": (),
    "/omlusers/api/oauth2/v1/token": (),
    "/omlusers/api/oauth2/v1/revoke": (),
    "/api/v1/tokens": (),
    "/api/v1/secrets": (),
    "/api/v1/secrets/{name}": (SECRET,),
    "/api/v1/secrets/{name}/grants/{script}": (SECRET, SCRIPT_TOO),
    "/metrics": (),  # for administrators, of the whole server
    "/api/v1/audit": (),  # for administrators, who may know of everything
    "/api/v1/network-grants": (),  # for administrators, likewise
    "/api/v1/network-grants/{owner}/{name}": (ACCOUNT, SCRIPT),
    "/api/v1/tokens/{token}": (TOKEN,),
    "/api/v1/scripts": (),
    "/api/v1/scripts/{name}": (SCRIPT,),
    "/api/v1/scripts/{name}/versions": (SCRIPT,),
    "/api/v1/scripts/{name}/rollback": (SCRIPT,),
    "/api/v1/scripts/{name}/network": (SCRIPT,),
    "/api/v1/scripts/{name}/grants": (SCRIPT,),
    "/api/v1/scripts/{name}/openapi.json": (SCRIPT,),
    "/api/v1/scripts/{name}/grants/{grantee}": (SCRIPT, ACCOUNT),
    "/api/v1/sources": (),
    "/api/v1/sources/{name}": (SOURCE,),
    "/api/v1/sources/{name}/test": (SOURCE,),
    "/api/v1/sources/{name}/default": (SOURCE,),
    "/api/v1/sources/{name}/grants": (SOURCE,),
    "/api/v1/sources/{name}/grants/{grantee}": (SOURCE, ACCOUNT),
    "/api/v1/tables": (),
    "/api/v1/tables/{name}": (TABLE,),
    "/api/v1/tables/{name}/preview": (TABLE,),
    "/api/v1/tables/{name}/grants": (TABLE,),
    "/api/v1/tables/{name}/grants/{grantee}": (TABLE, ACCOUNT),
    "/api/v1/environments": (),
    "/api/v1/environments/{name}": (SHARED,),
    "/api/v1/environments/{name}/rollback": (SHARED,),
    "/api/v1/environments/{name}/archive": (SHARED,),
    "/api/v1/environment-builds": (),
    "/api/v1/environment-builds/{buildId}": (BUILD,),
    "/api/v1/environment-builds/{buildId}/log": (BUILD,),
    "/api/v1/datastores": (),
    "/api/v1/datastores/{name}": (DATASTORE,),
    "/api/v1/datastores/{name}/objects/{object}": (DATASTORE, PART),
    "/api/v1/datastores/{name}/grants": (DATASTORE,),
    "/api/v1/datastores/{name}/grants/{grantee}": (DATASTORE, ACCOUNT),
    "/oml/api/py-scripts": (),
    "/oml/api/py-scripts/v1": (),
    "/oml/api/py-scripts/v2": (),
    "/oml/api/py-scripts/v1/scripts": (),
    "/oml/api/py-scripts/v2/scripts": (),
    "/oml/api/py-scripts/v2/scripts/{scriptType}": (WORD,),
    "/oml/api/py-scripts/v1/envs": (),
    "/oml/api/py-scripts/v2/envs": (),
    "/oml/api/py-scripts/v2/preload/conda": (),
    "/oml/api/py-scripts/v2/preload/conda/{envName}": (SHARED,),
    "/oml/api/py-scripts/v1/jobs/{jobId}": (JOB,),
    "/oml/api/py-scripts/v1/jobs/{jobId}/result": (JOB,),
    "/oml/api/py-scripts/v2/jobs": (),
    "/oml/api/py-scripts/v2/jobs/{jobId}": (JOB,),
    "/oml/api/py-scripts/v2/jobs/{jobId}/result": (JOB,),
    "/oml/api/py-scripts/v2/jobs/{jobId}/cancel": (JOB,),
    "/api/v1/jobs": (),
    "/api/v1/jobs/{jobId}": (JOB,),
    "/api/v1/jobs/{jobId}/outcomes": (JOB,),
    "/api/v1/jobs/{jobId}/errors": (JOB,),
    "/api/v1/jobs/{jobId}/events": (JOB,),
    "/api/v1/jobs/{jobId}/results": (JOB,),
    "/api/v1/jobs/{jobId}/summary": (JOB,),
    "/api/v1/jobs/{jobId}/images": (JOB,),
    "/api/v1/jobs/{jobId}/images/{image}": (JOB, PART),
    "/api/v1/jobs/{jobId}/cancel": (JOB,),
    "/api/v1/jobs/{jobId}/resume": (JOB,),
    "/api/v1/jobs/{jobId}/extend": (JOB,),
    "/api/v1/jobs/{jobId}/deliveries": (JOB,),
    "/api/v1/callback-secret": (),
    "/api/v1/callback-secret/rotate": (),
    **{
        f"/oml/api/py-scripts/{version}/{verb}/{{scriptName}}": (SCRIPT,)
        for version in ("v1", "v2")
        for verb in ("do-eval", "index-apply", "table-apply", "row-apply", "group-apply")
    },
    **{
        f"/oml/api/py-scripts/{version}/{verb}/{{scriptName}}/{{ownerName}}": (SCRIPT, ACCOUNT)
        for version in ("v1", "v2")
        for verb in ("do-eval", "index-apply", "table-apply", "row-apply", "group-apply")
    },
}
"""By path: the kind that each of its members names, in their order."""

QUERY: dict[str, str | None] = {
    "action": WORD,
    "actor": ACCOUNT,
    "after": JOB,
    "age": PLAIN,
    "before": PLAIN,
    "below": PLAIN,
    "comments": PLAIN,
    "createdBefore": PLAIN,
    "createdFrom": PLAIN,
    "envName": PLAIN,  # asked about, not looked for
    "follow": PLAIN,
    "formulas": PLAIN,
    "format": PLAIN,
    "from": PLAIN,
    "global": PLAIN,
    "limit": PLAIN,
    "member": PLAIN,
    "overwrite": PLAIN,
    "owner": ACCOUNT,
    "rows": PLAIN,
    "script": SCRIPT,
    "since": PLAIN,
    "state": PLAIN,
    "status": PLAIN,
    "target": PLAIN,  # of an entry that an administrator reads
    "type": WORD,
    "user": ACCOUNT,
    "version": PLAIN,
}
"""By name: what a query parameter names."""

HEADERS: dict[str, str | None] = {
    "Idempotency-Key": PLAIN,  # each account has keys of its own
    "Last-Event-ID": PLAIN,
}
"""By name: what a request header names."""

BODY: dict[str, str | None] = {
    "asyncFlag": PLAIN,
    "callTimeout": PLAIN,
    "callbackUrl": PLAIN,
    "canary": PLAIN,
    "checkArguments": PLAIN,
    "channels": PLAIN,
    "comments": PLAIN,
    "days": PLAIN,
    "description": PLAIN,
    "envName": SHARED,
    "format": WORD,
    "global": PLAIN,
    "grant_type": WORD,
    "hosts": PLAIN,
    "policy": WORD,
    "graphicsFlag": PLAIN,
    "groupBy": PLAIN,
    "input": TABLE,
    "maker": WORD,
    "kind": WORD,
    "maxConnections": PLAIN,
    "maxFailures": PLAIN,
    "name": SHARED,
    "onError": WORD,
    "orderBy": PLAIN,
    "orderWithin": PLAIN,
    "overwrite": PLAIN,
    "packages": PLAIN,
    "owner": ACCOUNT,
    "parallel": PLAIN,
    "resultTable": PLAIN,  # one's own, or none yet
    "parallelFlag": PLAIN,
    "parameters": PLAIN,
    "password": PLAIN,
    "passwordFrom": PLAIN,
    "refresh_token": PLAIN,
    "rows": PLAIN,
    "scopes": WORD,
    "script": SCRIPT,
    "scriptVersion": PLAIN,
    "seed": PLAIN,
    "service": WORD,
    "spec": PLAIN,
    "tags": PLAIN,
    "stopWhen": PLAIN,
    "source": SOURCE,
    "timeout": PLAIN,
    "times": PLAIN,
    "token": PLAIN,
    "token_type_hint": PLAIN,
    "url": PLAIN,
    "username": ACCOUNT,
    "value": PLAIN,
    "version": PLAIN,
}
"""By name: what a member of a JSON body names."""


def asked_for(document: dict[str, Any], path: str, method: str) -> dict[str, set[str]]:
    """List the names that an operation takes: "path", "query", "header" and "body"."""
    item = document["paths"][path]
    operation = item[method]
    found: dict[str, set[str]] = {"path": set(), "query": set(), "header": set(), "body": set()}
    for given in [*item.get("parameters", []), *operation.get("parameters", [])]:
        found[given["in"]].add(given["name"])
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    found["body"] = _members(document, schema)
    return found


def _members(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """List the members of an object, through references and alternatives."""
    if "$ref" in schema:
        found: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return _members(document, found)
    names = set(schema.get("properties", {}))
    for way in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(way, ()):
            names |= _members(document, part)
    return names
