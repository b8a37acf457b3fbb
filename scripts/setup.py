"""Make everything that fanfold needs in this checkout, from a bare Python.

What `make setup` runs. Two environments come of it, both ignored by git:

    .venv                   the server, the SDK, the tools of a developer; the project, editable
    .environments/default   what users' functions run in: NumPy, pandas, scikit-learn, …

Both hold exactly what `requirements/*.lock` pins. A stamp inside each says what it was made
from: when nothing has changed, nothing is done; when a run was interrupted, there is no stamp
and the next run finishes the work. Standard library only. The file keeps to a syntax that old
Pythons can read, so that they can say what is missing instead of failing at a parenthesis.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
ENGINE = ROOT / ".environments" / "default"
SERVER_LOCK = ROOT / "requirements" / "server.lock"
ENGINE_LOCK = ROOT / "requirements" / "engine.lock"
STAMP = "fanfold-stamp"

PAUSES_S = (5, 20, 60)
"""How long to wait before a download that failed is tried again; one pause for each try."""

OLDEST = (3, 11)
NEWEST_LOCKED = (3, 14)  # the newest CPython for which engine.lock has wheels throughout


class SetupError(Exception):
    """Something outside this checkout has to change first; the message says what."""


def main():
    """Make both environments, or say in one line why that cannot be."""
    started = time.monotonic()
    try:
        check_interpreter()
        with only_one_at_a_time():
            # Other users must be able to read what workers run, whatever this shell's umask is.
            os.umask(0o022)
            changed = [make_venv(), make_engine_environment()]
    except SetupError as error:
        sys.exit("setup: {}".format(error))
    except subprocess.CalledProcessError as error:
        command = " ".join(str(word) for word in error.cmd[:4])
        sys.exit("setup: `{} …` failed ({}); see above".format(command, error.returncode))
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; the next run carries on from here")
    if any(changed):
        say("ready in {:.0f} s".format(time.monotonic() - started))


def check_interpreter():
    """Stop with advice when this Python cannot carry the server."""
    if sys.version_info < OLDEST:
        raise SetupError(
            "Python {}.{} or newer is needed and {} is {}.{}.\n"
            "Install one (Debian 12, Ubuntu 24.04 and newer: `apt install python3 python3-venv`; "
            "Fedora: `dnf install python3`; macOS: `brew install python`)\n"
            "or name one that you have: `make PYTHON=python3.12 setup`."
            "".format(*OLDEST, sys.executable, *sys.version_info[:2])
        )
    try:
        import ensurepip  # noqa: F401, PLC0415 (Debian packs it apart: asked, not used)
    except ImportError:
        version = "{}.{}".format(*sys.version_info[:2])
        raise SetupError(
            "this Python has no `ensurepip`. Install the package that carries it (Debian, "
            "Ubuntu: `apt install python{}-venv`).".format(version)
        ) from None


@contextlib.contextmanager
def only_one_at_a_time():
    """Hold the checkout's lock, so that two `make` at once do not build over each other."""
    directory = os.open(str(ROOT), os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another setup is at work here; waiting for it")
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


# ── .venv ─────────────────────────────────────────────────────────────────────────────────────


def make_venv():
    """Make or mend `.venv`. Returns whether there was something to do."""
    wanted = fingerprint(SERVER_LOCK, what_the_project_installs())
    if is_current(VENV, wanted):
        return False
    (VENV / STAMP).unlink(missing_ok=True)
    if not is_built_on(VENV, base_interpreter()):
        say("making .venv with Python {}".format(sys.version.split()[0]))
        remove(VENV)
        run(base_interpreter(), "-m", "venv", VENV)
        claim(VENV, base_interpreter())
    if not (VENV / "bin" / "uv").exists():
        install_uv()
    say("installing the server and the tools into .venv")
    downloading(uv, "pip", "sync", "--python", VENV, "--require-hashes", SERVER_LOCK)
    editable = ("--no-deps", "--no-build-isolation", "--editable", ROOT)
    uv("pip", "install", "--python", VENV, *editable)
    compile_bytecode(VENV)
    (VENV / STAMP).write_text(wanted)
    return True


def what_the_project_installs():
    """Return those tables of pyproject.toml that an installation depends on; not the linters'."""
    import tomllib  # noqa: PLC0415 (new in 3.11, and older Pythons must reach their message)

    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [document["build-system"], document["project"], document["tool"]["hatch"]]


def install_uv():
    """Install the uv that the lock pins, by pip; every later step uses it."""
    pinned = re.search(r"^uv==(?:.*\\\n)*.*", SERVER_LOCK.read_text(), re.MULTILINE)
    if pinned is None:
        raise SetupError("requirements/server.lock pins no uv; run `make lock`")
    python = VENV / "bin" / "python"
    run(python, "-m", "ensurepip", stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as scratch:
        only_uv = Path(scratch, "uv.lock")
        only_uv.write_text(pinned.group() + "\n")
        pip = (python, "-m", "pip")
        downloading(run, *pip, "install", "-qq", "--require-hashes", "-r", only_uv)


# ── .environments/default ─────────────────────────────────────────────────────────────────────


def make_engine_environment():
    """Make or mend `.environments/default`. Returns whether there was something to do."""
    wanted = fingerprint(ENGINE_LOCK, os.geteuid() == 0)
    if is_current(ENGINE, wanted):
        return False
    (ENGINE / STAMP).unlink(missing_ok=True)
    python, why = choose_engine_interpreter()
    say("engine environment: {} ({})".format(python, why))
    if not is_built_on(ENGINE, python):
        remove(ENGINE)
        ENGINE.parent.mkdir(exist_ok=True)
        uv("venv", "--no-project", "--python", python, ENGINE)
        claim(ENGINE, python)
    say("installing NumPy, pandas and friends into .environments/default")
    downloading(uv, "pip", "sync", "--python", ENGINE, "--require-hashes", ENGINE_LOCK)
    compile_bytecode(ENGINE)
    closed = first_closed_directory(ENGINE)
    if os.geteuid() == 0 and closed is not None:
        say("note: no other user can enter {}; nor can workers that give up root".format(closed))
    (ENGINE / STAMP).write_text(wanted)
    return True


def choose_engine_interpreter():
    """Choose the Python under users' functions.

    Root's server runs functions as other users, who must be able to start the interpreter: one
    in root's private home will not do.

    Returns:
        The interpreter's path and the reason, in a few words.
    """
    own = base_interpreter()
    if os.geteuid() != 0:
        return own, "the Python that runs this setup"
    closed = first_closed_directory(own, os.__file__)
    if closed is None:
        return own, "the Python that runs this setup, which every user can start"
    for candidate in installed_interpreters():
        if is_open_and_fitting(candidate):
            return candidate, "every user can start it; {} is private".format(closed)
    return own, "no other Python here that all can start, though {} is private".format(closed)


def installed_interpreters():
    """Yield the paths of the Pythons of this machine, the system's own first, newest next."""
    yield "/usr/bin/python3"
    names = ["python3.{}".format(m) for m in range(NEWEST_LOCKED[1], OLDEST[1] - 1, -1)]
    for directory in os.get_exec_path():
        for name in [*names, "python3"]:
            path = os.path.join(directory, name)
            if os.access(path, os.X_OK):
                yield path


def is_open_and_fitting(python):
    """Say whether every user can start `python` and engine.lock has wheels for it."""
    question = "import os, sys; print(*sys.version_info[:2], sys.executable, os.__file__, sep='|')"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", question], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    major, minor, executable, library = answer.stdout.strip().split("|")
    fitting = OLDEST <= (int(major), int(minor)) <= NEWEST_LOCKED
    return fitting and first_closed_directory(executable, library) is None


def first_closed_directory(*paths):
    """Return the first of the paths, or of the directories above, that other users cannot use."""
    for path in paths:
        real = Path(path).resolve()
        for part in [*reversed(real.parents), real]:
            mode = part.stat().st_mode
            needed = stat.S_IXOTH if part.is_dir() else stat.S_IROTH
            if not mode & needed:
                return part
    return None


# ── what both are made with ───────────────────────────────────────────────────────────────────


def fingerprint(*made_from):
    """Return a text that changes when an environment has to be made again."""
    digest = hashlib.sha256()
    parts = [Path(__file__), base_interpreter(), sys.version, ROOT, *made_from]
    for part in parts:
        is_file = isinstance(part, Path) and part.is_file()
        digest.update(part.read_bytes() if is_file else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def is_current(environment, wanted):
    """Say whether the environment is whole and made from what `wanted` stands for."""
    try:
        stamped = (environment / STAMP).read_text()
    except OSError:
        return False
    return stamped == wanted and (environment / "bin" / "python").exists()


def claim(environment, python):
    """Note which interpreter the environment stands on, once its skeleton is complete."""
    (environment / "fanfold-base").write_text(version_of(python))


def is_built_on(environment, python):
    """Say whether the environment's skeleton is complete and stands on this interpreter."""
    try:
        return (environment / "fanfold-base").read_text() == version_of(python)
    except OSError:
        return False


def version_of(python):
    """Return the path and the full version of an interpreter."""
    question = [str(python), "-I", "-c", "import sys; print(sys.version)"]
    return "{}\n{}\n{}".format(ROOT, python, subprocess.check_output(question, text=True))


def base_interpreter():
    """Return the interpreter below any virtual environment that this script runs in."""
    return str(Path(getattr(sys, "_base_executable", None) or sys.executable))


def compile_bytecode(environment):
    """Compile every module now, or each fresh worker would compile them again."""
    run(environment / "bin" / "python", "-m", "compileall", "-q", "-j", "0", environment / "lib")


def uv(*arguments):
    """Run the uv of `.venv`."""
    run(VENV / "bin" / "uv", "--quiet", "--no-config", *arguments)


def downloading(start, *command):
    """Run a command that asks the package index; again where that fails, after a pause.

    An index, a mirror or the network may be away for a moment, and the tools' own tries are over
    within seconds. What was fetched before is in their caches.

    Args:
        start: `run` or `uv`.
        command: what it is given.
    """
    for tried, pause_s in enumerate(PAUSES_S, 1):
        try:
            return start(*command)
        except subprocess.CalledProcessError as error:
            say(
                "a download failed ({}); trying again in {} s ({} of {})".format(
                    error.returncode, pause_s, tried, len(PAUSES_S)
                )
            )
            time.sleep(pause_s)
    return start(*command)


def run(*command, **options):
    """Run a command with the settings that make it work behind proxies and private mirrors."""
    words = [str(word) for word in command]
    subprocess.run(words, check=True, cwd=str(ROOT), env=child_environment(), **options)


def child_environment():
    """Return the variables for pip, uv and compileall.

    pip and uv each look for certificates and mirrors in places of their own: what the user has
    set for the one is given to the other.
    """
    env = dict(os.environ)
    # An inherited PYTHONDONTWRITEBYTECODE would turn compileall into nothing; a PYTHONPATH or an
    # activated environment would let foreign modules in.
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        env.pop(name, None)
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    env["UV_PYTHON_DOWNLOADS"] = "never"
    env.setdefault("UV_SYSTEM_CERTS", "1")
    env.setdefault("UV_HTTP_TIMEOUT", "180")
    for one, other in (
        ("SSL_CERT_FILE", "PIP_CERT"),
        ("PIP_CERT", "SSL_CERT_FILE"),
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"),
    ):
        if env.get(one):
            env.setdefault(other, env[one])
    return env


def remove(directory):
    """Remove what an interrupted or outdated run has left."""
    if directory.exists():
        shutil.rmtree(str(directory))


def say(line):
    """Print one line of progress."""
    print("setup: " + line, flush=True)


if __name__ == "__main__":
    main()
