"""Laws of the whole surface, tried on every path that the OpenAPI document has."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.acceptance.conftest import Caller, Server, StartServer, serving
from tests.acceptance.naming import BODY, HEADERS, PATH_MEMBERS, QUERY, asked_for

METHODS = ("get", "put", "post", "delete")
OPEN = {"/health", "/docs", "/openapi.json"}
WITHOUT_BODY = {"/api/v1/callback-secret/rotate", "/api/v1/sources/{name}/test"}
"""What is posted to without a body, and names nothing that could not be there."""
TOKENS = {"/omlusers/api/oauth2/v1/token", "/omlusers/api/oauth2/v1/revoke"}
SECURITY = {
    "cache-control": "no-cache, no-store, must-revalidate",
    "pragma": "no-cache",
    "x-frame-options": "SAMEORIGIN",
    "x-xss-protection": "1;mode=block",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "x-content-type-options": "nosniff",
}
PATHS = {
    "/health": {"get"},
    "/docs": {"get"},
    "/openapi.json": {"get"},
    "/omlusers/api/oauth2/v1/token": {"post"},
    "/omlusers/api/oauth2/v1/revoke": {"post"},
    "/api/v1/tokens": {"get", "post"},
    "/api/v1/audit": {"get"},
    "/metrics": {"get"},
    "/api/v1/secrets": {"get"},
    "/api/v1/secrets/{name}": {"put", "delete"},
    "/api/v1/secrets/{name}/grants/{script}": {"put", "delete"},
    "/api/v1/network-grants": {"get"},
    "/api/v1/network-grants/{owner}/{name}": {"put", "delete"},
    "/api/v1/tokens/{token}": {"delete"},
    "/api/v1/scripts": {"get"},
    "/api/v1/scripts/{name}": {"get", "put", "delete"},
    "/api/v1/scripts/{name}/versions": {"get"},
    "/api/v1/scripts/{name}/rollback": {"post"},
    "/api/v1/scripts/{name}/network": {"get", "put"},
    "/api/v1/scripts/{name}/grants": {"get"},
    "/api/v1/scripts/{name}/openapi.json": {"get"},
    "/api/v1/scripts/{name}/grants/{grantee}": {"put", "delete"},
    "/api/v1/sources": {"get"},
    "/api/v1/sources/{name}": {"get", "put", "delete"},
    "/api/v1/sources/{name}/test": {"post"},
    "/api/v1/sources/{name}/default": {"put", "delete"},
    "/api/v1/sources/{name}/grants": {"get"},
    "/api/v1/sources/{name}/grants/{grantee}": {"put", "delete"},
    "/api/v1/tables": {"get"},
    "/api/v1/tables/{name}": {"get", "put", "delete"},
    "/api/v1/tables/{name}/preview": {"get"},
    "/api/v1/tables/{name}/grants": {"get"},
    "/api/v1/tables/{name}/grants/{grantee}": {"put", "delete"},
    "/api/v1/environments": {"get", "post"},
    "/api/v1/environments/{name}": {"get", "delete"},
    "/api/v1/environments/{name}/rollback": {"post"},
    "/api/v1/environments/{name}/archive": {"get", "put"},
    "/api/v1/environment-builds": {"get"},
    "/api/v1/environment-builds/{buildId}": {"get"},
    "/api/v1/environment-builds/{buildId}/log": {"get"},
    "/api/v1/datastores": {"get"},
    "/api/v1/datastores/{name}": {"get", "delete"},
    "/api/v1/datastores/{name}/objects/{object}": {"delete"},
    "/api/v1/datastores/{name}/grants": {"get"},
    "/api/v1/datastores/{name}/grants/{grantee}": {"put", "delete"},
    "/oml/api/py-scripts": {"get"},
    "/oml/api/py-scripts/v1": {"get"},
    "/oml/api/py-scripts/v2": {"get"},
    "/oml/api/py-scripts/v1/scripts": {"get"},
    "/oml/api/py-scripts/v2/scripts": {"get"},
    "/oml/api/py-scripts/v2/scripts/{scriptType}": {"get"},
    "/oml/api/py-scripts/v1/envs": {"get"},
    "/oml/api/py-scripts/v2/envs": {"get"},
    "/oml/api/py-scripts/v2/preload/conda": {"get", "post"},
    "/oml/api/py-scripts/v2/preload/conda/{envName}": {"delete"},
    "/oml/api/py-scripts/v1/jobs/{jobId}": {"get", "delete"},
    "/oml/api/py-scripts/v1/jobs/{jobId}/result": {"get"},
    "/oml/api/py-scripts/v2/jobs": {"get", "delete"},
    "/oml/api/py-scripts/v2/jobs/{jobId}": {"get", "delete"},
    "/oml/api/py-scripts/v2/jobs/{jobId}/result": {"get"},
    "/oml/api/py-scripts/v2/jobs/{jobId}/cancel": {"post"},
    "/api/v1/jobs": {"get"},
    "/api/v1/jobs/{jobId}": {"get", "delete"},
    "/api/v1/jobs/{jobId}/outcomes": {"get"},
    "/api/v1/jobs/{jobId}/errors": {"get"},
    "/api/v1/jobs/{jobId}/events": {"get"},
    "/api/v1/jobs/{jobId}/results": {"get"},
    "/api/v1/jobs/{jobId}/summary": {"get"},
    "/api/v1/jobs/{jobId}/images": {"get"},
    "/api/v1/jobs/{jobId}/images/{image}": {"get"},
    "/api/v1/jobs/{jobId}/cancel": {"post"},
    "/api/v1/jobs/{jobId}/resume": {"post"},
    "/api/v1/jobs/{jobId}/extend": {"post"},
    "/api/v1/jobs/{jobId}/deliveries": {"get"},
    "/api/v1/callback-secret": {"get"},
    "/api/v1/callback-secret/rotate": {"post"},
    **{
        f"/oml/api/py-scripts/{version}/{verb}/{{scriptName}}{owner}": {"post"}
        for version in ("v1", "v2")
        for verb in ("do-eval", "index-apply", "table-apply", "row-apply", "group-apply")
        for owner in ("", "/{ownerName}")
    },
}
"""Every path and its methods; the document is held against it, so nothing comes in unnoticed."""

OPERATIONS = [(method, path) for path, methods in PATHS.items() for method in sorted(methods)]
EVERY_OPERATION = pytest.mark.parametrize(("method", "path"), OPERATIONS)
EVERY_PATH = pytest.mark.parametrize("path", PATHS)


@pytest.fixture(scope="module")
def document(nobody: httpx2.Client) -> dict[str, Any]:
    found: dict[str, Any] = nobody.get("/openapi.json").json()
    return found


def _filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "no_such_thing", path)


def _is_error(answer: httpx2.Response) -> bool:
    """Tell whether an answer is the one error shape, with its exact length."""
    body = answer.json()
    return (
        isinstance(body["errorMessage"], str)
        and isinstance(body["errorCode"], int)
        and next(iter(body)) == "errorMessage"
        and answer.headers["content-type"] == "application/json"
        and answer.headers["content-length"] == str(len(answer.content))
    )


def _has_headers(answer: httpx2.Response, path: str) -> bool:
    policy = answer.headers["content-security-policy"]
    is_v1 = path.startswith("/oml/api/py-scripts/v1")
    names = [name for name, _ in answer.headers.multi_items()]
    return (
        SECURITY.items() <= dict(answer.headers).items()
        and (policy == "frame-ancestors 'none'" or path == "/docs")
        and ("deprecation" in answer.headers) is is_v1
        and ("sunset" in answer.headers) is is_v1
        and ("warning" in answer.headers) is is_v1
        and "x-request-id" in answer.headers
        and "date" in answer.headers
        and "server" not in answer.headers
        and len(names) == len(set(names))
    )


def test_the_document_has_exactly_the_paths_that_we_know(document: dict[str, Any]) -> None:
    written = {
        path: {method for method in METHODS if method in item}
        for path, item in document["paths"].items()
    }
    assert written == PATHS


def test_every_route_says_how_its_objects_are_named(document: dict[str, Any]) -> None:
    """What is not entered in `naming.py` is not tried by `test_unknown.py`."""
    assert set(PATH_MEMBERS) == set(PATHS)
    found = {}
    for method, path in OPERATIONS:
        found[method, path] = asked = asked_for(document, path, method)
        assert len(PATH_MEMBERS[path]) == len(asked["path"]), path
    for place, known in (("query", QUERY), ("header", HEADERS), ("body", BODY)):
        assert set().union(*(asked[place] for asked in found.values())) == set(known), place


@EVERY_OPERATION
def test_without_a_token_there_is_401_and_nothing_else(
    nobody: httpx2.Client, method: str, path: str
) -> None:
    answer = nobody.request(method, _filled(path), content=b"{")
    assert _has_headers(answer, path)
    if path in OPEN:
        assert answer.status_code == 200
    elif path in TOKENS:
        assert answer.status_code == 400
        assert _is_error(answer)
    else:
        assert answer.status_code == 401
        assert _is_error(answer)
        assert answer.headers["www-authenticate"] == "Bearer"


@EVERY_OPERATION
@pytest.mark.parametrize("body", [b'{"\xff": 1}', b"{", b"[]", b"1", b"[" * 50_000, b"\x00"])
def test_no_body_brings_out_another_shape(
    alice: Caller, method: str, path: str, body: bytes
) -> None:
    """Invalid UTF-8, half a JSON, no object, deep nesting: our error, or no notice of the body."""
    headers = {"Content-Type": "application/json"}
    answer = alice.request(method, _filled(path), content=body, headers=headers)
    assert _has_headers(answer, path)
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert _is_error(answer)
    if method == "post" and path not in WITHOUT_BODY:
        assert answer.status_code in {400, 404}


@EVERY_PATH
def test_a_method_that_a_path_does_not_know_is_told_those_it_does(alice: Caller, path: str) -> None:
    allowed = {method.upper() for method in PATHS[path]}
    allowed |= {"HEAD"} if "GET" in allowed else set()
    for method in {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"} - allowed:
        answer = alice.request(method, _filled(path))
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == allowed
        assert _has_headers(answer, path)
        if method == "HEAD":
            assert answer.content == b""
        else:
            assert _is_error(answer)
            assert answer.json()["errorCode"] == 2017


@pytest.mark.parametrize("path", [path for path, methods in PATHS.items() if "get" in methods])
def test_head_is_get_without_the_body(alice: Caller, path: str) -> None:
    got, head = alice.get(_filled(path)), alice.head(_filled(path))
    assert (head.status_code, head.content) == (got.status_code, b"")
    changing = {"date", "x-request-id", "content-length"}
    assert {name: head.headers[name] for name in head.headers if name not in changing} == {
        name: got.headers[name] for name in got.headers if name not in changing
    }
    assert "content-length" in head.headers


@EVERY_OPERATION
def test_a_body_that_is_too_large_is_refused_everywhere(
    small: Caller, method: str, path: str
) -> None:
    answer = small.request(method, _filled(path), content=b" " * (1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["errorCode"]) == (413, 2006)
    assert _is_error(answer)
    assert _has_headers(answer, path)


@EVERY_OPERATION
@pytest.mark.parametrize("content", [b"{}", [b"{}"]], ids=["whole", "chunked"])
def test_a_compressed_body_is_refused_everywhere(
    small: Caller, method: str, path: str, content: bytes | list[bytes]
) -> None:
    """So nothing small that is sent can become something large."""
    encoded = {"Content-Encoding": "gzip"}
    answer = small.request(method, _filled(path), content=content, headers=encoded)
    assert (answer.status_code, answer.json()["errorCode"]) == (415, 2007)
    assert _is_error(answer)
    assert _has_headers(answer, path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A developer of a server that takes little."""
    users = {"alice": "developer"}
    folder = tmp_path_factory.mktemp("small")
    with (
        serving(folder, "--max-body-mib", "1", "--max-table-mib", "1", users=users) as server,
        server.caller("alice") as caller,
    ):
        yield caller


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nope",
        "/health/",
        "/oml",
        "/oml/api/py-scripts/",
        "/oml/api/py-scripts/v3",
        "/oml/api/py-scripts/v1/scripts/user",
        "/oml/api/py-scripts/v1/index-apply",
        "/oml/api/py-scripts/v1/index-apply/",
        "/oml/api/py-scripts/v1/other-apply/x",
        "/oml/tenants/t/api/py-scripts",
        "/oml/tenants/t/databases/d",
        "/api/v1/scripts/a%2Fb/c/d/e",
        "/docs/oauth2-redirect",
        "/redoc",
        "/..%2f..%2fetc/passwd",
        "/%EF%BF%BD%00%0a<script>",
    ],
)
def test_an_unknown_path_has_the_same_shape(
    nobody: httpx2.Client, alice: Caller, path: str
) -> None:
    for client in (nobody, alice):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["errorCode"]) == (404, 2016)
        assert _is_error(answer)


