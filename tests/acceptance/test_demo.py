"""`fanfold demo`, run as a newcomer runs it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

FANFOLD = Path(sys.executable).with_name("fanfold")
LIMIT_S = 240
PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = [
    pytest.mark.timeout(LIMIT_S + 60),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the demo needs curl"),
]


@dataclass(frozen=True)
class Shown:
    """A demo that is over: what it printed, and what it left behind."""

    status: int
    text: str
    output: Path


def left_behind(temporary: Path) -> list[str]:
    """List the processes that have a temporary directory in their command, and what is in it."""
    word = str(temporary)
    running = [
        " ".join(process.info["cmdline"] or ())
        for process in psutil.process_iter(["cmdline"])
        if any(word in part for part in process.info["cmdline"] or ())
    ]
    return [*running, *(str(path) for path in temporary.iterdir())]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The demo with default options, in an empty directory."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [FANFOLD, "demo"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return Shown(done.returncode, done.stdout + done.stderr, folder / "fanfold-demo")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory for what a demo keeps for itself; short, as sockets may lie in it."""
    with tempfile.TemporaryDirectory(prefix="demo-test-") as name:
        yield Path(name)


def test_everything_is_as_documented(shown: Shown) -> None:
    assert shown.status == 0, shown.text
    assert "the body is byte-equal to the documented 196 bytes" in shown.text
    assert "Everything is as documented." in shown.text


def test_the_commands_and_the_bodies_are_shown(shown: Shown) -> None:
    assert re.search(r"\$ curl -i http://127\.0\.0\.1:\d+/oml/\S+/compute_random_mean", shown.text)
    assert """-d '{"times":10}'""" in shown.text
    assert '{"result":[7.203244934421581,0.25926231827891333,' in shown.text
    assert '"DATA":"2","TIME":2,"TITLE":"Title 2","ID":1}}}' in shown.text


def test_the_token_is_not_shown(shown: Shown) -> None:
    assert "Bearer $TOKEN" in shown.text
    assert '{"accessToken":"$TOKEN"' in shown.text


def test_the_bootstrap_tells_interval_and_speed_and_can_be_repeated(shown: Shown) -> None:
    assert re.search(r"10,000 values, [\d,]+ calls per second", shown.text)
    assert re.search(r"95 % confidence interval .8\d g to \+1[45]\d g .* \+32 g", shown.text)
    assert "the same seed with 7 workers instead of 4: byte-equal values" in shown.text


def test_tables_are_loaded_and_a_model_is_fitted_per_group(shown: Shown) -> None:
    for table, rows in (("IRIS", 150), ("GRADE", 10), ("PENGUINS", 344)):
        assert f"✓ {table} has {rows} rows" in shown.text
    assert "✓ 3 models; their slopes are those of Python's statistics module" in shown.text
    assert "-T iris.csv" in shown.text


def test_images_and_a_page_that_needs_nothing_else_are_left(shown: Shown) -> None:
    names = {"test_seaborn_idx-1.png", "test_seaborn_idx-2.png", "RandomRedDots-1.png"}
    assert {path.name for path in shown.output.iterdir()} == {
        *names,
        "bootstrap.json",
        "grade.csv",
        "index.html",
        "iris.csv",
        "penguins.csv",
    }
    assert all((shown.output / name).read_bytes().startswith(PNG) for name in names)
    page = (shown.output / "index.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == len(names)
    assert "<svg" in page
    assert "byte-equal to the documented 196 bytes" in page
    assert not re.search(r"<script|<link|url\(|@import|src=\"http|href=", page)


@pytest.mark.parametrize("moment", ["Starting", "ready at"])
def test_ctrl_c_leaves_no_process_and_no_file(temporary: Path, moment: str) -> None:
    demo = subprocess.Popen(
        [FANFOLD, "demo", "--stay", "--output", "out"],
        cwd=temporary,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    with demo.stdout:
        for line in demo.stdout:
            if moment in line:
                break
        demo.send_signal(signal.SIGINT)
        assert demo.wait(LIMIT_S) == 128 + signal.SIGINT
    shutil.rmtree(temporary / "out")
    assert left_behind(temporary) == []


def test_without_curl_it_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [FANFOLD, "demo"],
        cwd=tmp_path,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "install curl" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_environment_without_seaborn_is_told_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [FANFOLD, "demo", "--environment", sys.prefix],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "seaborn" in done.stderr
    assert "--environment" in done.stderr
