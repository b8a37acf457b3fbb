from __future__ import annotations

import pytest

from fanfold_server.service.auditing import described


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("PUT", "/api/v1/scripts/mean", ("script.publish", "mean")),
        ("DELETE", "/api/v1/scripts/mean", ("script.delete", "mean")),
        ("POST", "/api/v1/scripts/mean/rollback", ("script.rollback", "mean")),
        ("PUT", "/api/v1/scripts/mean/grants/BOB", ("script.grant", "mean BOB")),
        ("DELETE", "/api/v1/tables/IRIS/grants/*", ("table.revoke", "IRIS *")),
        ("POST", "/api/v1/tokens", ("token.create", "")),
        ("DELETE", "/api/v1/tokens/nightly", ("token.delete", "nightly")),
        ("POST", "/api/v1/jobs/1-2/resume", ("job.resume", "1-2")),
        ("DELETE", "/oml/api/py-scripts/v2/jobs/1-2", ("job.delete", "1-2")),
        ("DELETE", "/oml/api/py-scripts/v2/jobs", ("job.delete", "")),
        ("POST", "/oml/api/py-scripts/v1/do-eval/mean", ("run.do-eval", "mean")),
        ("POST", "/oml/api/py-scripts/v2/row-apply/mean/BOB", ("run.row-apply", "mean BOB")),
        ("POST", "/omlusers/api/oauth2/v1/token", ("login", "")),
        ("POST", "/omlusers/api/oauth2/v1/revoke", ("logout", "")),
        ("GET", "/api/v1/audit", ("audit.read", "")),
        ("PATCH", "/else/where", ("patch", "/else/where")),
    ],
)
def test_a_request_has_an_action_and_a_target(
    method: str, path: str, expected: tuple[str, str]
) -> None:
    assert described(method, path) == expected
