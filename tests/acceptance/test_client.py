"""The client against a real server: the calls that OML4Py's users know, blocking and awaiting."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest

from fanfold import AsyncClient, Client, errors, functions
from fanfold.faults import NotLoggedIn, NotSendable, Unreachable, WaitedTooLong
from fanfold.messages import Course, Response, Send
from fanfold.profile import Profile, read_profile, write_profile
from fanfold.session import Login, Session
from fanfold.values import DataImage, Image
from tests.acceptance.conftest import PASSWORD, Server
from tests.acceptance.job_calls import SLEEPER

HALF = "def sdk_half(index, by=2):\n    return index / by\n"


def half(index, by=2):  # type: ignore[no-untyped-def]  # as a notebook has it
    """Give a part of the index."""
    return index / by


def wave(i=1):  # type: ignore[no-untyped-def]
    import matplotlib.pyplot as plt  # noqa: PLC0415  # a script's imports are inside

    plt.plot([0, i])
    plt.title(f"{i} Hz")
    return {"hz": i}


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, username="alice", password=PASSWORD) as found:
        yield found


# -------------------------------------------------------------------------------------------- runs


def test_a_function_is_run_by_its_source(client: Client) -> None:
    assert client.index_apply(3, half) == [0.5, 1, 1.5]
    assert client.index_apply(3, half, by=4, parallel=True) == [0.25, 0.5, 0.75]
    assert client.do_eval(lambda x: x**2, x=7) == 49


def test_a_stored_name_a_text_and_a_function_are_the_same(client: Client) -> None:
    client.scripts.publish(HALF)
    assert client.index_apply(4, "sdk_half") == client.index_apply(4, HALF)
    assert client.index_apply(4, "sdk_half") == client.index_apply(4, half)


def test_an_owner_is_named_as_in_oml4py(client: Client, server: Server) -> None:
    client.script.create("sdk_granted", HALF, overwrite=True)
    client.grant("sdk_granted", user="bob")
    with Client(server.url, username="bob", password=PASSWORD) as bob:
        assert bob.index_apply(2, "sdk_granted", "ALICE") == [0.5, 1]
        assert bob.index_apply(times=2, func="sdk_granted", func_owner="alice") == [0.5, 1]
        client.revoke("sdk_granted", user="bob")
        with pytest.raises(errors.UnknownScript, match="ask ALICE to grant"):
            bob.index_apply(2, "sdk_granted", "ALICE")


def test_options_stand_beside_arguments_of_any_name(client: Client) -> None:
    def drawn(_, rng, seed=0):  # type: ignore[no-untyped-def]
        return [float(rng.random()), seed]

    once = client.using(seed=5).index_apply(3, drawn, seed=11)
    again = client.using(seed=5).index_apply(5, drawn, seed=11, parallel=4)
    assert again[:3] == once
    assert {value[1] for value in once} == {11}
    assert client.using(seed=6).index_apply(3, drawn, seed=11) != once


def test_rows_come_from_a_query_a_table_and_a_file(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "sdk_grades.csv"
    file.write_text("name,year,score\nAbbott,97,90\nBranford,98,92\nCrandell,98,81\n")
    loaded = client.tables.load(file)
    assert (loaded.owner, loaded.rows) == ("ALICE", 3)
    assert "sdk_grades" in [table.name.lower() for table in client.tables.list()]
    top = "def top(dat):\n    return int(dat['score'].max())\n"
    assert client.table_apply("select * from sdk_grades", top) == 92
    assert client.group_apply("sdk_grades", "year", top) == {"97": 90, "98": 92}
    assert client.group_apply("sdk_grades", ["year", "name"], top)["98_Crandell"] == 81
    assert client.row_apply("sdk_grades", top, rows=2, parallel=True) == [92, 81]
    assert client.tables.preview("sdk_grades", rows=1, frames=False) == [
        {"name": "Abbott", "year": 97, "score": 90}
    ]
    client.tables.drop("sdk_grades")
    with pytest.raises(errors.UnknownTable):
        client.tables.describe("sdk_grades")


def test_a_figure_is_an_object_that_a_notebook_shows(client: Client, tmp_path: Path) -> None:
    drawn = client.do_eval(wave, graphics=True, i=3)
    assert isinstance(drawn, DataImage)
    assert drawn.dat == {"hz": 3}
    (image,) = drawn
    assert isinstance(image, Image)
    assert (image.title, image.number) == ("3 Hz", 1)
    assert image._repr_png_().startswith(b"\x89PNG")
    assert "data:image/png;base64," in drawn._repr_html_()
    assert image.save(tmp_path / "wave.png").read_bytes() == image.png
    many = client.index_apply(2, wave, graphics=True)
    assert [call.dat for call in many] == [{"hz": 1}, {"hz": 2}]
    assert [call[0].filename for call in many] == ["1-1.png", "2-1.png"]


def test_what_has_no_json_form_is_named_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(NotSendable, match=r"'by'.*object"):
        client.index_apply(2, half, by=object())
    with pytest.raises(NotSendable, match=r"'by'.*NaN or infinity; send None"):
        client.index_apply(2, half, by=float("nan"))


def test_what_says_how_a_run_is_run_is_no_argument_of_the_function(client: Client) -> None:
    with pytest.raises(errors.InvalidArguments, match=r"client\.using\(seed=…\)"):
        client.index_apply(2, half, seed=7)


def test_columns_that_are_none_are_told(client: Client) -> None:
    with pytest.raises(TypeError, match="names no columns"):
        client.group_apply("sdk_grades", half, "year")  # type: ignore[arg-type]  # a slip


def test_a_frame_as_an_argument_is_shown_the_way_of_rows(client: Client) -> None:
    with pytest.raises(NotSendable, match=r"a Table is.*table_apply.*client\.tables\.load"):
        client.index_apply(2, half, by=pyarrow.table({"x": [1]}))


# ------------------------------------------------------------------------------------------ errors


def test_an_error_is_of_the_class_of_its_code(client: Client) -> None:
    with pytest.raises(errors.UnknownScript) as unknown:
        client.do_eval("sdk_nothing_of_that_name")
    assert (unknown.value.code, unknown.value.status) == (2010, 404)
    with pytest.raises(errors.CallRaised, match="ZeroDivisionError: ") as raised:
        client.index_apply(3, "def f(i):\n    return 1 / (i - 2)\n")
    assert raised.value.details["index"] == 2
    assert "return 1 / (i - 2)" in raised.value.traceback


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have no notes")
def test_what_python_prints_of_a_failed_call_ends_with_the_functions_own_line(
    client: Client,
) -> None:
    """Who debugs in a notebook sees what is printed, and looks for the line that failed."""
    source = "def f(i):\n    return 1 / (i - 2)\n"
    with pytest.raises(errors.CallRaised) as raised:
        client.index_apply(3, source)
    printed = "".join(traceback.format_exception(raised.value))
    assert printed.endswith(
        "In the function, at call 2:\nTraceback (most recent call last):\n"
        f'  File "<{functions.source_of(source).adhoc_name}>", line 2, in f\n'
        "    return 1 / (i - 2)\nZeroDivisionError: division by zero\n"
    )
    assert "session.py" not in printed
    with pytest.raises(errors.CallRaised, match="ZeroDivisionError") as of_job:
        client.background.index_apply(3, source).result()
    assert "line 2, in f" in "".join(traceback.format_exception(of_job.value))
    with pytest.raises(errors.CallRaised) as lacking:
        client.do_eval("def f():\n    import no_such_module\n")
    assert "client.using(environment=" in "".join(traceback.format_exception(lacking.value))
    with pytest.raises(errors.CallRaised) as absent:
        client.do_eval("def f():\n    return open('grades.csv').read()\n")
    assert "see no file of yours" in "".join(traceback.format_exception(absent.value))
    with pytest.raises(errors.CallTooLong) as long:
        client.do_eval("def f():\n    return 'x' * 5001\n")
    assert "max_output_len" in "".join(traceback.format_exception(long.value))


def test_with_continue_a_failed_call_has_its_exception_in_its_place(client: Client) -> None:
    on = client.using(on_error="continue")
    first, second, third = on.index_apply(3, "def f(i):\n    return 1 / (i - 2)\n")
    assert (first, third) == (-1, 1)
    assert isinstance(second, errors.CallRaised)
    assert second.details["type"] == "ZeroDivisionError"


def test_a_server_that_is_not_there_is_told_as_such() -> None:
    with (
        Client("http://127.0.0.1:9", token="x") as lost,
        pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"),
    ):
        lost.do_eval("x")


def test_with_continue_a_call_that_failed_to_draw_has_its_exception_in_its_place(
    client: Client,
) -> None:
    source = """
