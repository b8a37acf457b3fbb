"""A real server, asked everything that its OpenAPI document says can be asked, and what it forbids.

Schemathesis makes the requests: examples, the edges of every schema, random right and wrong ones,
and sequences in which one answer's names go into the next request. No answer may be a server's
error, and each has to be what the document says. What is random is
the same each time (`deterministic`). `make soak` takes its time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Caller, Server, StartServer
from tests.acceptance.job_calls import ended, id_of, submit

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
LIMIT_S = 240
"""Of one account's requests, which take about 40 s; a busy machine takes longer."""
SOAK_S = 3600

SCRIPTS = {
    "one": "def one(*args, **more):\n    return 1\n",
    "rows": "def rows(dat, *args):\n    return len(dat)\n",
    "draws": "def draws(i=0):\n    import random\n    return random.random()\n",
}


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server(
        *("--sync-timeout-s", "10", "--workers", "2", "--no-access-log"),
        users={"alice": "developer", "root": "admin"},
    )


def prepare(caller: Caller) -> str:
    """Make one thing of each kind; gives the id of a job."""
    for name, source in SCRIPTS.items():
        caller.store(name, source)
    sent = caller.put(
        "/api/v1/tables/IRIS",
        content=b"SEPAL,SPECIES\n1.5,setosa\n2.5,virginica\n",
        headers={"Content-Type": "text/csv"},
    )
    assert sent.is_success, sent.text
    assert caller.put("/api/v1/secrets/WORD", json={"value": "hush hush"}).is_success
    job = submit(caller, "index-apply", "draws", times=3)
    ended(caller, job)
    return id_of(job)


def examine(server: Server, name: str, *options: str, limit_s: float = LIMIT_S) -> None:
    """Try the document as an account; fails with what schemathesis has found."""
    with server.caller(name) as caller:
        job = prepare(caller)
        told = subprocess.run(
            [
                *(SCHEMATHESIS, "--config-file", CONFIG, "run", f"{server.url}/openapi.json"),
                *("--no-color", *options),
            ],
            env={
                **os.environ,
                "FANFOLD_TOKEN": caller.token,
                "FANFOLD_JOB": job,
                "SCHEMATHESIS_HOOKS": str(HOOKS),
            },
            cwd=server.data.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    assert told.returncode == 0, told.stdout[-12_000:] + told.stderr[-2000:]
    assert "unexpected" not in server.log.read_text()


OF_ADMINISTRATORS = (
    *("--include-path-regex", "^/api/v1/(audit|sources|scripts)"),
    *("--exclude-path", "/api/v1/sources/{name}/test"),  # which would call whatever was made up
)


@pytest.mark.timeout(LIMIT_S + 60)
def test_every_operation_answers_as_the_document_says(server: Server) -> None:
    examine(server, "alice", "--phases", "examples,fuzzing,stateful", "--max-examples", "2")


@pytest.mark.timeout(LIMIT_S + 60)
def test_what_is_for_administrators_answers_as_the_document_says(server: Server) -> None:
    phases = ("--phases", "examples,fuzzing,stateful")
    examine(server, "root", *OF_ADMINISTRATORS, *phases, "--max-examples", "4")


@pytest.mark.soak
def test_every_edge_of_every_schema_answers_as_the_document_says(server: Server) -> None:
    # The bodies of tables are made elsewhere: of those that it makes itself, few are any.
    options = ("--max-examples", "40", "--suppress-health-check", "filter_too_much")
    examine(server, "alice", *options, limit_s=SOAK_S)
    examine(server, "root", *OF_ADMINISTRATORS, *options, limit_s=SOAK_S)
