import re
import subprocess
from collections import Counter

import pytest

from tests.architecture.repository import ROOT, python_files, shown, tracked_files

MOST_LINES = 500

# Written in halves, so that this file does not name what it forbids.
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "deb" + ".debian.org",
    "conda" + ".anaconda.org",
    "crates" + ".io",
    "proxy.golang" + ".org",
]
# A path of the machine that somebody works on: the home or the work directory, and a name in it.
PRIVATE_PATH = re.compile(r"(?<![\w.}\]-])/(?:root|home/[\w.-]+|Users/[\w.-]+|work)/[\w.]")


def faults(text: str) -> list[str]:
    """Return the registry hosts and the private paths that a text names."""
    hosts = [host for host in REGISTRIES if host in text]
    return hosts + [found.group() for found in PRIVATE_PATH.finditer(f"{text} ")]


def test_no_python_file_is_longer_than_a_person_reads_at_once() -> None:
    """Past that, a file has become two rooms; find where the wall goes."""
    texts = {shown(path): path.read_text(encoding="utf-8") for path in python_files("src", "tests")}
    sizes = {name: len(text.splitlines()) for name, text in texts.items()}
    assert {name: lines for name, lines in sizes.items() if lines > MOST_LINES} == {}


def test_every_room_of_the_server_is_on_the_map() -> None:
    """Whoever comes new looks for its place there; a file that is not on it is not found."""
    server = ROOT / "src" / "fanfold_server"
    rooms = [path.parent.name + "/" for path in server.glob("*/__init__.py")]
    files = [path.name for path in server.glob("*.py") if not path.name.startswith("__")]
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    assert [name for name in rooms + files if f"`{name}`" not in page] == []


def test_the_changelog_tells_nothing_twice() -> None:
    """Where two add to one place, a merge keeps both sides, and may keep what they share twice."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = Counter(re.findall(r"^- (.+)", text, re.MULTILINE))
    assert [entry for entry, count in entries.items() if count > 1] == []


def test_no_file_names_a_registry_or_a_path_of_this_machine() -> None:
    """Which registry serves a build, and where a checkout lies, is for each machine to say."""
    here = f"{ROOT}/"
    found = {}
    for path in tracked_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        named = faults(text) + ([here] if here in text else [])
        if named:
            found[shown(path)] = named
    assert found == {}


@pytest.mark.parametrize(
    ("text", "is_fault"),
    [
        ("index-url = https://" + REGISTRIES[0] + "/simple", True),
        ("cd /" + "root/fanfold", True),
        ("see /" + "home/ada/fanfold", True),
        ('"/' + 'work/main"', True),
        ("docs/work/plan.md and {data}/work/x", False),
        ("hide /home and /root from workers", False),
        ("/tmp/fanfold", False),
    ],
)
def test_a_registry_or_a_private_path_is_seen(text: str, is_fault: bool) -> None:
    assert bool(faults(text)) == is_fault


def test_what_setup_makes_is_never_tracked() -> None:
    made = [".venv/bin/python", ".environments/default/bin/python", "src/fanfold/__pycache__/x.pyc"]
    ignored = subprocess.run(
        ["git", "check-ignore", *made], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert ignored.stdout.split() == made