def draws(i=2):
    import matplotlib.pyplot as plt
    plt.plot([1 / (i - 2)])
    return i
"""
    on = client.using(on_error="continue")
    first, second, third = on.index_apply(3, source, graphics=True)
    assert (first.dat, third.dat) == (1, 3)
    assert isinstance(second, errors.CallRaised)
    assert isinstance(on.do_eval(source, graphics=True), errors.CallRaised)
    job = on.background.index_apply(3, source, graphics=True)
    assert [type(call).__name__ for call in job.result(60)] == [
        "DataImage",
        "CallRaised",
        "DataImage",
    ]


# ----------------------------------------------------------------------------------------- scripts


def test_scripts_have_versions_listings_and_owners(client: Client) -> None:
    first = client.scripts.publish("def f(i):\n    return 1\n", name="sdk_versions")
    again = client.scripts.publish("def f(i):\n    return 1\n", name="sdk_versions")
    second = client.scripts.publish("def f(i):\n    return 2\n", name="sdk_versions")
    assert (first.version, again.version, second.version) == (1, 1, 2)
    assert [v.version for v in client.scripts.versions("sdk_versions")] == [2, 1]
    assert client.scripts.load("sdk_versions", version=1).get_source().endswith("return 1\n")
    client.scripts.roll_back("sdk_versions", 1)
    assert client.index_apply(1, "sdk_versions") == [1]
    assert client.using(version=2).index_apply(1, "sdk_versions") == [2]
    assert "sdk_versions" in [script.name for script in client.scripts.list()]
    (found,) = client.script.dir("sdk_ver", regex_match=True)
    assert set(found) == {"name", "script", "description", "date"}
    with pytest.raises(errors.ScriptExists):
        client.script.create("sdk_versions", HALF)
    client.script.drop("sdk_versions")
    client.script.drop("sdk_versions", silent=True)
    with pytest.raises(errors.UnknownScript):
        client.script.drop("sdk_versions")


def test_a_docstring_describes_a_published_function(client: Client) -> None:
    assert client.scripts.publish(half, name="sdk_told").description == "Give a part of the index."


def test_environments_are_listed(client: Client) -> None:
    assert "default" in [environment.name for environment in client.environments.list()]


# -------------------------------------------------------------------------------------------- jobs


def test_a_job_is_waited_for_read_and_gone_on_with(client: Client) -> None:
    job = client.background.using(seed=3, comments="sdk").index_apply(20, half)
    info = job.wait(200)
    assert (info.state, info.returned, info.comments) == ("succeeded", 20, "sdk")
    assert job.result() == [i / 2 for i in range(1, 21)]
    assert [result.get() for result in job.results(start=19)] == [9.5, 10]
    assert sorted(result.index for result in job.as_completed()) == list(range(1, 21))
    longer = job.extend(30)
    assert longer.result(60) == [i / 2 for i in range(1, 31)]
    assert job.id in [found.id for found in client.jobs.list(comments="sdk")]
    job.delete()
    with pytest.raises(errors.UnknownJob):
        job.info()


def test_what_failed_is_grouped_and_resumed(client: Client) -> None:
    source = "def f(i):\n    if i % 5 == 0:\n        raise ValueError(f'no {i}')\n    return i\n"
    job = client.background.using(on_error="continue").index_apply(20, source)
    values = job.result(60)
    assert _failed(values) == [5, 10, 15, 20]
    (group,) = job.errors()
    assert (group.type, group.count) == ("ValueError", 4)
    assert [outcome.index for outcome in job.outcomes("failed")] == [5, 10, 15, 20]
    resumed = job.resume()
    assert resumed.wait(200).failed == 4


def _failed(values: list[object]) -> list[int]:
    return [index for index, value in enumerate(values, 1) if isinstance(value, errors.CallRaised)]


def test_a_job_that_takes_too_long_is_left_and_cancelled(client: Client) -> None:
    job = client.background.do_eval(SLEEPER)
    began = time.monotonic()
    with pytest.raises(WaitedTooLong, match=job.id):
        job.wait(0.5)
    assert time.monotonic() - began < 60
    assert job.cancel().state == "cancelled"


def test_the_same_key_makes_one_job(client: Client) -> None:
    keyed = client.background.using(idempotency_key="sdk-monday")
    assert keyed.do_eval(HALF, index=1).id == keyed.do_eval(HALF, index=1).id


def test_images_of_a_job_come_one_by_one(client: Client) -> None:
    job = client.background.index_apply(3, wave, graphics=True)
    job.wait(200)
    assert [image.filename for image in job.images()] == ["1-1.png", "2-1.png", "3-1.png"]
    assert [call.dat["hz"] for call in job.result()] == [1, 2, 3]


def test_a_result_becomes_a_table_for_later_queries(client: Client) -> None:
    """Whether the value is waited for or the run is a job."""
    table = {"name": "SDK_HALVES", "overwrite": True}
    kept = client.using(result_table=table)
    before = {info.id for info in client.jobs.list()}
    assert kept.index_apply(3, half) == [0.5, 1, 1.5]
    assert {info.id for info in client.jobs.list()} == before
    assert client.tables.preview("sdk_halves", frames=False)[2] == {"INDEX": 3, "VALUE": 1.5}
    info = kept.background.index_apply(4, half).wait(200)
    assert info.result_table == {"name": "SDK_HALVES", "state": "written", "error": None}
    assert client.table_apply("sdk_halves", "def count(dat):\n    return len(dat)\n") == 4
    with pytest.raises(errors.TableExists):
        client.using(result_table="SDK_HALVES").index_apply(2, half)


def test_a_result_that_is_no_table_is_told_and_is_not_lost(client: Client) -> None:
    nested = "def nested(i):\n    return {'a': [i]}\n"
    job = client.background.using(result_table="SDK_NESTED").index_apply(2, nested)
    with pytest.raises(errors.NotTabular, match=job.id) as told:
        job.result(60)
    assert told.value.details["job"] == job.id
    assert [call.value for call in job.results()] == [{"a": [1]}, {"a": [2]}]


def test_a_run_ends_when_its_mean_is_known(client: Client) -> None:
    noise = "def noise(i, rng):\n    return float(rng.normal())\n"
    stop = {"se": 0.1, "min_calls": 40}
    enough = client.using(seed=7, stop_when=stop)
    values = enough.index_apply(2000, noise, parallel=True)
    assert 40 < len(values) < 2000
    job = enough.background.index_apply(2000, noise)
    assert job.wait(200).stopped == {"at": len(values), "asked": 2000}
    assert job.summary()["standardError"] <= 0.1


# ------------------------------------------------------------------------------------------- twins


async def test_the_awaiting_client_does_the_same(server: Server) -> None:
    async with AsyncClient(server.url, username="alice", password=PASSWORD) as client:
        several = await asyncio.gather(*(client.index_apply(3, half, by=n) for n in (1, 2, 4)))
        assert several == [[1, 2, 3], [0.5, 1, 1.5], [0.25, 0.5, 0.75]]
        job = await client.background.index_apply(10, half)
        assert [result.value async for result in job.results()] == [i / 2 for i in range(1, 11)]
        assert {result.index async for result in job.as_completed()} == set(range(1, 11))
        assert await job.result() == [i / 2 for i in range(1, 11)]
        assert job.id in [found.id async for found in client.jobs.list()]
        with pytest.raises(errors.UnknownScript):
            await client.do_eval("sdk_nothing_of_that_name")


def test_the_twins_have_the_same_methods_with_the_same_signatures(server: Server) -> None:
    blocking = Client(server.url, token="x")
    awaiting = AsyncClient(server.url, token="x")
    for one, other in [
        (blocking, awaiting),
        (blocking.scripts, awaiting.scripts),
        (blocking.tables, awaiting.tables),
        (blocking.jobs, awaiting.jobs),
        (blocking.ds, awaiting.ds),
        (blocking.environments, awaiting.environments),
        (blocking.background, awaiting.background),
        (blocking.job("x"), awaiting.job("x")),
    ]:
        assert _methods(one) == _methods(other)
    expected = "(times: 'int', func: 'Function', func_owner: 'str | None' = None"
    assert str(inspect.signature(blocking.index_apply)).startswith(expected)


def _methods(part: object) -> dict[str, str]:
    names = [name for name in dir(part) if not name.startswith("_")]
    methods = {name: getattr(part, name) for name in names}
    return {
        name: str(inspect.signature(method))
        for name, method in methods.items()
        if inspect.isroutine(method)
    }


# ------------------------------------------------------------------------------------------ tokens


def test_a_token_is_refreshed_before_it_ends(server: Server) -> None:
    """With an hour's token and a clock that runs ahead: the old one goes on until its own end."""
    now = time.time()
    session = Session(server.url, Login(token="first", expires=now + 30), clock=lambda: now)
    course = Course(session.freshen())
    asked = course.command
    assert isinstance(asked, Send)
    assert asked.request.body == b'{"grant_type":"refresh_token","token":"first"}'
    course.send(Response(200, {}, b'{"accessToken":"second","expiresIn":3600}'))
    assert course.command is None
    assert session.token == "second"
    assert Course(session.freshen()).command is None


