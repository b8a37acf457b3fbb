"""The script repository: fanfold's own API and the compatible listings over it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import httpx2
import pytest

from tests.acceptance.conftest import Caller, Server

FIRST = "def mean(index):\n    return index / 2\n"
SECOND = "def mean(index):\n    return index / 3\n"
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def name(alice: Caller, request: pytest.FixtureRequest) -> Iterator[str]:
    """A script of alice's, named after the test; gone when it ends."""
    script: str = re.sub(r"\W", "_", request.node.name)
    alice.store(script, FIRST, description="half")
    yield script
    alice.delete(f"/api/v1/scripts/{script}")


def _code(answer: httpx2.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["errorCode"]


def test_a_new_script_is_created_and_a_second_needs_overwrite(alice: Caller) -> None:
    path = "/api/v1/scripts/new_or_not"
    created = alice.put(path, json={"source": FIRST, "description": "half"})
    assert created.status_code == 201
    stored = created.json()
    assert DATE.fullmatch(stored.pop("created"))
    assert re.fullmatch(r"[0-9a-f]{64}", stored.pop("digest"))
    assert stored == {
        "name": "new_or_not",
        "owner": "ALICE",
        "version": 1,
        "entry": "mean",
        "description": "half",
        "global": False,
        "network": None,
        "source": FIRST,
    }
    assert _code(alice.put(path, json={"source": SECOND})) == (409, 2005)
    again = alice.put(path, json={"source": SECOND, "overwrite": True})
    assert (again.status_code, again.json()["version"]) == (200, 2)
    same = alice.put(path, json={"source": SECOND, "overwrite": True})
    assert (same.status_code, same.json()["version"]) == (200, 2)
    assert alice.get(path).json() == same.json()
    gone = alice.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert _code(alice.get(path)) == (404, 2010)
    assert _code(alice.delete(path)) == (404, 2010)


def test_versions_stay_and_one_can_go_back(alice: Caller, name: str) -> None:
    path = f"/api/v1/scripts/{name}"
    first = alice.get(path).json()
    second = alice.store(name, SECOND)
    versions = alice.get(f"{path}/versions").json()["versions"]
    assert [version["version"] for version in versions] == [2, 1]
    assert {version["digest"] for version in versions} == {first["digest"], second["digest"]}
    assert alice.get(path, params={"version": 1}).json()["source"] == FIRST
    back = alice.post(f"{path}/rollback", json={"version": 1})
    assert (back.status_code, back.json()["source"]) == (200, FIRST)
    assert alice.get(path).json()["version"] == 1
    assert alice.get(path, params={"version": 2}).json()["source"] == SECOND
    assert _code(alice.get(path, params={"version": 3})) == (404, 2011)
    assert _code(alice.post(f"{path}/rollback", json={"version": 9})) == (404, 2011)


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("def mean(index):\n    return (index\n", 2, 12),
        ("x = 1\n", None, None),
        ("", None, None),
        ("async def mean(index):\n    return 1\n", 1, None),
        ("mean = lambda index: index\n", None, None),
        ("def mean(index):\n    return '\x00'\n", 2, None),
        ("(" * 100_000, None, None),
    ],
)
def test_a_source_that_cannot_run_is_refused_and_never_run(
    alice: Caller, source: str, line: int | None, column: int | None
) -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in source)
    body = f'{{"source": "{escaped}"}}'
    answer = alice.put(
        "/api/v1/scripts/cannot_run", content=body, headers={"Content-Type": "application/json"}
    )
    assert _code(answer) == (400, 2004)
    if line is not None:
        assert answer.json()["line"] == line
    if column is not None:
        assert answer.json()["column"] == column
    assert alice.get("/api/v1/scripts/cannot_run").status_code == 404


