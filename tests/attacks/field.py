"""The field of one column: a server's victims, an engine on one rung, and every attack once.

`python -m tests.attacks.field WHO RUNG [ATTACK …]` prints JSON: attack → how it went. As root it
imports everything first and then becomes an ordinary user, if that is asked for.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httptools

import fanfold_server
from fanfold_server.engine.bubble import inside
from fanfold_server.engine.bundle import bundle_bytes
from fanfold_server.engine.ladder import IsolationMissing, Rung
from fanfold_server.engine.sandbox import Openings
from fanfold_server.model.environment import Environment
from fanfold_server.model.network import ScriptNetwork, listed
from tests.attacks.expected import EXPECTED
from tests.calm import Stopwatch
from tests.fakes.hosts import host
from tests.runtime.bench import Engine, ladder, opened, wait_until

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
MEMORY_MIB, FILE_MIB, TMP_MIB, FILES, PROCESSES = 384, 16, 48, 256, 64
GONE_WITHIN_S = 3.0
SOURCES = ("attacker.py", "outbound.py", "remains.py", "bombs.py")
LIST = "_with_a_list"
LEFT = ("leave_a_daemon", "leave_a_daemon_and_kill_the_zygote")

AT_THE_START = "_at_the_start"
PLANTED = ("write_tmp", "write_var_tmp", "write_shared_memory")
SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))

MODULE = """
import json, os, sys
found = {}
def look():
    victims = json.loads(VICTIMS)
    for name in NAMES:
        try:
            found[name] = attack(name, mark="%s-%d" % (MARK_OF_START, os.getpid()), **victims), None
        except OSError as exc:
            found[name] = None, repr(exc)
look()
"""

HOLD = """
import time
def f(i):
    open('mine', 'w').write('secret')
    time.sleep(600)
"""
LEAVE = """
def f(i, mark):
    open('/dev/shm/' + mark, 'w').write('secret')