@pytest.fixture
def leaver(server: Server) -> Iterator[Caller]:
    """A login of its own: one of the paths ends it."""
    with server.caller("alice") as caller:
        yield caller


@pytest.mark.parametrize(
    "path", [path for path in PATHS if path.startswith(("/oml/api/", "/omlusers/"))]
)
def test_the_legacy_prefix_reaches_the_same_routes(leaver: Caller, path: str) -> None:
    root, rest = path.split("/", 2)[1:]
    legacy = f"/{root}/tenants/ocid1.tenancy.x/databases/MYDB/{rest}"
    method = next(iter(PATHS[path]))
    plain = leaver.request(method, _filled(path), content=b"{}")
    old = leaver.request(method, _filled(legacy), content=b"{}")
    assert (old.status_code, old.content) == (plain.status_code, plain.content)
    assert _has_headers(old, path)


def test_bytes_that_are_no_http_do_not_hurt(server: Server, nobody: httpx2.Client) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=120) as raw:
        raw.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert raw.recv(1000).startswith((b"HTTP/1.1 400", b""))
    assert nobody.get("/health").status_code == 200


# ------------------------------------------------------------------------------- health, accounts


def test_health_says_version_readiness_and_no_secret(nobody: httpx2.Client) -> None:
    health = nobody.get("/health").json()
    assert health["status"] in {"ok", "starting"}
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", health["version"])
    assert isinstance(health["ready"], bool)


