"""Parcels: what is packed comes out again, and what is not what it says never does."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold_server.environments.locks import at_hand, parts_of, without_secrets
from fanfold_server.environments.parcels import DOCUMENT, LOCK, Parcels, this_platform
from fanfold_server.environments.places import Places
from fanfold_server.model.environment import Made, Maker, Recipe
from fanfold_server.model.errors import InvalidEnvironment, PackageGone
from tests.fakes.packages import write_wheel

WHEEL = b"not really a wheel, and not looked into here"
SHA256 = hashlib.sha256(WHEEL).hexdigest()
PYLOCK = f"""# fanfold: Python 3.11.2
lock-version = "1.0"

[[packages]]
name = "six"
version = "1.17.0"
marker = "os_name == 'posix'"

[[packages.wheels]]
url = "https://frida:s3cret@wheels.test/six-1.17.0%2Bcpu-py3-none-any.whl"
hashes = {{ sha256 = "{SHA256}" }}
"""
RECIPE: dict[str, object] = {
    "kind": "venv",
    "maker": "uv",
    "python": None,
    "channels": [],
    "packages": [],
    "requirements": ["six"],
    "options": ["--index-url https://elsewhere.test"],
    "variables": {"A": "b"},
}
DOCUMENTED: dict[str, object] = {
    "form": 1,
    "name": "lab",
    "recipe": RECIPE,
    "description": "For the lab",
    "tags": {"application": "OML4PY"},
    "python": "3.11.2",
    "platform": this_platform(),
}
LIMIT_S = 100.0


@pytest.fixture
def parcels(tmp_path: Path) -> Parcels:
    return Parcels(Places(tmp_path / "environments"))


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """Write a member as it stands in a file, whatever it says."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.type = kind
    info.linkname = link
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


END = bytes(2 * tarfile.BLOCKSIZE)
PACKAGE = member(f"packages/{SHA256}", WHEEL)


def head(lock: str = PYLOCK, **members: object) -> bytes:
    document = json.dumps({**DOCUMENTED, **members}).encode()
    return member(DOCUMENT, document) + member(LOCK, lock.encode())


def unpack(content: bytes, folder: Path) -> object:
    source, room = folder / "parcel.tar", folder / "room"
    source.write_bytes(content)
    room.mkdir()
    return asyncio.run(Parcels(Places(folder / "environments")).unpack(source, room))


async def test_a_whole_parcel_is_read_and_its_packages_lie_at_hand(
    tmp_path: Path, parcels: Parcels
) -> None:
    source = tmp_path / "lab.tar"
    source.write_bytes(head() + PACKAGE + END)
    async with parcels.room() as room:
        parcel = await parcels.unpack(source, room)
        assert (parcel.name, parcel.description, parcel.lock) == ("lab", "For the lab", PYLOCK)
        assert parcel.recipe.variables == {"A": "b"}
        assert parcel.recipe.options == ()  # where packages came from means nothing here
        (part,) = parts_of("venv", parcel.at_hand)
        assert part.file_name == "six-1.17.0+cpu-py3-none-any.whl"
        assert part.url == (room / SHA256 / part.file_name).as_uri()
        assert (room / SHA256 / part.file_name).read_bytes() == WHEEL
        assert parcel.at_hand.startswith("# fanfold: Python 3.11.2\n")
        assert "os_name == 'posix'" in parcel.at_hand
    assert not room.exists()


