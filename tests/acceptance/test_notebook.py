"""The client in a notebook: a real kernel of Jupyter's, and the messages that a browser gets."""

from __future__ import annotations

import os
import queue
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from fanfold import Client
from tests.acceptance.conftest import PASSWORD, Server
from tests.acceptance.processes import until

LIMIT_S = 150.0
Message = dict[str, Any]

SETUP = """
import time
from fanfold import Client
client = Client()
SLOW = '''
def slow(i):
    import time
    time.sleep({pause})
    assert i != 3
    return i
'''

def wave(i):
    import matplotlib.pyplot as plt
    if i == 2:
        raise ValueError("no <second>")
    plt.plot([0, i])
    plt.title(f"{i} Hz")
    return {"hz": i}
"""


class Notebook:
    """A kernel, and what came of its cells."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager = manager
        self._client = client

    def run(self, code: str, at: Callable[[Message], None] = lambda _: None) -> list[Message]:
        """Run a cell; give all that it had shown. `at` is told each message when it comes."""
        asked = self._client.execute(code, allow_stdin=True)
        shown = []
        deadline = time.monotonic() + LIMIT_S
        while True:
            message = self._next(deadline)
            if message["msg_type"] == "input_request":
                at(message)
                continue
            if message["parent_header"].get("msg_id") != asked:
                continue
            shown.append(message)
            at(message)
            content = message["content"]
            if message["msg_type"] == "status" and content["execution_state"] == "idle":
                return shown

    def _next(self, deadline: float) -> Message:
        """Wait for what the kernel says, or asks."""
        while time.monotonic() < deadline:
            for channel in (self._client.get_iopub_msg, self._client.get_stdin_msg):
                try:
                    message: Message = channel(timeout=0.05)
                except queue.Empty:
                    continue
                return message
        raise AssertionError("the kernel says nothing")

    def interrupt(self) -> None:
        """Press the notebook's stop button."""
        self._manager.interrupt_kernel()

    def answer(self, text: str) -> None:
        """Type into the field that a cell has shown."""
        self._client.input(text)


@pytest.fixture
def notebook(server: Server, tmp_path: Path) -> Iterator[Notebook]:
    manager = KernelManager(kernel_name="python3")
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FANFOLD_")},
        "FANFOLD_URL": server.url,
        "FANFOLD_USERNAME": "alice",
        "FANFOLD_PASSWORD": PASSWORD,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    manager.start_kernel(env=variables, cwd=str(tmp_path))
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(LIMIT_S)
        found = Notebook(manager, client)
        assert not failures(found.run(SETUP))
        yield found
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, username="alice", password=PASSWORD) as found:
        yield found


def failures(messages: list[Message]) -> list[str]:
    return [m["content"]["ename"] for m in messages if m["msg_type"] == "error"]


def shown(messages: list[Message], kind: str) -> list[str]:
    """List what was displayed, and what that was changed to."""
    return [
        m["content"]["data"][kind]
        for m in messages
        if m["msg_type"] in {"display_data", "update_display_data", "execute_result"}
        and kind in m["content"]["data"]
    ]


def test_a_bar_shows_how_a_run_goes_and_is_gone_at_its_end(
    notebook: Notebook, client: Client
) -> None:
    before = {info.id for info in client.jobs.list()}
    messages = notebook.run(
        "client.using(on_error='continue').index_apply(40, SLOW.format(pause=0.1))[:2]"
    )
    assert failures(messages) == []
    *bars, result = shown(messages, "text/html"), shown(messages, "text/plain")[-1]
    told = bars[0]
    assert any(re.search(r'<progress max="40" value="\d+"></progress> ', bar) for bar in told)
    words = " ".join(told)
    assert re.search(r"\d+ of 40 \d+ %, [\d.]+/s, 1 failed", words)
    assert " left" in words
    assert told[-1] == ""
    assert len({m["content"].get("transient", {}).get("display_id") for m in messages
                if "display_data" in m["msg_type"]}) == 1  # fmt: skip
    assert result == "[1, 2]"
    assert {info.id for info in client.jobs.list()} == before


@pytest.mark.parametrize(
    ("key", "raised", "state"), [("c", "JobCancelled", "cancelled"), ("d", "Detached", "running")]
)
@pytest.mark.parametrize("waits", ["job.wait()", "await job.wait()"])
def test_the_stop_button_asks_whether_to_leave_or_to_cancel(
    *, notebook: Notebook, client: Client, waits: str, key: str, raised: str, state: str
) -> None:
    """In a cell that blocks, and in one that awaits."""
    kind, word = ("AsyncClient", "await") if "await" in waits else ("Client", "")
    code = f"""
from fanfold import {kind}
runs = {kind}().background.using(on_error="continue")
job = {word} runs.index_apply(90, SLOW.format(pause=0.5))
print("job", job.id)
{waits}
"""
    pressed: list[Message] = []

    def at(message: Message) -> None:
        if message["msg_type"] == "update_display_data" and not pressed:
            pressed.append(message)
            notebook.interrupt()
        if message["msg_type"] == "input_request":
            assert "[d]etach from it, or [c]ancel it?" in message["content"]["prompt"]
            notebook.answer(key)

    messages = notebook.run(code, at)
    assert failures(messages) == [raised]
    text = "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")
    found = re.search(r"job ([0-9a-f-]{36})", text)
    assert found is not None
    job = client.job(found[1])
    assert job.info().state == state
    if state == "running":
        job.cancel()
        until(lambda: job.info().has_ended, LIMIT_S, "the job ends")


def test_figures_are_shown_beside_their_values(notebook: Notebook) -> None:
    (alone,) = shown(notebook.run("client.do_eval(wave, graphics=True, i=1)"), "text/html")[-1:]
    assert alone.count("data:image/png;base64,") == 1
    messages = notebook.run("client.using(on_error='continue').index_apply(3, wave, graphics=True)")
    sheet = shown(messages, "text/html")[-1]
    assert sheet.count("data:image/png;base64,") == 2
    assert "<figcaption><b>3</b></figcaption>" in sheet
    assert "{&#x27;hz&#x27;: 3}" in sheet
    assert "ValueError: no &lt;second&gt;" in sheet
    image = shown(notebook.run("client.do_eval(wave, graphics=True, i=1)[0]"), "image/png")
    assert image[-1].startswith("iVBOR")


def test_an_upload_is_shown_while_it_goes(notebook: Notebook) -> None:
    """As bytes; the pieces are let go slowly, so that there is something to see."""
    messages = notebook.run(
        """
import fanfold.progress
fanfold.progress.SHOW_AFTER_S = 0
with open("sdk_upload.csv", "w") as out:
    out.write("n\\n" + "1234567\\n" * 400_000)
made = client.tables.load("sdk_upload.csv")
client.tables.drop("sdk_upload")
import os; os.unlink("sdk_upload.csv")
made.rows
"""
    )
    assert failures(messages) == []
    assert shown(messages, "text/plain")[-1] == "400000"
    assert any("sending sdk_upload" in text and "MB/s" in text
               for text in shown(messages, "text/html"))  # fmt: skip
