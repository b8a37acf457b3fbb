"""Misbehaving functions, and the proof that each gets what it deserves and nobody else notices.

An animal is a file in `zoo/`: a script whose function misbehaves at index 2 and returns the index
otherwise, and what must come of that call:

    kind            RETURNED, ANY (whatever comes, it is no harm) or the name of a FailureKind
    type, message   patterns that the failure's match
    value, json     what was returned, as Python and as text
    log             a pattern that what it printed matches
    confined        the kind where workers are confined, if it is another
    shared          the same where they are, and share their user id and the machine's /dev/shm
    call_timeout_s  limit of one call
    neighbours      false: the other calls of its run may fail, too
    libraries       true: it needs numpy and matplotlib
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fanfold_server.engine import pool
from fanfold_server.engine.ladder import Rung
from fanfold_server.engine.sandbox import FIRST_UID
from fanfold_server.model.environment import Environment
from fanfold_server.model.errors import EngineUnavailable
from fanfold_server.model.outcome import FailureKind
from tests.runtime.bench import Engine, Record, opened

WHO = "import os\ndef f(i): return os.getuid()"
ZOO = sorted((Path(__file__).parent / "zoo").glob("*.toml"))
BAD = 2


@dataclass(frozen=True, kw_only=True)
class Animal:
    """One file of the zoo."""

    about: str
    source: str
    kind: str
    type: str = ""
    message: str = ""
    value: Any = BAD
    json: str = ""
    log: str = ""
    confined: str = ""
    shared: str = ""
    call_timeout_s: float | None = None
    neighbours: bool = True
    libraries: bool = False

    def check(self, record: Record) -> None:
        """Prove that the call at index 2 came out as it must."""
        if self.kind == "ANY":
            assert record.error is None or isinstance(record.error, EngineUnavailable)
            return
        assert record.error is None, record.error
        failure = record.failures.get(BAD)
        if self.kind == "RETURNED":
            assert failure is None, failure
            text = self.json.encode() if self.json else None
            assert text in {None, record.texts[BAD]}
            assert self.json or record.returned[BAD] == self.value
            assert re.search(self.log, record.logs.get(BAD, ""))
        else:
            if failure is None and not self.neighbours:  # the run ended with its first failure
                failure = next(iter(record.failures.values()), None)
            assert failure is not None, record
            assert failure.kind is FailureKind[self.kind], failure
            assert re.search(self.type, failure.type), failure
            assert re.search(self.message, failure.message), failure


@contextmanager
def enclosed(environment: Environment, cache: Path) -> Iterator[Engine]:
    """Open an engine with little memory, which does not wait long for a zygote that is silent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "SILENCE_S", 1.0)
        with opened(environment, cache, alone=True, memory_mib=1024) as engine:
            yield engine


def prove(enclosure: Engine, path: Path) -> None:
    """Run an animal alone and among others, and then calm functions of two owners."""
    beast = Animal(**tomllib.loads(path.read_text(encoding="utf-8")))
    if enclosure.rung >= Rung.CONFINED:
        own = enclosure.rung is Rung.BWRAP or enclosure.run(WHO).value >= FIRST_UID
        kind = (beast.confined if own else beast.shared or beast.confined) or beast.kind
        if kind != beast.kind:
            beast = replace(beast, kind=kind, message="")
    if beast.libraries and enclosure.environment.name != "default":
        pytest.skip("this environment does not have the libraries")
    options = {"keep_logs": True, "call_timeout_s": beast.call_timeout_s}
    beast.check(enclosure.run(beast.source, start=BAD, **options))
    among = enclosure.run(beast.source, count=4, **options)
    beast.check(among)
    if beast.neighbours:
        assert {i: v for i, v in among.returned.items() if i != BAD} == {1: 1, 3: 3, 4: 4}
    for owner in ("ANN", "BOB"):
        calm = enclosure.run("import os\ndef f(i): return [i, os.listdir()]", owner=owner, count=3)
        assert calm.returned == {i: [i, []] for i in (1, 2, 3)}, (calm.failures, calm.error)