SPARSE = tarfile.GNUTYPE_SPARSE
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ends too early"),
    "no tar": (b"x" * 1024, "no exported environment"),
    "an empty tar": (END, "not there"),
    "another order": (member(LOCK, b"") + END, "not there"),
    "a path upwards": (head() + member("../../evil", b"x") + END, "does not name"),
    "an absolute path": (head() + member("/tmp/evil", b"x") + END, "does not name"),
    "a path upwards below": (head() + member("packages/../evil", b"x") + END, "does not name"),
    "a package without its folder": (head() + member(SHA256, WHEEL) + END, "does not name"),
    "a link": (head() + member("packages/x", b"", tarfile.SYMTYPE, "/etc") + END, "no plain file"),
    "a hard link": (
        head() + member(f"packages/{SHA256}", b"", tarfile.LNKTYPE, "/etc/passwd") + END,
        "no plain file",
    ),
    "a link as the lock": (
        member(DOCUMENT, json.dumps(DOCUMENTED).encode())
        + member(LOCK, b"", tarfile.SYMTYPE, "/etc/passwd"),
        "no plain file",
    ),
    "a directory": (head() + member("packages/", b"", tarfile.DIRTYPE) + END, "no plain file"),
    "a device": (head() + member("packages/x", b"", tarfile.CHRTYPE) + END, "no plain file"),
    "a sparse file": (head() + member(f"packages/{SHA256}", WHEEL, SPARSE) + END, "no plain file"),
    "long headers": (head() + member("x", b"y" * 512, tarfile.XHDTYPE) + END, "no plain file"),
    "the same twice": (head() + PACKAGE + PACKAGE + END, "or twice"),
    "one that is missing": (head() + END, "lacks six-1.17.0"),
    "another package": (
        head() + member(f"packages/{SHA256}", WHEEL.upper()) + END,
        "not what its lock says",
    ),
    "a package that was cut": (
        head() + member(f"packages/{SHA256}", WHEEL[:-1]) + END,
        "not what its lock says",
    ),
    "no end": (head() + PACKAGE, "too early"),
    "another form": (head(form=2) + PACKAGE + END, "another version of fanfold"),
    "another machine": (head(platform="plan9-mips") + PACKAGE + END, "for plan9-mips"),
    "numbers as tags": (head(tags={"a": 1}) + PACKAGE + END, "tags"),
    "no name": (head(name=None) + PACKAGE + END, "name"),
    "no recipe": (head(recipe=[]) + PACKAGE + END, "recipe"),
    "none at all": (
        member(
            DOCUMENT,
            json.dumps({**DOCUMENTED, "recipe": None}).encode().replace(b'"recipe"', b'"decipe"'),
        )
        + member(LOCK, PYLOCK.encode())
        + PACKAGE
        + END,
        "recipe",
    ),
    "another kind": (head(recipe={"kind": "gem"}) + PACKAGE + END, "recipe"),
    "a strange variable": (
        head(recipe={**RECIPE, "variables": {"A=B": "c"}}) + PACKAGE + END,
        "variable",
    ),
    "a large document": (member(DOCUMENT, b" " * (1 << 20) + b"{}") + END, "at most"),
    "a deep document": (member(DOCUMENT, b"[" * 200_000) + END, "not JSON"),
    "a deep lock": (
        head(recipe={**RECIPE, "kind": "conda"}, lock="[" * 200_000),
        "lock",
    ),
    "no text": (member(DOCUMENT, b"\xff\xfe") + END, "no text"),
    "a lock without a hash": (head(PYLOCK.replace("sha256", "md5")) + END, "SHA-256"),
    "a lock with a short hash": (head(PYLOCK.replace(SHA256, "abc")) + END, "SHA-256"),
    "a lock that leads upwards": (
        head(PYLOCK.replace("six-1.17.0%2Bcpu-py3-none-any.whl", "..%2F..%2Fevil.whl")) + PACKAGE,
        "no name of a wheel",
    ),
    "a lock that names no package": (head(PYLOCK.replace("any.whl", "any.pth")), "no name"),
    "a lock that is none": (head("# fanfold: Python 3.11.2\n[[packages") + PACKAGE, "lock"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_not_what_it_says_is_refused_and_leads_nowhere(tmp_path: Path, case: str) -> None:
    content, words = HOSTILE[case]
    with pytest.raises(InvalidEnvironment, match=words):
        unpack(content, tmp_path)
    outside = {path.name for path in tmp_path.rglob("*")} - {"parcel.tar", "room", SHA256}
    assert outside <= {"six-1.17.0+cpu-py3-none-any.whl"}


def test_a_size_that_is_none_is_refused(tmp_path: Path) -> None:
    """A header can say -1 in base 256, at which a reader that trusts it goes back."""
    header = bytearray(member(f"packages/{SHA256}"))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(InvalidEnvironment):
        unpack(head() + bytes(header) + END, tmp_path)


WHOLE = head() + PACKAGE + END


@settings(max_examples=200, deadline=None)
@given(
    place=st.integers(0, len(WHOLE) - len(END)),
    flip=st.one_of(st.none(), st.integers(1, 255)),
)
def test_cut_or_changed_anywhere_it_is_refused_or_still_of_its_hash(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int | None
) -> None:
    """Whatever comes out, the packages are those of the lock that comes with them."""
    content = bytearray(WHOLE)
    if flip is None:
        del content[place:]
    else:
        content[place] ^= flip
    folder = tmp_path_factory.mktemp("cut")
    try:
        unpack(bytes(content), folder)
    except InvalidEnvironment:
        return
    for path in (folder / "room").rglob("*.whl"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name


# ------------------------------------------------------------------ packing


def locked(folder: Path) -> tuple[Made, str]:
    wheel = write_wheel(folder, "labcolors", "1.0", "VERSION = '1.0'\n")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = (
        "# fanfold: Python 3.11.2\n[[packages]]\nname = 'labcolors'\nversion = '1.0'\n"
        f"wheels = [{{ url = '{wheel.as_uri()}', hashes = {{ sha256 = '{sha256}' }} }}]\n"
    )
    recipe = Recipe(
        kind="venv",
        maker=Maker.UV,
        requirements=("labcolors",),
        options=("--index-url https://frida:s3cret@wheels.test/simple",),
    )
    made = Made(
        name="lab",
        version=3,
        owner="ROOT",
        recipe=recipe,
        description="see https://frida:s3cret@wiki.test",
        tags={"application": "OML4PY"},
        prefix=folder / "prefix",
        python="3.11.2",
        packages={"labcolors": "1.0"},
        size_bytes=1,
        variables={},
        preload=(),
        lock_digest="",
        created=datetime(2026, 11, 23, tzinfo=UTC),
    )
    return made, lock


async def test_what_is_packed_comes_out_again_without_passwords(
    tmp_path: Path, parcels: Parcels
) -> None:
    made, lock = locked(tmp_path / "wheels")
    async with parcels.room() as room, parcels.room() as other:
        packed = await parcels.pack(made, lock, room)
        assert b"s3cret" not in packed.read_bytes()
        parcel = await parcels.unpack(packed, other)
        assert (parcel.lock, parcel.tags) == (lock, made.tags)
        assert parcel.recipe == replace(made.recipe, options=())
        with tarfile.open(packed) as file:  # any program reads it
            assert file.getnames()[:2] == [DOCUMENT, LOCK]
            text = file.extractfile(LOCK)
            assert isinstance(text, io.BufferedReader)
            assert text.read().decode() == lock


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "labcolors-1.0-py3-none-any.whl cannot be had"),
        (lambda path: path.write_bytes(b"another"), "is another one now"),
    ],
)
async def test_a_package_that_is_gone_or_another_is_named(
    tmp_path: Path, parcels: Parcels, spoil: Callable[[Path], object], words: str
) -> None:
    made, lock = locked(tmp_path / "wheels")
    spoil(next((tmp_path / "wheels").glob("*.whl")))
    async with parcels.room() as room:
        with pytest.raises(PackageGone, match=words):
            await parcels.pack(made, lock, room)