def test_without_an_account_only_health_answers_until_there_is_one(
    start_server: StartServer,
) -> None:
    server = start_server()
    with server.client() as client:
        assert client.get("/health").status_code == 200
        for method, path in OPERATIONS:
            if path != "/health":
                answer = client.request(method, _filled(path))
                assert (answer.status_code, answer.json()["errorCode"]) == (503, 2106)
                assert _is_error(answer)
                assert _has_headers(answer, path)
        server.add_user("late")
        assert client.get("/docs").status_code == 200
    with server.caller("late") as late:
        assert late.get("/api/v1/scripts").json() == {"scripts": []}


def test_the_log_has_a_record_for_each_request_and_no_secret(start_server: StartServer) -> None:
    server = start_server(users={"alice": "developer"})
    with server.caller("alice") as alice:
        alice.get("/api/v1/scripts?secret=yes", headers={"X-Request-Id": "find-me"})
        token = alice.token
    server.process.terminate()
    server.process.wait(120)
    log = server.log.read_text()
    assert '"request_id":"find-me"' in log
    assert '"user":"ALICE"' in log
    for secret in (token, "correct horse", "secret=yes"):
        assert secret not in log
    assert server.process.returncode == 0


# --------------------------------------------------------------------------- the document, the page


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for child in node.values() for found in _references(child)]
    if isinstance(node, list):
        return [found for child in node for found in _references(child)]
    return []