def test_a_token_that_has_ended_is_renewed_by_the_password(server: Server) -> None:
    with Client(server.url, username="alice", password=PASSWORD) as client:
        token = client.log_in()
        with Client(server.url, token=token) as other:
            assert other.index_apply(1, HALF) == [0.5]
        with server.client() as plain:
            plain.post("/omlusers/api/oauth2/v1/revoke", json={"token": token})
        assert client.index_apply(1, HALF) == [0.5]


def test_a_wrong_password_is_told(server: Server) -> None:
    with (
        Client(server.url, username="sdk_nobody", password="wrong") as client,
        pytest.raises(errors.WrongCredentials),
    ):
        client.do_eval("x")


def test_what_is_not_given_comes_from_the_environment_and_then_from_the_profile(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "profiles.json"
    monkeypatch.setenv("FANFOLD_PROFILES", str(file))
    for name in ("FANFOLD_URL", "FANFOLD_TOKEN", "FANFOLD_USERNAME", "FANFOLD_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotLoggedIn, match="fanfold login"):
        Client()
    token = server.token("bob")
    write_profile("default", Profile(server.url, "bob", token, time.time() + 3000), file)
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    with Client() as kept:
        assert kept.index_apply(1, HALF) == [0.5]
    write_profile("default", Profile(server.url, "bob", token, time.time() + 1), file)
    with Client() as renewing:
        assert renewing.index_apply(1, HALF) == [0.5]
    renewed = read_profile("default", file)
    assert renewed is not None
    assert renewed.token != token
    monkeypatch.setenv("FANFOLD_URL", server.url)
    monkeypatch.setenv("FANFOLD_USERNAME", "alice")
    monkeypatch.setenv("FANFOLD_PASSWORD", PASSWORD)
    with Client() as client:
        assert client.scripts.publish(HALF, name="sdk_env").owner == "ALICE"
    assert os.environ["FANFOLD_URL"] == server.url