def test_a_conda_lock_names_packages_of_both_kinds() -> None:
    conda = hashlib.sha256(b"conda").hexdigest()
    lock = json.dumps(
        {
            "python": "3.11.2",
            "conda": [
                {
                    "name": "python",
                    "url": "https://conda.test/t/to-ken/main/linux-64/python-3.11.2-0.conda",
                    "sha256": conda,
                    "file_name": "python-3.11.2-0.conda",
                }
            ],
            "pip": PYLOCK.partition("\n")[2],
        }
    )
    assert [part.file_name for part in parts_of("conda", lock)] == [
        "python-3.11.2-0.conda",
        "six-1.17.0+cpu-py3-none-any.whl",
    ]
    places = {conda: Path("/r/python-3.11.2-0.conda"), SHA256: Path("/r/six-1.17.0-x.whl")}
    moved = json.loads(at_hand("conda", lock, places))
    assert moved["conda"][0]["url"] == "file:///r/python-3.11.2-0.conda"
    assert 'url = "file:///r/six-1.17.0-x.whl"' in moved["pip"]
    assert "to-ken" not in without_secrets(lock)
    assert "https://conda.test/main/linux-64/" in without_secrets(lock)


# ------------------------------------------------------------------ rooms

HOLD = """
import asyncio, sys
from pathlib import Path
from fanfold_server.environments.parcels import Parcels
from fanfold_server.environments.places import Places

async def hold():
    async with Parcels(Places(Path(sys.argv[1]))).room() as room:
        (room / "large").write_text("x")
        print(room, flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


def test_what_a_killed_process_has_left_goes_and_what_others_hold_stays(
    tmp_path: Path, parcels: Parcels
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "environments")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    left = Path(process.stdout.readline().decode().strip())
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        mine = runner.run(stack.enter_async_context(parcels.room()))
        assert left.is_dir()  # its owner lives
        os.kill(process.pid, signal.SIGKILL)
        process.wait(LIMIT_S)
        process.stdout.close()
        another = runner.run(stack.enter_async_context(parcels.room()))
        assert (left.exists(), mine.is_dir(), another.is_dir()) == (False, True, True)
        runner.run(stack.aclose())
        assert (mine.exists(), another.exists()) == (False, False)
