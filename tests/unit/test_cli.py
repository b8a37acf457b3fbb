from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import fanfold.cli
from fanfold import __version__
from fanfold.cli.talking import write_rows
from fanfold_server.cli import setting_options
from fanfold_server.settings import ENV_PREFIX, Settings

PASSWORD = "correct horse"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory that is not there yet, named by the environment."""
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    folder = tmp_path / "data"
    monkeypatch.setenv("FANFOLD_DATA", str(folder))
    return folder


def fanfold_(*arguments: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(fanfold.cli.main, arguments, input=stdin)


def did(*arguments: str, stdin: str | bytes = "") -> str:
    result = fanfold_(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str, stdin: str | bytes = "") -> str:
    result = fanfold_(*arguments, stdin=stdin)
    assert result.exit_code in {1, 2}, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def add(name: str, *options: str) -> str:
    return did("user", "add", name, *options, "--password-stdin", stdin=PASSWORD + "\n")


# ----------------------------------------------------------------------------------------- fanfold


def test_the_version_is_that_of_the_package() -> None:
    assert did("--version") == f"fanfold {__version__}\n"


def test_help_lists_the_operators_commands() -> None:
    words = did("--help").split()
    assert {"serve", "user", "env", "migrate"} <= set(words)


def test_help_does_not_import_what_serving_needs() -> None:
    """The command of a caller, who never serves, must not wait for a web framework."""
    heavy = {"fastapi", "sqlalchemy", "uvicorn", "pydantic", "alembic"}
    script = (
        "import sys\nfrom fanfold.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"print('heavy:', sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=180, check=True
    )
    assert "heavy: []" in done.stderr


def test_commands_for_accounts_do_not_load_the_web_framework_and_the_engine(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom fanfold.cli import main\n"
        f"main(['migrate', '--data', {str(tmp_path)!r}], standalone_mode=False)\n"
        f"main(['user', 'list', '--data', {str(tmp_path)!r}], standalone_mode=False)\n"
        "heavy = 'fastapi', 'uvicorn', 'fanfold_server.engine.', 'fanfold_server.http'\n"
        "found = {name for name in sys.modules if name.startswith(heavy)}\n"
        "found.discard('fanfold_server.engine.port')\n"  # words alone
        "print('heavy:', sorted(found), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=180, check=True
    )
    assert "heavy: []" in done.stderr


class Terminal(io.StringIO):
    """A standard output with somebody before it."""

    def isatty(self) -> bool:
        return True


def test_what_names_an_entry_stays_in_one_piece_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it cannot be copied into the next command."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    name = "0b9c7b0e-5a8e-4f0f-9d5b-7b9b4f6a3c11"
    row = (name, "partly_failed", "adhoc_wave_4e4e9cdf1f09", "9/9", "2026-11-24T01:25:56.281Z", "x")
    write_rows(("id", "state", "script", "done", "created", "comments"), [row])
    assert name in terminal.getvalue()
    assert ".281" not in terminal.getvalue()


@pytest.fixture
def without_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed without the extra: the entry point is there, what it imports is not."""
    entry = EntryPoint(name="server", value="no_such_framework.cli:commands", group="x")
    monkeypatch.setattr(fanfold.cli, "entry_points", lambda **_: [entry])


@pytest.mark.usefixtures("without_server")
def test_without_the_server_its_commands_say_how_to_get_it() -> None:
    assert "fanfold[server]" in did("--help")
    assert "fanfold[server]" in refused("serve")
    assert "No such command" in refused("nonsense")


# ------------------------------------------------------------------------------------------- users


def test_accounts_are_added_listed_and_changed(data: Path) -> None:
    add("alice")
    add("root", "--role", "admin")
    lines = [line.split("\t") for line in did("user", "list").splitlines()]
    assert [line[:3] for line in lines] == [
        ["ALICE", "developer", "enabled"],
        ["ROOT", "admin", "enabled"],
    ]
    told = [json.loads(line) for line in did("user", "list", "--json").splitlines()]
    assert [(each["name"], each["role"], each["state"]) for each in told] == [
        ("ALICE", "developer", "enabled"),
        ("ROOT", "admin", "enabled"),
    ]
    did("user", "disable", "Alice")
    assert "ALICE\tdeveloper\tdisabled" in did("user", "list")
    did("user", "enable", "alice")
    did("user", "set-password", "alice", "--password-stdin", stdin="battery staple")
    assert "ALICE\tdeveloper\tenabled" in did("user", "list")
    assert (data / "fanfold.db").stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o777 == 0o700


