"""A job's end is told to whoever asked for it, whatever is killed or away meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook, WebhookVerificationError

from tests.acceptance.chaos import Cluster
from tests.acceptance.conftest import Caller, StartServer
from tests.acceptance.job_calls import JOBS, RUNS, ended, id_of, submit
from tests.acceptance.processes import until
from tests.contract.postgres import started_or_skipped
from tests.fakes.ports import reserved_port
from tests.fakes.receiver import Receiver, receiving

TOLD_LIMIT_S = 150
SECRET = "/api/v1/callback-secret"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def _delivery(caller: Caller, job: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = caller.get(f"{JOBS}/{job}/deliveries").json()["deliveries"]
    (delivery,) = found
    return delivery


def _told(caller: Caller, job: str) -> dict[str, Any]:
    """Wait until a job's end is told; gives its delivery."""
    until(lambda: _delivery(caller, job)["state"] == "delivered", TOLD_LIMIT_S, "it is told")
    return _delivery(caller, job)


def test_the_end_of_a_job_is_told(start_server: StartServer, receiver: Receiver) -> None:
    users = {"alice": "developer", "bob": "developer"}
    server = start_server("--callback-hosts", receiver.host, "--callback-retry-s", "1", users=users)
    receiver.answers = (500, 204, 204)
    with server.caller("alice") as alice, server.caller("bob") as bob:
        alice.store("told", "def told(i, x):\n    return 'result of ' + x\n")
        location = submit(
            alice, "index-apply", "told", "v2",
            times=3, parameters={"x": "argument"}, callbackUrl=receiver.url,
        )  # fmt: skip
        job = ended(alice, location)
        assert job["callbackUrl"] == receiver.url
        delivery = _told(alice, job["id"])
        assert (delivery["attempts"], delivery["lastStatus"], delivery["lastError"]) == (
            2, 204, None,
        )  # fmt: skip
        secret = alice.get(SECRET).json()
        first, second = receiver.received
        assert first.body == second.body
        message = Webhook(secret["secret"]).verify(second.body, second.headers)
        data = message["data"]
        assert (data["id"], data["state"], data["returned"]) == (job["id"], "succeeded", 3)
        assert alice.get(data["links"]["job"]).json()["id"] == job["id"]
        for word in (b"argument", b"result of"):
            assert word not in second.body

        assert bob.get(f"{JOBS}/{job['id']}/deliveries").status_code == 404
        with pytest.raises(WebhookVerificationError):
            Webhook(bob.get(SECRET).json()["secret"]).verify(second.body, second.headers)

        rotated = alice.post(f"{SECRET}/rotate").json()
        assert rotated["before"] == secret["secret"] != rotated["secret"]
        alice.store("failing", "def failing():\n    raise ValueError\n")
        again = ended(alice, submit(alice, "do-eval", "failing", callbackUrl=receiver.url))
        assert again["state"] == "failed"
        _told(alice, again["id"])
        for key in (rotated["secret"], rotated["before"]):
            last = receiver.received[-1]
            assert Webhook(key).verify(last.body, last.headers)["data"]["state"] == "failed"
    assert "result of" not in server.log.read_text()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://hooks.example.org/", "callback_hosts"),
        ("http://169.254.169.254/latest/meta-data", "callback_hosts"),
        ("not an address", "callback_hosts"),
    ],
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_server_without_a_list_calls_nobody(
    alice: Caller, version: str, url: str, words: str
) -> None:
    alice.store("untold", "def untold():\n    return 1\n")
    body = {"asyncFlag": True, "callbackUrl": url}
    answer = alice.post(f"{RUNS}/{version}/do-eval/untold", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 2002)
    assert words in answer.json()["errorMessage"]
    assert "callbackUrl" in answer.json()["errorMessage"]
    # A run that is waited for is told by its answer.
    answer = alice.do_eval("untold", {"callbackUrl": url})
    assert answer.json() == {"result": 1}


def test_a_job_that_tells_nobody_has_no_deliveries(alice: Caller) -> None:
    alice.store("untold", "def untold():\n    return 1\n")
    job = ended(alice, submit(alice, "do-eval", "untold"))
    assert job["callbackUrl"] is None
    assert alice.get(f"{JOBS}/{job['id']}/deliveries").json() == {"deliveries": []}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The address of a PostgreSQL, or None for the embedded database."""
    if request.param == "sqlite":
        yield None
        return
    with started_or_skipped() as server:
        yield server.make_database().render_as_string(hide_password=False)


def test_a_server_that_is_killed_before_it_tells_does_so_when_it_is_back(
    tmp_path: Path, database: str | None, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent ends the job while no server is there: the news waits in the database."""
    monkeypatch.setenv("FANFOLD_CALLBACK_HOSTS", receiver.host)
    monkeypatch.setenv("FANFOLD_CALLBACK_RETRY_S", "1")
    options = () if database is None else ("--database", database)
    with Cluster(tmp_path, *options, agents=0) as cluster:
        address = database or f"sqlite:///{cluster.data / 'fanfold.db'}"
        engine = sa.create_engine(address, poolclass=sa.pool.NullPool)
        cluster.request("PUT", "/api/v1/scripts/x", json={"source": "def x():\n    return 'x'\n"})
        job = cluster.submit("x", {"callbackUrl": receiver.url})
        cluster.server.kill()
        cluster.agents.append(cluster._start_agent())

        def is_written() -> bool:
            with engine.connect() as connection:
                states = connection.execute(sa.text("SELECT state FROM delivery")).scalars().all()
            assert states in ([], ["waiting"])
            return bool(states)

        until(is_written, TOLD_LIMIT_S, "the end of the job is in the database")
        assert receiver.received == []
        cluster.server = cluster._start_server()

        def is_told() -> bool:
            path = f"{JOBS}/{job}/deliveries"
            (delivery,) = cluster.request("GET", path).json()["deliveries"]
            return bool(delivery["state"] == "delivered")

        until(is_told, TOLD_LIMIT_S, "it is told")
        # Killed again, it tells nothing twice.
        cluster.kill_server()
        assert is_told()
    (received,) = receiver.received
    assert received.headers["webhook-id"] == f"msg_{job}"


@pytest.fixture
def port() -> Iterator[int]:
    """Of one who is away."""
    with reserved_port() as port:
        yield port


def test_who_is_away_is_told_by_the_next_server(start_server: StartServer, port: int) -> None:
    """A server that could not deliver is killed; the one after it goes on."""
    url = Receiver(port=port).url
    options = ("--callback-hosts", f"127.0.0.1:{port}", "--callback-retry-s", "1")
    server = start_server(*options, users={"alice": "developer"})
    with server.caller("alice") as alice:
        alice.store("told", "def told():\n    return 1\n")
        job = id_of(submit(alice, "do-eval", "told", callbackUrl=url))
        until(
            lambda: [
                d for d in alice.get(f"{JOBS}/{job}/deliveries").json()["deliveries"]
                if d["lastError"]
            ],
            TOLD_LIMIT_S,
            "it was tried in vain",
        )  # fmt: skip
        delivery = _delivery(alice, job)
        assert (delivery["state"], delivery["lastStatus"]) == ("waiting", None)
        assert delivery["lastError"] == "it could not be connected to"
    server.process.kill()
    server.process.wait(120)
    with receiving(port=port) as receiver:
        again = start_server("--data", str(server.data), *options)
        with again.caller("alice") as alice:
            _told(alice, job)
    assert len(receiver.received) == 1
