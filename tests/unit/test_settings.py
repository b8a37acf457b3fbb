from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold_server.model.apply import ServiceLevel
from fanfold_server.settings import ENV_PREFIX, Settings, SettingsError, load_settings
from fanfold_server.workshop import level_timeouts, make_tiers


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The developer's own settings must not decide a test."""
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def test_every_setting_says_what_it_is_for() -> None:
    """The options of `serve` and the reference page are made of these texts."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_a_bare_number_carries_its_unit() -> None:
    counts = {
        "port", "workers", "worker_files", "worker_processes", "max_queued_runs", "max_output_len",
        "pools", "cap_low", "cap_medium", "cap_high", "cap_tp", "cap_tpurgent", "login_concurrency",
        "max_user_jobs", "max_user_environments", "max_connections", "max_user_preloads",
        "max_user_running", "data_queries",
        "data_threads",
    }  # fmt: skip
    numbers = {name for name, field in Settings.model_fields.items() if field.annotation is int}
    assert {
        name for name in numbers if not name.endswith(("_mib", "_kib", "_s", "_days"))
    } == counts


def test_the_command_line_comes_before_the_environment_before_the_file_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings({"data": tmp_path}).port == 8000
    (tmp_path / "fanfold.toml").write_text("port = 1\nworkers = 3\npreload = ['a', 'b.c']")
    assert load_settings({"data": tmp_path}).port == 1
    monkeypatch.setenv("FANFOLD_PORT", "2")
    assert load_settings({"data": tmp_path}).port == 2
    settings = load_settings({"data": tmp_path, "port": "3"})
    assert settings.port == 3
    assert settings.workers == 3
    assert settings.preload == ("a", "b.c")


def test_a_level_has_a_table_of_its_own_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not say is as for all levels."""
    (tmp_path / "fanfold.toml").write_text(
        "worker_memory_mib = 2048\ncall_timeout_s = 60\n"
        "[levels.LOW]\nmemory_mib = 256\ncpu_s = 30\nrun_timeout_s = 20\n"
        "[levels.HIGH]\ncall_timeout_s = 600\n"
    )
    settings = load_settings({"data": tmp_path})
    tiers = make_tiers(settings)
    low, medium, high = (tiers.of(ServiceLevel[name]) for name in ("LOW", "MEDIUM", "HIGH"))
    assert (low.memory_mib, low.cpu_s, low.call_s) == (256, 30, 60)
    assert (medium.memory_mib, medium.cpu_s, medium.call_s) == (2048, None, 60)
    assert (high.memory_mib, high.call_s) == (2048, 600)
    assert level_timeouts(settings) == {ServiceLevel.LOW: 20}
    monkeypatch.setenv("FANFOLD_LEVELS", '{"TP": {"files": 99}}')
    assert make_tiers(load_settings({"data": tmp_path})).of(ServiceLevel.TP).files == 99


def test_the_file_is_that_of_the_data_directory_wherever_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fanfold.toml").write_text("port = 1")
    monkeypatch.setenv("FANFOLD_DATA", str(tmp_path))
    assert load_settings().port == 1
    monkeypatch.delenv("FANFOLD_DATA")
    assert load_settings().data == tmp_path / "home" / "fanfold"
    assert load_settings().port == 8000


def test_a_named_file_is_read_instead_and_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fanfold.toml").write_text("port = 1")
    other = tmp_path / "other.toml"
    with pytest.raises(SettingsError, match=r"cannot read .*other\.toml"):
        load_settings({"data": tmp_path, "config": other})
    other.write_text("port = 2")
    assert load_settings({"data": tmp_path, "config": other}).port == 2
    monkeypatch.setenv("FANFOLD_CONFIG", str(other))
    assert load_settings({"data": tmp_path}).port == 2
    other.write_text("port = = 2")
    with pytest.raises(SettingsError, match="not TOML"):
        load_settings({"data": tmp_path})
    with pytest.raises(SettingsError, match="cannot read"):
        load_settings({"config": tmp_path})


def test_a_named_file_may_be_a_pipe(tmp_path: Path) -> None:
    """A shell's `<(…)` can be read once only, and is no regular file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("port = 3",), daemon=True)
    writer.start()
    assert load_settings({"data": tmp_path, "config": pipe}).port == 3
    writer.join(100)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"port": "eighty"}, "port: .*not 'eighty'"),
        ({"port": 70000}, "port: .*65535"),
        ({"workers": 0}, "workers: "),
        ({"reuse": "never"}, "reuse: .*'auto', 'warm' or 'fork'"),
        ({"wrokers": 3}, "wrokers: there is no such setting"),
        ({"preload": "numpy, 1x"}, '"1x" is not the name of a module'),
        ({"public_url": "example.com"}, "public_url"),
        ({"public_url": "https://example.com/path"}, "public_url"),
        ({"tls_key": "key.pem"}, "tls_certificate and tls_key"),
        ({"session_lifetime_s": 60}, "session_lifetime_s"),
        ({"levels": {"LOW": {"memory": 1}}}, "levels.LOW.memory: there is no such setting"),
        ({"levels": {"LOW": {"memory_mib": 1}}}, "levels.LOW.memory_mib: .*64, not 1"),
        ({"levels": {"LOWEST": {}}}, "levels.LOWEST.*'TPURGENT', not 'LOWEST'"),
        ({"levels": "{"}, "levels: should be a JSON object"),
    ],
)
def test_a_wrong_value_is_told_by_name(given_: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(given_)


def test_all_wrong_values_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"port": "x", "workers": "y"})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "port",
        "workers",
    ]


@settings(deadline=None)  # what it takes depends on what else the machine does
@given(st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), max_size=4))
def test_a_list_can_be_given_as_text(parts: list[str]) -> None:
    paths = [Path("/") / part for part in parts]
    text = os.pathsep.join(map(str, paths))
    assert load_settings({"environment_dirs": text}).environment_dirs == tuple(paths)


def test_a_relative_directory_of_the_state_is_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    """The processes of a server have working directories of their own."""
    assert load_settings({"data": Path("here")}).data == tmp_path / "here"


def test_settings_never_change() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_this_machine_alone_needs_no_tls(host: str) -> None:
    load_settings({"host": host}).refuse_exposure()


@pytest.mark.parametrize(
    "host",
    ["192.0.2.1", "::", "10.1.2.3", "example.com", "127.0.0.1.example.com", "::ffff:1.2.3.4"],
)
def test_passwords_do_not_travel_in_the_clear_unless_told(host: str) -> None:
    settings = load_settings({"host": host})
    with pytest.raises(SettingsError, match="--insecure-http"):
        settings.refuse_exposure()
    load_settings({"host": host, "insecure_http": True}).refuse_exposure()
    tls = {"tls_certificate": "c.pem", "tls_key": "k.pem"}
    load_settings({"host": host, **tls}).refuse_exposure()