def test_data_on_the_command_line_comes_before_the_environment(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    add("alice", "--data", str(other))
    assert "ALICE" in did("user", "list", "--data", str(other))
    assert not data.exists()


@pytest.mark.usefixtures("data")
def test_a_password_is_asked_for_twice_when_it_is_not_piped() -> None:
    assert "ALICE" not in did("user", "add", "alice", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert "do not match" in refused("user", "add", "bob", stdin=f"{PASSWORD}\nother\n")
    assert "BOB" not in did("user", "list")


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (("add", "alice"), PASSWORD, 'There is a user "ALICE" already'),
        (("add", "a b"), PASSWORD, "cannot be a user name"),
        (("add", "pyqsys"), PASSWORD, "reserved"),
        (("add", "bob"), "short\n", "from 8 to 1024"),
        (("add", "bob"), "", "from 8 to 1024"),
        (("add", "bob"), b"\xff" * 8, "not UTF-8"),
        (("add", "bob", "--role", "king"), PASSWORD, "king"),
        (("set-password", "bob"), PASSWORD, 'no user "BOB"'),
        (("set-password", "b\udcff"), PASSWORD, "no user"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    arguments: tuple[str, ...], stdin: str | bytes, message: str
) -> None:
    add("alice")
    assert message in refused("user", *arguments, "--password-stdin", stdin=stdin)


def test_a_directory_into_which_others_write_is_no_place_for_accounts(data: Path) -> None:
    data.mkdir()
    (data / "something").touch()
    data.chmod(0o777)
    assert "others may write" in refused("migrate")
    data.chmod(0o755)  # shared on purpose: it stays so, and the database is private by itself
    did("migrate")
    assert (data / "fanfold.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "command",
    [
        ("user", "list"),
        ("user", "disable", "bob"),
        ("audit",),
        ("access-token", "list", "--user", "bob"),
    ],
    ids=" ".join,
)
def test_a_misspelt_directory_is_told_and_not_made(data: Path, command: tuple[str, ...]) -> None:
    """Else it looks as if all accounts were gone."""
    message = refused(*command)
    assert f"there is no {data / 'fanfold.db'}" in message
    assert "--data" in message
    assert not data.exists()


def test_a_file_in_place_of_the_directory_is_told(data: Path) -> None:
    data.write_text("")
    assert f"{data} is a file; it has to be a directory" in refused("migrate")


def test_a_database_that_is_none_is_told(data: Path) -> None:
    did("migrate")
    did("migrate")
    (data / "fanfold.db").write_bytes(b"nonsense" * 1000)
    assert "cannot use the database" in refused("user", "list")


# ------------------------------------------------------------------------------------ environments


def an_environment(folder: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    return folder


def test_an_environment_is_registered_listed_and_replaced(data: Path, tmp_path: Path) -> None:
    one, two = an_environment(tmp_path / "one"), an_environment(tmp_path / "two")
    did("env", "register", "seaborn", str(one))
    did("env", "register", "seaborn", str(two))
    did("env", "register", "a.b-c_1", str(one))
    assert did("env", "list") == f"a.b-c_1\t{one}\nseaborn\t{two}\n"
    kept = {entry.name for entry in (data / "environments").iterdir()}
    assert kept == {"a.b-c_1", "seaborn"}


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "-a", "a b", "x" * 65, "a\n"])
def test_a_name_that_is_no_folder_name_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    prefix = an_environment(tmp_path / "one")
    assert "NAME" in refused("env", "register", "--", name, str(prefix))
    assert not data.exists()


@pytest.mark.usefixtures("data")
def test_a_prefix_without_an_interpreter_is_refused(tmp_path: Path) -> None:
    assert "bin/python" in refused("env", "register", "seaborn", str(tmp_path))


def test_an_environment_that_is_no_link_is_never_replaced(data: Path, tmp_path: Path) -> None:
    kept = an_environment(data / "environments" / "mine")
    other = an_environment(tmp_path / "other")
    assert "not a link" in refused("env", "register", "mine", str(other))
    assert (kept / "bin" / "python").exists()


# ------------------------------------------------------------------------------------------- serve


def test_every_setting_is_an_option_that_names_its_variable() -> None:
    options = {option.name: option for option in setting_options()}
    assert set(options) == set(Settings.model_fields)
    for name, option in options.items():
        assert f"--{name.replace('_', '-')}" in option.opts
        assert f"FANFOLD_{name.upper()}]" in (option.help or "")
    given: dict[str, object] = {}
    command = click.Command(
        "serve", params=[*options.values()], callback=lambda **values: given.update(values)
    )
    command.main([], standalone_mode=False)
    assert set(given.values()) == {None}  # what is not given is left to the other sources


@pytest.mark.parametrize(
    ("option", "given", "meant"),
    [
        ("environment_dirs", ("a", "b:c"), (Path("a"), Path("b"), Path("c"))),
        ("preload", ("numpy", "pandas,scipy"), ("numpy", "pandas", "scipy")),
        ("preload", ("",), ()),
    ],
)
def test_a_list_may_be_given_in_several_options(
    option: str, given: tuple[str, ...], meant: tuple[object, ...]
) -> None:
    """The last alone would count, and a folder of environments be gone without a word."""
    (made,) = (each for each in setting_options() if each.name == option)
    found: dict[str, str] = {}
    command = click.Command("serve", params=[made], callback=lambda **kept: found.update(kept))
    command.main([part for text in given for part in (made.opts[0], text)], standalone_mode=False)
    assert getattr(Settings.model_validate(found), option) == meant


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "192.0.2.1"), "--insecure-http"),
        (("--port", "x"), "port: "),
        (("--config", "/nowhere/x.toml"), "cannot read /nowhere/x.toml"),
        (("--tls-key", "k.pem"), "needed together"),
    ],
)
def test_a_server_that_must_not_start_says_why(options: tuple[str, ...], message: str) -> None:
    assert message in refused("serve", *options)


@pytest.mark.usefixtures("data")
def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        message = refused("serve", "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}" in message


def test_a_certificate_that_cannot_be_read_is_told(data: Path, tmp_path: Path) -> None:
    """Before any worker is started, and without a traceback."""
    pem = tmp_path / "x.pem"
    for content in (None, "not a certificate"):
        if content is not None:
            pem.write_text(content)
        options = ("--port", "0", "--tls-key", str(pem), "--tls-certificate", str(pem))
        assert "tls_certificate" in refused("serve", *options)
    assert not data.exists()
