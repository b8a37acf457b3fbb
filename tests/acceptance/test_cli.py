"""The caller's verbs of `fanfold`, as a shell runs them: results, talk, and exit statuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from fanfold.cli import _OWN, main
from tests.acceptance.conftest import ENGINE, FANFOLD, PASSWORD, Caller, Server

Done = subprocess.CompletedProcess[str]
Shell = Callable[..., Done]

HALF = "def cli_half(index, by=2):\n    print('at', index)\n    return index / by\n"


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    """Run `fanfold` in a folder of its own, logged in as alice by `fanfold login`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FANFOLD_")}
    variables = {**own, "FANFOLD_PROFILES": str(tmp_path / "profiles.json"), "COLUMNS": "200"}

    def run(*arguments: str, stdin: str = "", status: int = 0, **more: str) -> Done:
        done = subprocess.run(
            [FANFOLD, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            cwd=tmp_path,
            env={**variables, **more},
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback (most recent" not in done.stderr or status == 1
        return done

    login = run("login", server.url, "--username", "alice", "--password-stdin", stdin=PASSWORD)
    assert login.stdout == ""
    return run


# ------------------------------------------------------------------------------------------ to run


def test_a_function_is_written_tried_here_stored_and_run_there(
    shell: Shell, tmp_path: Path
) -> None:
    """The first minutes of somebody who has a shell: the same numbers here and there."""
    shell("new", "cli_simulate.py")
    python = str(ENGINE / "bin" / "python")
    arguments = ("--times", "5", "--seed", "7", "--param", "points=50")
    here = shell("run", "--local", "cli_simulate.py", *arguments, "--python", python)
    of_file = shell("run", "cli_simulate.py", *arguments)
    pushed = shell("script", "push", "cli_simulate.py")
    assert "ALICE.cli_simulate: version 1" in pushed.stderr
    stored = shell("run", "cli_simulate", *arguments, "--parallel", "2")
    assert here.stdout == of_file.stdout == stored.stdout
    lines = [json.loads(line) for line in stored.stdout.splitlines()]
    assert [line["index"] for line in lines] == [1, 2, 3, 4, 5]
    assert "is there already" in shell("new", "cli_simulate.py", status=1).stderr
    assert (tmp_path / "cli_simulate.py").read_text().startswith("def cli_simulate(")


def test_here_a_failure_a_print_and_a_death_are_told_as_there(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "import os\n\n\ndef odd(i):\n    print('at', i)\n    if i == 3:\n        os._exit(4)\n"
        "    return 1 / (i - 2)\n"
    )
    done = shell(
        "run",
        "--local",
        "odd.py",
        "--times",
        "5",
        "--parallel",
        "2",
        "--continue",
        "--json",
        status=1,
    )
    answer = json.loads(done.stdout)
    assert answer["result"] == [-1, None, None, 0.5, pytest.approx(1 / 3)]
    assert [(error["index"], error["type"]) for error in answer["errors"]] == [
        (2, "ZeroDivisionError"),
        (3, "WorkerLost"),
    ]
    assert "[1] at 1" in done.stderr
    failed = shell("run", "--local", "odd.py", "--times", "2", status=1)
    assert "return 1 / (i - 2)" in failed.stderr
    (tmp_path / "none.py").write_text("x = 1\n")
    assert "no function" in shell("run", "--local", "none.py", status=1).stderr


def test_once_on_rows_by_chunks_and_by_groups(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "cli_grades.csv").write_text("name,year,score\nA,97,90\nB,98,92\nC,98,81\n")
    (tmp_path / "top.py").write_text("def top(dat):\n    return int(dat['score'].max())\n")
    (tmp_path / "once.py").write_text("def once(word='no'):\n    return {'word': word}\n")
    assert "ALICE.cli_grades: 3 rows" in shell("table", "load", "cli_grades.csv").stderr
    assert shell("run", "once.py").stdout == '{"word": "no"}\n'
    assert shell("run", "once.py", "--param", "word=yes").stdout == '{"word": "yes"}\n'
    data = ("--data", "select * from cli_grades")
    assert shell("run", "top.py", *data).stdout == "92\n"
    assert shell("run", "top.py", *data, "--rows", "2").stdout == "92\n81\n"
    grouped = shell("run", "top.py", *data, "--group-by", "year").stdout
    assert [json.loads(line) for line in grouped.splitlines()] == [{"97": 90}, {"98": 92}]
    assert json.loads(shell("run", "top.py", *data, "--json").stdout) == {"result": 92}


def test_results_go_to_files_of_the_form_that_their_ending_says(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "cli_half.py").write_text(HALF)
    for name in ("r.csv", "r.json", "r.ndjson", "r.parquet", "r.arrow"):
        done = shell("run", "cli_half.py", "--times", "3", "--follow", "--out", name)
        assert done.stdout == ""
        assert f"wrote {name}" in done.stderr
    with (tmp_path / "r.csv").open() as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["0.5", "1", "1.5"]
    assert json.loads((tmp_path / "r.json").read_text()) == {"result": [0.5, 1, 1.5]}
    assert (tmp_path / "r.parquet").read_bytes().startswith(b"PAR1")
    wrong = shell("run", "cli_half.py", "--times", "3", "--out", "r.xls", status=2)
    assert ".parquet" in wrong.stderr


def test_figures_go_to_a_folder(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "draw.py").write_text(
        "def draw(i=1):\n    import matplotlib.pyplot as plt\n    plt.plot([0, i])\n    return i\n"
    )
    python = str(ENGINE / "bin" / "python")
    for where in ([], ["--follow"], ["--local", "--python", python]):
        folder = f"figures{len(where)}"
        done = shell("run", "draw.py", "--times", "2", "--images", folder, *where)
        assert done.stdout == "1\n2\n"
        names = sorted(path.name for path in (tmp_path / folder).iterdir())
        assert names == ["1-1.png", "2-1.png"]


# -------------------------------------------------------------------------------------------- jobs


def test_a_job_is_submitted_watched_read_and_gone_on_with(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "cli_half.py").write_text(HALF)
    job = shell("run", "cli_half.py", "--times", "4", "--async", "--comments", "cli").stdout.strip()
    assert "succeeded, 4 of 4 calls" in shell("job", "watch", job).stderr
    assert shell("job", "result", job).stdout == "0.5\n1\n1.5\n2\n"
    assert shell("job", "logs", job, "--index", "2").stdout == "[2] at 2\n"
    info = json.loads(shell("job", "show", job, "--json").stdout)
    assert (info["id"], info["state"], info["comments"]) == (job, "succeeded", "cli")
    assert job in shell("job", "list").stdout
    longer = shell("job", "extend", job, "6").stdout.strip()
    assert len(shell("job", "result", longer).stdout.splitlines()) == 6
    shell("job", "delete", job)
    assert "fanfold job list" in shell("job", "show", job, status=3).stderr


def test_logs_are_followed_while_the_job_runs(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text(
        "def told(i):\n    import time\n    time.sleep(0.1)\n    print('at', i)\n"
        "    assert i != 7\n    return i\n"
    )
    submitted = ("run", "told.py", "--times", "20", "--parallel", "--async", "--continue")
    job = shell(*submitted).stdout.strip()
    lines = shell("job", "logs", job, "--follow").stdout.splitlines()
    assert sorted(lines) == sorted(f"[{index}] at {index}" for index in range(1, 21))


def test_what_calls_print_is_told_beside_their_values(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "cli_half.py").write_text(HALF)
    done = shell("run", "cli_half.py", "--times", "3", "--logs")
    assert done.stdout == "0.5\n1\n1.5\n"
    assert sorted(line for line in done.stderr.splitlines() if line.startswith("[")) == [
        "[1] at 1",
        "[2] at 2",
        "[3] at 3",
    ]


def test_errors_of_a_job_are_grouped_and_resumed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def bad(i):\n    assert i != 3, f'not {i}'\n    return i\n")
    done = shell("run", "bad.py", "--times", "4", "--follow", "--continue", status=1)
    assert done.stdout == "1\n2\nnull\n4\n"
    job = done.stderr.split()[1]
    assert shell("job", "errors", job).stdout.split("\t")[:2] == ["1", "AssertionError"]
    resumed = shell("job", "resume", job).stdout.strip()
    shell("job", "watch", resumed, status=1)
    assert "has ended already" in shell("job", "cancel", resumed, status=3).stderr


# ----------------------------------------------------------------------------------------- scripts


def test_scripts_are_pushed_listed_shown_compared_granted_and_dropped(
    shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "cli_first.py"
    file.write_text("def cli_first(i):\n    return 1\n")
    shell("script", "push", "cli_first.py")
    file.write_text("def cli_first(i):\n    return 2\n")
    compared = shell("script", "diff", "cli_first", "cli_first.py", status=1).stdout
    assert "-    return 1" in compared
    assert "+    return 2" in compared
    pushed = json.loads(shell("script", "push", "cli_first.py", "--json").stdout)
    assert pushed["version"] == 2
    assert shell("script", "diff", "cli_first", status=1).stdout.count("return") == 2
    assert shell("script", "diff", "cli_first", "cli_first.py").stdout == ""
    assert shell("script", "show", "cli_first", "--version", "1").stdout.count("return 1") == 1
    shell("script", "rollback", "cli_first", "1")
    assert shell("run", "cli_first", "--times", "1").stdout == "1\n"
    assert "cli_first\tALICE\t1\t" in shell("script", "list").stdout
    shell("script", "grant", "cli_first", "bob")
    shell("script", "grant", "cli_first", "bob", "--revoke")
    assert (
        "no-overwrite" in shell("script", "push", "cli_first.py", "--no-overwrite", status=3).stderr
    )
    shell("script", "drop", "cli_first")
    unknown = shell("script", "show", "cli_first", status=3)
    assert "fanfold script list" in unknown.stderr


def test_what_a_script_may_reach_is_shown_and_decided(
    shell: Shell, server: Server, admin: Caller, tmp_path: Path
) -> None:
    (tmp_path / "cli_net.py").write_text("def cli_net(i):\n    return 1\n")
    shell("script", "push", "cli_net.py")
    asked = ("script", "network", "cli_net")
    assert shell(*asked).stdout == "in force\tnone\t\n"
    granting = ("--owner", "alice", "--grant", "allow-list", "--host", "*.example.org:443")
    shell(*asked, *granting, "--token", admin.token, "--url", server.url)
    listed = "allow-list\t*.example.org:443"
    assert shell(*asked).stdout == f"in force\t{listed}\ngranted\t{listed}\n"
    assert shell(*asked, "--limit", "none").stdout.splitlines()[0] == "in force\tnone\t"
    assert json.loads(shell(*asked, "--json").stdout)["limit"]["policy"] == "none"
    assert "--owner" in shell(*asked, "--grant", "none", status=2).stderr
    shell(*asked, *granting, status=4)  # by its owner
    shell("script", "drop", "cli_net")


def test_texts_that_were_sent_with_a_run_do_not_crowd_the_list(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "once.py").write_text("def once():\n    return 5\n")
    shell("run", "once.py")
    assert "adhoc_" not in shell("script", "list").stdout
    assert "adhoc_once_" in shell("script", "list", "--adhoc").stdout


# ------------------------------------------------------------------------ statuses, errors, logins


def test_the_status_says_whose_fault_it_is(shell: Shell, server: Server, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("def fails(i):\n    return 1 / 0\n")
    assert "ZeroDivisionError" in shell("run", "fails.py", "--times", "2", status=1).stderr
    assert "--times" in shell("run", "fails.py", "--times", "none", status=2).stderr
    assert "--data" in shell("run", "fails.py", "--rows", "3", status=2).stderr
    assert "NAME=VALUE" in shell("run", "fails.py", "--param", "x", status=2).stderr
    assert "fanfold script list" in shell("run", "cli_nothing", status=3).stderr
    denied = shell("script", "list", "--token", "wrong", "--url", server.url, status=4)
    assert "fanfold login" in denied.stderr
    lost = shell("script", "list", "--token", "x", "--url", "http://127.0.0.1:9", status=5)
    assert "Is the server running" in lost.stderr


def test_an_error_can_be_had_as_json(shell: Shell) -> None:
    done = shell("script", "show", "cli_nothing", "--json", status=3)
    assert done.stdout == ""
    assert json.loads(done.stderr)["errorCode"] == 2010


def test_every_command_for_callers_answers_in_json() -> None:
    """But for the one whose answer is read by a shell."""
    lacking = []
    waiting: list[tuple[str, click.Command]] = [
        (name, found)
        for name in _OWN
        if (found := main.get_command(click.Context(main), name)) is not None
    ]
    while waiting:
        name, command = waiting.pop()
        if isinstance(command, click.Group):
            waiting += [(f"{name} {part}", inner) for part, inner in command.commands.items()]
        elif "--json" not in {option for each in command.params for option in each.opts}:
            lacking.append(name)
    assert lacking == ["completion"]


def test_what_is_told_to_a_person_is_told_to_a_program(
    shell: Shell, server: Server, tmp_path: Path
) -> None:
    def told(*arguments: str, stdin: str = "", status: int = 0) -> Any:
        done = shell(*arguments, "--json", stdin=stdin, status=status)
        assert done.stderr == ""
        return json.loads(done.stdout)

    assert told("new", "cli_told.py") == {"file": "cli_told.py"}
    (tmp_path / "cli_told.py").write_text("def cli_told(i):\n    return 1\n")
    assert told("script", "push", "cli_told.py")["version"] == 1
    (tmp_path / "cli_told.py").write_text("def cli_told(i):\n    return 2\n")
    compared = told("script", "diff", "cli_told", "cli_told.py", status=1)
    assert compared["differs"] is True
    assert "+    return 2" in compared["diff"]
    told("script", "push", "cli_told.py")
    assert told("script", "rollback", "cli_told", "1")["version"] == 1
    granted = {"name": "cli_told", "grantee": "BOB", "granted": True}
    assert told("script", "grant", "cli_told", "bob") == granted
    (tmp_path / "cli_rows.csv").write_text("a\n1\n2\n")
    assert told("table", "load", "cli_rows.csv")["rows"] == 2
    assert told("table", "preview", "cli_rows") == [{"a": 1}, {"a": 2}]
    granted = {"name": "cli_rows", "grantee": "PUBLIC", "granted": False}
    told("table", "grant", "cli_rows", "public")
    assert told("table", "grant", "cli_rows", "public", "--revoke") == granted
    assert told("table", "drop", "cli_rows") == {"dropped": "cli_rows"}
    job = shell("run", "cli_told", "--times", "2", "--async").stdout.strip()
    shell("job", "watch", job)
    longer = told("job", "extend", job, "3")["id"]
    shell("job", "watch", longer)
    assert told("job", "resume", longer)["id"] not in {job, longer}
    assert told("job", "delete", job) == {"deleted": job}
    slow = "def cli_slow(i):\n    import time\n    time.sleep(600)\n"
    (tmp_path / "cli_slow.py").write_text(slow)
    waits = shell("run", "cli_slow.py", "--times", "2", "--async").stdout.strip()
    assert told("job", "cancel", waits)["state"] == "cancelled"
    assert told("script", "drop", "cli_told") == {"dropped": "cli_told"}
    assert set(told("token")) == {"token"}
    assert told("logout") == {"url": server.url, "profile": "default"}
    login = ("login", server.url, "--username", "alice", "--password-stdin")
    assert told(*login, stdin=PASSWORD)["username"] == "ALICE"


def test_a_login_is_kept_used_and_ended(shell: Shell, server: Server, tmp_path: Path) -> None:
    token = shell("token").stdout.strip()
    with server.client() as plain:
        headers = {"Authorization": f"Bearer {token}"}
        assert plain.get("/api/v1/scripts", headers=headers).status_code == 200
        shell("logout")
        assert plain.get("/api/v1/scripts", headers=headers).status_code == 401
    assert "fanfold login" in shell("script", "list", status=4).stderr
    assert (
        "wrong"
        in shell(
            "login", server.url, "--username", "alice", "--password-stdin", stdin="no", status=4
        ).stderr
    )
    assert token not in (tmp_path / "profiles.json").read_text()


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_shell_completes_the_verbs(shell: Shell, name: str) -> None:
    assert "_FANFOLD_COMPLETE" in shell("completion", name).stdout
    words = {"COMP_WORDS": "fanfold sc", "COMP_CWORD": "1"}
    found = shell(_FANFOLD_COMPLETE="bash_complete", **words).stdout
    assert found == "plain,script\n"
