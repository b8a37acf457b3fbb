"""The demo is told to end at the worst of moments."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from fanfold_server.demo.ending import Ending

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """All signals as they are in a shell's foreground, whoever runs the tests."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def tell(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


class Last:
    """Tells to end when it is finalised, where Python drops what a handler raises."""

    def __del__(self) -> None:
        tell()


def test_what_may_be_interrupted_is_interrupted_at_once() -> None:
    after = []

    def program(ending: Ending) -> None:
        with ending.opened(), ending.interruptible():
            tell()
            after.append("went on")

    with pytest.raises(KeyboardInterrupt):
        program(Ending())
    assert after == []


def test_what_may_not_is_done_first() -> None:
    """Between the start of a process and what ends it, and while something is cleaned up."""
    done = []

    def program(ending: Ending) -> None:
        with ending.opened():
            tell()
            done.append("cleaned up")
            with ending.interruptible():
                done.append("another step")

    with pytest.raises(KeyboardInterrupt):
        program(Ending())
    assert done == ["cleaned up"]


def test_what_comes_at_the_very_end_is_told_by_the_status() -> None:
    ending = Ending()
    with pytest.raises(SystemExit) as ended, ending.opened():
        tell(signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM


def test_one_that_a_finaliser_swallows_is_heard_at_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)
    done = []

    def program(ending: Ending) -> None:
        with ending.opened():
            with ending.interruptible():
                Last()
                done.append("the step")
            with ending.interruptible():
                done.append("another step")

    with pytest.raises(KeyboardInterrupt):
        program(Ending())
    assert (len(dropped), done) == (1, ["the step"])


def test_waiting_ends_by_a_signal_that_came_just_before_it() -> None:
    ending, went_on = Ending(), []
    with ending.opened():
        tell()
        ending.wait()
        went_on.append("to the last words")
    assert went_on == ["to the last words"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_waiting_that_another_signal_ends_has_its_status(number: int) -> None:
    def program(ending: Ending) -> None:
        with ending.opened():
            tell(number)
            ending.wait()

    with pytest.raises(SystemExit) as ended:
        program(Ending())
    assert ended.value.code == 128 + number


def test_what_was_set_to_be_ignored_stays_ignored() -> None:
    """A shell's `&` has Ctrl-C ignored, and nohup the end of the terminal."""
    ending, went_on = Ending(), []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ending.opened():
        tell(signal.SIGHUP)
        with ending.interruptible():
            went_on.append("as if nothing were")
    assert went_on == ["as if nothing were"]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_the_handlers_are_as_before_at_the_end() -> None:
    with Ending().opened():
        assert signal.getsignal(signal.SIGINT) is not signal.SIG_DFL
    assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_DFL] * 3