def test_the_document_is_whole(document: dict[str, Any]) -> None:
    """What every OpenAPI 3.1 document must be: references that lead somewhere, named members."""
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert {"title", "version"} <= set(document["info"])
    for reference in _references(document):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in document["components"]["schemas"]


@EVERY_OPERATION
def test_an_operation_is_described(document: dict[str, Any], method: str, path: str) -> None:
    operation = document["paths"][path][method]
    assert operation.get("description") or operation.get("summary")
    assert operation["operationId"]
    responses = operation["responses"]
    assert "422" not in responses
    assert all(response["description"] for response in responses.values())
    error = responses["default"]["content"]["application/json"]["schema"]
    assert error == {"$ref": "#/components/schemas/Error"}
    assert any(status.startswith("2") for status in responses)
    in_path = {given["name"] for given in operation.get("parameters", []) if given["in"] == "path"}
    in_path |= {given["name"] for given in document["paths"][path].get("parameters", [])}
    assert in_path == set(re.findall(r"\{(\w+)\}", path))
    is_open = operation.get("security") == []
    assert is_open is (path in OPEN | TOKENS)
    is_v1 = path.startswith("/oml/api/py-scripts/v1")
    assert operation.get("deprecated", False) is is_v1


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [document["paths"][path][method]["operationId"] for method, path in OPERATIONS]
    assert len(names) == len(set(names))


def test_the_reference_page_needs_nobody_else(
    nobody: httpx2.Client, document: dict[str, Any]
) -> None:
    answer = nobody.get("/docs")
    page = answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sh")
    assert not re.search(r"<script|<link|<img|@import|url\(|style=|\son\w+=", page)
    assert set(re.findall(r'(?:src|href)="([^#"]*)"', page)) == {"/openapi.json"}
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page
    targets = re.findall(r'href="#([^"]+)"', page)
    assert targets
    assert len(targets) == len(set(targets))
    assert all(f'id="{target}"' in page for target in targets)