"""
FOUND = "find_shared_memory_of_another_call"
WHERE = "import os\ndef f(i): return os.getcwd()"


def main() -> None:
    """Attack, and print what came of it."""
    who, rung, *only = sys.argv[1:]
    folder = Path(tempfile.mkdtemp(prefix="field-", dir="/var/tmp"))  # not where /tmp is one's own
    try:
        folder.chmod(0o755)
        setuid = str(shutil.copy("/usr/bin/id", folder / "setuid"))
        Path(setuid).chmod(0o4755 if os.geteuid() == 0 else 0o755)
        own = folder / "own"
        own.mkdir(mode=0o755)
        if who == "user" and os.geteuid() == 0:
            os.chown(own, NOBODY, NOBODY)
            if pid := os.fork():  # root remains, to remove what is root's
                _, status = os.waitpid(pid, 0)
                sys.exit(os.waitstatus_to_exitcode(status))
            become_ordinary(folder)
        sys.stdout.write(json.dumps(attack_all(own, setuid, rung, only or list(EXPECTED))))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def become_ordinary(folder: Path) -> None:
    """Give up root; what Python imports late, and then cannot read any more, is imported first.

    The proxy is started later: it has a copy that can be read, and an interpreter for it.
    """
    for package in (fanfold_server, httptools):
        name = package.__name__
        shutil.copytree(Path(str(package.__file__)).parent, folder / "site" / name)
    sys.path.insert(0, str(folder / "site"))
    sys.executable = str((ROOT / ".environments" / "default" / "bin" / "python").resolve())
    bundle_bytes()
    "".encode("idna")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.environ["HOME"] = "/nonexistent"
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as if it had been started by that user


def attack_all(folder: Path, setuid: str, rung: str, names: list[str]) -> dict[str, str]:
    """Return what came of each attack, in words that begin with X or ·.

    Only "skipped" and the reason, if the rung does not work here.
    """
    os.umask(0o022)
    environment = make_environment(folder)
    try:
        ladder(rung, environment.prefix)
    except IsolationMissing as exc:
        return {"skipped": str(exc)}
    source = "".join(Path(__file__).with_name(name).read_text("utf-8") for name in SOURCES)
    with ExitStack() as stack:
        victims = stack.enter_context(serving(folder)) | {
            "prefix": str(environment.prefix),
            "setuid": setuid,
            "server": os.getpid(),
            "word": f"tests.attacks.field\0{sys.argv[1]}",
            "memory_mib": MEMORY_MIB,
            "file_mib": FILE_MIB,
            "tmp_mib": TMP_MIB,
            "files": FILES,
        }
        stack.enter_context(planted(environment, source, victims))
        engine = stack.enter_context(
            opened(
                environment,
                folder / "cache",
                isolation=rung,
                preload=(),
                memory_mib=MEMORY_MIB,
                files=FILES,
                processes=PROCESSES,
                file_mib=FILE_MIB,
                tmp_mib=TMP_MIB,
                openings=Openings(),
            )
        )
        bundle = next(engine.scratch.glob("runtime-*.pyz"))
        victims["bundle"] = str(inside(bundle) if engine.rung is Rung.BWRAP else bundle)
        bob = engine.start(HOLD, owner="BOB")
        stack.callback(bob.cancel)
        ann = engine.start(HOLD)
        stack.callback(ann.cancel)
        home = engine.run(WHERE, owner="BOB").value
        theirs = Path(home).parent
        held = [theirs / "w1" / "mine"]
        if engine.rung is not Rung.BWRAP:  # there, it is in a mount of its own
            wait_until(
                lambda: bool(list(theirs.glob("w*/mine"))), "the other owner's file is there"
            )
            held = list(theirs.glob("w*/mine"))
        victims["other"] = str(held[0])
        return {name: one(engine, source, name, victims) for name in names}


def one(engine: Engine, source: str, name: str, victims: dict[str, Any]) -> str:
    """Attack once; return X or · and how."""
    mark = f"mark-{uuid.uuid4().hex}"
    began = time.monotonic()
    try:
        if name == FOUND:
            engine.run(LEAVE, parameters={"mark": mark}, caller="CAROL")
        record = engine.run(
            source,
            entry="attack",
            count=1,
            indexed=False,
            start=0,
            parameters={"name": name, "mark": mark, **victims},
            timeout_s=25,
            network=with_a_list(victims) if name.endswith(LIST) else None,
        )
        if name in LEFT:
            alive = not within(GONE_WITHIN_S, partial(is_gone, mark))
            return "X it lives" if alive else "· it is gone"
        if name in PLANTED and not is_planted(mark):
            return "· nothing is to be seen outside"
        if record.error is not None:
            return f"· {record.error}"
        if record.failures:
            failure = record.failure
            if failure.type == "CallTimedOut":
                return "? nothing has stopped it, nor did it end"
            if failure.type in {"AssertionError", "NameError", "TypeError", "AttributeError"}:
                return f"? {failure.type}: {failure.message}"
            return f"· {failure.type}: {failure.message}"[:300]
        return "· None" if record.value is None else f"X {record.value}"
    finally:
        for folder in SHARED:
            with suppress(OSError):
                (folder / mark).unlink(missing_ok=True)
        sys.stderr.write(f"{name} {time.monotonic() - began:.2f} s\n")


def with_a_list(victims: dict[str, Any]) -> ScriptNetwork:
    """Let a function reach one host, and a name that leads to where it must not."""
    hosts = [f"127.0.0.1:{victims['listed']}", f"localhost:{victims['elsewhere']}"]
    return ScriptNetwork(grant=listed(hosts))


def is_planted(mark: str) -> bool:
    """Tell whether a file of this name lies where everybody may write."""
    return any((folder / mark).exists() for folder in SHARED)


def is_gone(mark: str) -> bool:
    """Tell whether no process has the mark on its command line."""
    found = False
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with suppress(OSError):
                found |= mark.encode() in (folder / "cmdline").read_bytes()
    return not found


def within(limit_s: float, claim: partial[bool]) -> bool:
    """Wait for a claim to hold; tell whether it did. See `Stopwatch` for what is counted."""
    watch = Stopwatch()
    while watch.counted_s() < limit_s:
        if claim():
            return True
        time.sleep(0.05)
    return False


def make_environment(folder: Path) -> Environment:
    """Make an environment that belongs to the server, on an interpreter that all can start."""
    base = ROOT / ".environments" / "default" / "bin" / "python"
    prefix = folder / "environment"
    subprocess.run([base, "-m", "venv", "--without-pip", prefix], check=True, timeout=200)
    return Environment(name="field", prefix=prefix, kind="venv")


@contextmanager
def planted(environment: Environment, source: str, victims: dict[str, Any]) -> Iterator[None]:
    """Have a package attack as soon as an interpreter of the environment starts."""
    (packages,) = environment.prefix.glob("lib/python3*/site-packages")
    mark = f"mark-{uuid.uuid4().hex}"
    names = [name.removesuffix(AT_THE_START) for name in EXPECTED if name.endswith(AT_THE_START)]
    given = f"VICTIMS = {json.dumps(victims)!r}\nNAMES = {names!r}\nMARK_OF_START = {mark!r}\n"
    (packages / "planted.py").write_text(source + given + MODULE)
    (packages / "planted.pth").write_text("import planted\n")
    try:
        yield
    finally:
        for folder in SHARED:
            for path in folder.glob(f"{mark}-*"):
                with suppress(OSError):
                    path.unlink()


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, Any]]:
    """Make a server's files and sockets."""
    data = folder / "data"
    (data / "scripts").mkdir(parents=True)
    for path in ("fanfold.db", "key", "scripts/theirs.py"):
        (data / path).write_text("secret")
    data.chmod(0o700)
    public = folder / "public"
    public.write_text("for whoever has an account here")
    abstract = f"fanfold-field-{uuid.uuid4().hex}"
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(folder / "socket"))
        (folder / "socket").chmod(0o777)
        unix.listen()
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        named.bind("\0" + abstract)
        named.listen()
        threading.Thread(target=echo, args=(udp,), daemon=True).start()
        tcp6 = stack.enter_context(
            socket.create_server(("::1", 0), family=socket.AF_INET6) if socket.has_ipv6 else tcp
        )
        allowed, other = (stack.enter_context(host()) for _ in range(2))
        allowed.redirect = f"http://{other.place}/other"
        yield {
            "data": str(data),
            "public": str(public),
            "unix": str(folder / "socket"),
            "abstract": abstract,
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "namespace": Path("/proc/self/ns/net").stat().st_ino,
            "tcp6": tcp6.getsockname()[1],
            "listed": allowed.port,
            "elsewhere": other.port,
        }


def echo(sock: socket.socket) -> None:
    with suppress(OSError):
        while True:
            data, sender = sock.recvfrom(100)
            sock.sendto(data, sender)


if __name__ == "__main__":
    main()
