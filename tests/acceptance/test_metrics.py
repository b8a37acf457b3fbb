"""What operators watch: read as a Prometheus does, and only by whom it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.conftest import Caller, Server, run_fanfold, serving

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
RUN = "/oml/api/py-scripts/v1/do-eval/{scriptName}"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own: what others do would be counted."""
    users = {"ops": "admin", "dev": "developer"}
    with serving(tmp_path_factory.mktemp("watched"), users=users) as server:
        yield server


@pytest.fixture(scope="module")
def scraper(watched: Server) -> Iterator[Caller]:
    with Caller(watched.url, "scraper", _token(watched, "ops")) as caller:
        yield caller


def _token(server: Server, user: str) -> str:
    made = run_fanfold(
        *("access-token", "create", "scraper", "--user", user, "--scope", "metrics"),
        *("--data", str(server.data)),
    )
    return made.stdout.strip()


def scrape(caller: Caller) -> Samples:
    answer = caller.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def test_requests_are_counted_by_routes_and_not_by_what_was_sent(
    watched: Server, scraper: Caller
) -> None:
    """Else whoever sends paths at random fills the memory of the server and of the Prometheus."""
    before = scrape(scraper)
    with watched.caller("dev") as dev:
        dev.store("counted", "def counted():\n    return 1\n")
        for _ in range(3):
            assert dev.do_eval("counted").status_code == 200
        for n in range(5):
            assert dev.get(f"/nowhere/{n}").status_code == 404
            dev.request("BREW", f"/nowhere/{n}")
    after = scrape(scraper)

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert more("fanfold_requests_total", route=RUN, method="POST", status="200") == 3
    assert more("fanfold_requests_total", route="other", method="GET", status="404") == 5
    assert more("fanfold_request_duration_seconds_count", route=RUN) == 3
    assert more("fanfold_request_duration_seconds_bucket", route=RUN, le="+Inf") == 3
    assert more("fanfold_runs_total") == 3
    routes = {dict(labels).get("route", "") for _, labels in after}
    assert not any("nowhere" in route or "counted" in route for route in routes)
    methods = {dict(labels).get("method") for _, labels in after}
    assert "BREW" not in methods


def test_a_worker_that_dies_is_counted_and_so_are_the_calls_it_held(
    watched: Server, scraper: Caller
) -> None:
    before = scrape(scraper)
    with watched.caller("dev") as dev:
        dev.store("die", "import os\ndef die():\n    os.kill(os.getpid(), 9)\n")
        assert dev.do_eval("die").status_code == 400
    after = scrape(scraper)
    died = ("fanfold_workers_died_total", frozenset({("reason", "crash")}))
    assert after[died] - before[died] == 2
    retried = value(after, "fanfold_calls_retried_total")
    assert retried - value(before, "fanfold_calls_retried_total") == 1


def test_no_user_and_no_script_is_named(watched: Server, scraper: Caller) -> None:
    with watched.caller("dev") as dev:
        dev.store("unspoken", "def unspoken():\n    return 1\n")
        dev.do_eval("unspoken")
    text = scraper.get("/metrics").text.lower()
    assert "unspoken" not in text
    assert '"dev"' not in text


def test_every_family_is_described(scraper: Caller) -> None:
    described = REFERENCE.read_text(encoding="utf-8")
    for family in text_string_to_metric_families(scraper.get("/metrics").text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"| `{name}`" in described, name
        assert family.documentation.rstrip(".") in described, name


def test_only_administrators_may_read_and_their_token_does_little_else(
    watched: Server, scraper: Caller
) -> None:
    with watched.client() as nobody:
        assert nobody.get("/metrics").status_code == 401
    with watched.caller("dev") as dev, watched.caller("ops") as admin:
        assert dev.get("/metrics").status_code == 403
        assert admin.get("/metrics").status_code == 200
    with Caller(watched.url, "dev", _token(watched, "dev")) as robot:
        assert robot.get("/metrics").status_code == 403
    assert scraper.get("/api/v1/audit").status_code == 403
    assert scraper.get("/api/v1/jobs").status_code == 403
    assert scraper.put("/api/v1/scripts/f", json={"source": "def f(): pass"}).status_code == 403


def test_a_token_for_something_else_is_refused_by_name(watched: Server) -> None:
    made = run_fanfold(
        *("access-token", "create", "other", "--user", "ops", "--scope", "admin"),
        *("--data", str(watched.data)),
    )
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    answer = httpx2.get(f"{watched.url}/metrics", headers=headers)
    assert answer.status_code == 403
    assert "metrics" in answer.json()["errorMessage"]
