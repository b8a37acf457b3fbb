"""What we are made of is pinned by hash, can be listed, and is asked about."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.architecture.repository import ROOT, required_name


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    return _script("audit")


def _sbom(file: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "scripts" / "sbom.py"), "--output", str(file), *options]
    subprocess.run(command, check=True, capture_output=True)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def test_the_list_has_what_is_shipped_with_hashes_and_none_of_our_tools(tmp_path: Path) -> None:
    document = _sbom(tmp_path / "one.json")
    assert document["bomFormat"] == "CycloneDX"
    listed = {each["name"]: each for each in document["components"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tools = {required_name(tool) for tool in project["dependency-groups"]["dev"]}
    extras = project["project"]["optional-dependencies"]
    asked = {
        required_name(requirement)
        for extra, requirements in extras.items()
        for requirement in requirements
        if extra != "sandbox"  # a program beside us, which the lock pins for the tests
    }
    assert asked | {"click", "rich", "httpx2"} <= set(listed)
    assert tools & set(listed) == set()
    for each in listed.values():
        (source,) = each["externalReferences"]
        assert {found["alg"] for found in source["hashes"]} == {"SHA-256"}, each["name"]
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
    graph = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert listed["sqlalchemy"]["bom-ref"] in graph[listed["alembic"]["bom-ref"]]
    assert listed["fastapi"]["bom-ref"] in graph[document["metadata"]["component"]["bom-ref"]]
    again = _sbom(tmp_path / "two.json", "--unchecked")
    assert document == again, "the same lock gives the same list"


def test_what_is_known_of_a_package_is_told(audit: ModuleType) -> None:
    vulns = [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}]
    clean = {"name": "a", "version": "1", "vulns": []}
    report = {"dependencies": [clean, {"name": "b", "version": "2.0", "vulns": vulns}]}
    assert [str(one) for one in audit.read("x.lock", report)] == [
        "x.lock: b 2.0: PYSEC-1 CVE-1; mended in 2.1"
    ]
    left_out = {"dependencies": [{"name": "c", "skip_reason": "not found"}]}
    with pytest.raises(audit.Failed, match="c: not found"):
        audit.read("x.lock", left_out)


def test_nobody_to_ask_is_told_from_an_audit_that_failed(audit: ModuleType) -> None:
    """The one must not stop a build; the other must not pass for the one."""
    away = "Traceback …\nrequests.exceptions.ConnectionError: HTTPSConnectionPool(host='x'): …"
    assert isinstance(audit._why(away), audit.Away)
    assert str(audit._why(away)) == "ConnectionError"
    for other in ("ERROR: requirement is not pinned", "", "KeyError: 'vulns'"):
        assert isinstance(audit._why(other), audit.Failed)


def test_every_advisory_that_is_ignored_has_its_reason(audit: ModuleType) -> None:
    assert all(audit.IGNORED.values())