@pytest.mark.parametrize(
    ("body", "code", "named"),
    [
        ('{"source": 1}', 2002, 'member "source" is 1; it should be a valid string'),
        ("{}", 2002, 'member "source" is missing'),
        ('{"sorce": "x"}', 2002, 'did you mean "source"?'),
        ('{"source": "x", "overwrite": "yes"}', 2002, 'member "overwrite" is "yes"'),
        ('{"source": "x", "global": 1}', 2002, 'member "global" is 1'),
        ('{"source": "x", "is_global": true}', 2002, '"is_global" does not exist'),
        ("[]", 2001, "JSON object"),
        ("{", 2001, "not JSON"),
        ("", 2001, "missing"),
        ("[" * 100_000, 2001, "too deeply"),
        (b'{"source": "\xff"}', 2001, "not UTF-8"),
        ('{"source": "\\ud800"}', 2001, "surrogate"),
    ],
)
def test_a_body_that_is_wrong_is_told_what_would_be_right(
    alice: Caller, body: str | bytes, code: int, named: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = alice.put("/api/v1/scripts/wrong", content=body, headers=headers)
    assert _code(answer) == (400, code)
    assert named in answer.json()["errorMessage"]


def test_a_script_is_private_until_it_is_granted(alice: Caller, bob: Caller, name: str) -> None:
    path, mine = f"/api/v1/scripts/{name}", {"owner": "alice"}
    assert _code(bob.get(path)) == (404, 2010)
    assert _code(bob.get(path, params=mine)) == (404, 2010)
    for grantee, listed in [("bob", "BOB"), ("*", "PUBLIC")]:
        assert alice.put(f"{path}/grants/{grantee}").status_code == 204
        assert alice.get(f"{path}/grants").json() == {"grants": [{"grantee": listed}]}
        assert bob.get(path, params=mine).json()["source"] == FIRST
        assert alice.delete(f"{path}/grants/{grantee}").status_code == 204
        assert _code(bob.get(path, params=mine)) == (404, 2010)
        assert _code(alice.delete(f"{path}/grants/{grantee}")) == (404, 2015)
    assert _code(alice.put(f"{path}/grants/nobody_here")) == (404, 2014)
    assert _code(bob.put(f"{path}/grants/bob")) == (404, 2010)


def test_own_comes_before_global_and_only_the_creator_or_an_admin_changes_global(
    alice: Caller, bob: Caller, admin: Caller, name: str
) -> None:
    path = f"/api/v1/scripts/{name}"
    stored = alice.store(name, SECOND, **{"global": True})
    assert (stored["owner"], stored["global"]) == ("PYQSYS", True)
    assert bob.get(path).json()["source"] == SECOND
    assert alice.get(path).json()["source"] == FIRST
    assert alice.get(path, params={"owner": "pyqsys"}).json()["source"] == SECOND
    body = {"source": FIRST, "global": True, "overwrite": True}
    assert _code(bob.put(path, json=body)) == (403, 2105)
    assert _code(bob.delete(path, params={"global": "true"})) == (403, 2105)
    assert admin.put(path, json=body).status_code == 200
    assert admin.delete(path, params={"global": "true"}).status_code == 204
    assert alice.get(path).json()["source"] == FIRST


def test_a_listing_has_every_script_by_how_one_comes_to_it(
    alice: Caller, bob: Caller, name: str
) -> None:
    path = f"/api/v1/scripts/{name}"
    alice.store(name + "_everyones", SECOND, **{"global": True})
    assert alice.put(f"{path}/grants/bob").status_code == 204

    def listed(caller: Caller, script_type: str) -> set[str]:
        own = caller.get("/api/v1/scripts", params={"type": script_type}).json()["scripts"]
        compatible = caller.get(f"/oml/api/py-scripts/v2/scripts/{script_type}").json()["result"]
        upper = caller.get(f"/oml/api/py-scripts/v2/scripts/{script_type.upper()}")
        assert upper.json()["result"] == compatible
        assert [(script["owner"], script["name"]) for script in own] == [
            (script["owner"], script["name"]) for script in compatible
        ]
        assert all("source" not in script for script in own)
        return {script["owner"] + "." + script["name"] for script in own if name in script["name"]}

    mine, everyones = f"ALICE.{name}", f"PYQSYS.{name}_everyones"
    assert listed(alice, "user") == {mine}
    assert listed(alice, "all") == {mine, everyones}
    assert listed(alice, "global") == {everyones}
    assert listed(alice, "grant") == {mine}
    assert listed(alice, "granted") == set()
    assert listed(bob, "user") == set()
    assert listed(bob, "all") == {mine, everyones}
    assert listed(bob, "granted") == {mine}
    for answer in (
        alice.get("/api/v1/scripts", params={"type": "grant"}).json()["scripts"],
        alice.get("/oml/api/py-scripts/v2/scripts/grant").json()["result"],
    ):
        assert [script["grantee"] for script in answer if script["name"] == name] == ["BOB"]
    wrong = alice.get("/oml/api/py-scripts/v2/scripts/mine")
    assert _code(wrong) == (400, 2002)
    assert "granted" in wrong.json()["errorMessage"]
    alice.delete(f"/api/v1/scripts/{name}_everyones", params={"global": "true"})


# -------------------------------------------------------------------- W21: the compatible surface


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_compatible_listing_is_as_documented(alice: Caller, name: str, version: str) -> None:
    """W21 of wire.md: keys, the form of the date, the whole source, a null description."""
    alice.store(name + "_plain", SECOND)
    answer = alice.get(f"/oml/api/py-scripts/{version}/scripts")
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["result"]
    scripts = {script["name"]: script for script in answer.json()["result"]}
    for script in scripts.values():
        assert list(script) == ["owner", "date", "name", "description", "script"]
        assert DATE.fullmatch(script["date"])
    described, plain = scripts[name], scripts[name + "_plain"]
    assert (described["owner"], described["description"]) == ("ALICE", "half")
    assert (described["script"], plain["script"]) == (FIRST, SECOND)
    assert plain["description"] is None
    alice.delete(f"/api/v1/scripts/{name}_plain")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_filter_of_the_notebooks_works(
    server: Server, alice: Caller, name: str, version: str
) -> None:
    """`jq '.result[] | .name + " " + .owner'` stops at anything that is not a text."""
    url = f"{server.url}/oml/api/py-scripts/{version}/scripts"
    listing = subprocess.run(
        ["curl", "-sS", "--fail", "-H", f"Authorization: Bearer {alice.token}", url],
        capture_output=True,
        timeout=30,
        check=True,
    )
    filtered = subprocess.run(
        ["jq", '.result[] | .name + " " + .owner'],
        input=listing.stdout,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert f'"{name} ALICE"' in filtered.stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("version", "is_latest", "lifecycle"),
    [("v1", False, "DEPRECATED@2026-03-31"), ("v2", True, "ACTIVE")],
)
def test_a_version_describes_itself(
    server: Server, alice: Caller, version: str, is_latest: bool, lifecycle: str
) -> None:
    base = f"{server.url}/oml/api/py-scripts"
    described = alice.get(f"/oml/api/py-scripts/{version}").json()
    assert list(described) == ["version", "isLatest", "lifecycle", "links"]
    assert (described["version"], described["isLatest"]) == (version, is_latest)
    assert described["lifecycle"] == lifecycle
    assert described["links"][0] == {"href": f"{base}/{version}", "rel": "self"}
    children = {link["href"] for link in described["links"][1:]}
    assert {link["rel"] for link in described["links"][1:]} == {"child"}
    paths = alice.get("/openapi.json").json()["paths"]
    below = {path for path in paths if path.startswith(f"/oml/api/py-scripts/{version}/")}
    assert len(below) > 10
    assert children == {server.url + path for path in below}
    versions = alice.get("/oml/api/py-scripts").json()
    assert list(versions) == ["items", "links"]
    assert described in versions["items"]
    assert [item["version"] for item in versions["items"]] == ["v1", "v2"]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_environments_are_listed_as_documented(alice: Caller, version: str) -> None:
    answer = alice.get(f"/oml/api/py-scripts/{version}/envs").json()
    assert list(answer) == ["result"]
    assert list(answer["result"]) == ["envs"]
    for environment in answer["result"]["envs"]:
        assert set(environment) == {
            "size",
            "name",
            "description",
            "number_of_installed_packages",
            "tags",
        }
        assert re.fullmatch(r"[\d.]+ ([KMG]i)?B", environment["size"])
        assert isinstance(environment["number_of_installed_packages"], int)
        assert isinstance(environment["tags"], dict)
