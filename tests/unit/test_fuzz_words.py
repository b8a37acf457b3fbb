"""What callers write, hurt in every way: tokens, bodies of logins, parameters of runs.

Whatever it is, it is understood, or refused by an error of ours that tells the caller what is
wrong; never by one that nobody expected.
"""

from __future__ import annotations

import asyncio
import json
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fanfold_server.http.errors import error_body
from fanfold_server.http.front import Front
from fanfold_server.http.run_schemas import BODIES, RunRequest, read_run
from fanfold_server.http.surface import bearer_token
from fanfold_server.model.actor import Role
from fanfold_server.model.errors import CallerError
from fanfold_server.service.tokens import PREFIX
from tests.fakes.surface import client_of, open_front, token_of

TOKEN = "/omlusers/api/oauth2/v1/token"
REVOKE = "/omlusers/api/oauth2/v1/revoke"
SCRIPTS = "/api/v1/scripts"


@contextmanager
def surface(folder: Path) -> Iterator[tuple[asyncio.Runner, Front]]:
    """Open the surface, and a loop on which it runs, for all inputs of a test."""
    with asyncio.Runner() as loop:
        opened = open_front(folder, users={"alice": Role.DEVELOPER})
        front = loop.run(opened.__aenter__())
        try:
            yield loop, front
        finally:
            loop.run(opened.__aexit__(None, None, None))


# ------------------------------------------------------------------------------------ tokens


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_a_header_holds_a_token_or_does_not(text: str) -> None:
    """Headers are bytes, and reach us as Latin-1."""
    token = bearer_token(text)
    assert token is None or (token and text.rstrip().endswith(token) and token == token.strip())
    assert bearer_token(None) is None
    assert bearer_token(f"bEaReR  {text}.x ") == f"{text}.x".strip()


def test_no_token_but_an_issued_one_opens_anything(tmp_path: Path) -> None:
    with surface(tmp_path) as (loop, front):
        good = loop.run(token_of(front, "alice"))

        async def ask(header: bytes) -> int:
            async with client_of(front) as client:
                answer = await client.get(SCRIPTS, headers={b"Authorization": header})
            if answer.status_code != 200:
                assert {"errorMessage", "errorCode"} <= set(answer.json())
            return answer.status_code

        words = st.sampled_from([good, PREFIX, "eyJhbGciOiJub25lIn0.e30.", "Bearer", "null", "="])
        tokens = st.lists(words | st.text(string.printable, max_size=6), max_size=4).map("".join)

        @given(
            scheme=st.sampled_from(["Bearer", "bearer", "Basic", "", "Bearer Bearer"]), token=tokens
        )
        @example(scheme="Bearer", token=good)
        @settings(max_examples=150, deadline=None)
        def holds(scheme: str, token: str) -> None:
            line = "".join(c for c in f"{scheme} {token}" if c not in "\r\n\0\x0b\x0c")
            status = loop.run(ask(line.encode("latin-1")))
            assert status == (200 if bearer_token(line) == good else 401)

        holds()
        raw = st.binary(max_size=60).map(
            lambda text: bytes(c for c in text if c >= 32 and c != 127)
        )

        @given(raw)
        @settings(max_examples=80, deadline=None)
        def bytes_too(text: bytes) -> None:
            assert loop.run(ask(b"Bearer " + text)) == 401

        bytes_too()


MEMBER = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=3))
)
GRANT = st.sampled_from(["password", "refresh_token", "revoke", "Password", ""])
LOGIN = st.fixed_dictionaries(
    {},
    optional={
        "grant_type": GRANT | MEMBER,
        "username": st.sampled_from(["alice", "ALICE", "\u017f", "a" * 5000]) | MEMBER,
        "password": MEMBER,
        "refresh_token": MEMBER,
        "token": MEMBER,
    },
)


def test_no_body_of_a_login_does_anything_but_be_refused(tmp_path: Path) -> None:
    with surface(tmp_path) as (loop, front):

        async def post(path: str, body: bytes, kind: str) -> Any:
            async with client_of(front) as client:
                return await client.post(path, content=body, headers={"Content-Type": kind})

        written = LOGIN.map(lambda members: json.dumps(members).encode())
        forms = st.lists(
            st.tuples(
                st.sampled_from(["grant_type", "token", "username", "%"]), st.text(max_size=9)
            ),
            max_size=40,
        ).map(
            lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode(
                "utf-8", "replace"
            )
        )

        @given(
            path=st.sampled_from([TOKEN, REVOKE]),
            body=written | forms | st.binary(max_size=60),
            kind=st.sampled_from(["application/json", "application/x-www-form-urlencoded", ""]),
        )
        @settings(max_examples=250, deadline=None)
        def holds(path: str, body: bytes, kind: str) -> None:
            answer = loop.run(post(path, body, kind))
            assert answer.status_code in {200, 400, 401, 429}
            if answer.status_code == 200:
                assert answer.json() == {"result": "token revoked successfully"}
            else:
                assert {"errorMessage", "errorCode"} <= set(answer.json())

        holds()


# ------------------------------------------------------------------------------------ parameters

NAME = st.sampled_from(
    [
        *("oml_input_type", "oml_na_omit", "oml_async_flag", "oml_graphics_flag"),
        *("oml_parallel_flag", "oml_service_level", "oml_", "oml_unknown", "num", ""),
    ]
)
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["pandas.DataFrame", "numpy.recarray", "default", "true", "HIGH", "low"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
MEMBERS = st.dictionaries(NAME | st.text(max_size=5), VALUE, max_size=5)
TEXTS = (
    MEMBERS.map(json.dumps)
    | st.text(max_size=40)
    | st.sampled_from(
        [
            *("{", "[]", "7", "null", '{"oml_na_omit":1e999}', '{"a":"\\ud800"}', "\ufeff{}"),
            *("[" * 2000, '{"a":' * 500 + "1" + "}" * 500, '{"oml_x":' + "9" * 5000 + "}"),
            *('{"oml_x":1,"n":' + "9" * 5000 + "}", '{"n":' + "9" * 5000 + "}", '{"a":1,"a":2}'),
        ]
    )
)
RUN_BODY = st.fixed_dictionaries(
    {},
    optional={
        "parameters": TEXTS | MEMBERS | VALUE,
        "times": st.integers(-1, 3),
        "input": st.sampled_from(["select 1 a", "T", " ", "\0"]),
        "rows": st.integers(0, 3),
        "groupBy": st.text(max_size=6),
        "orderBy": st.text(max_size=6),
        "asyncFlag": st.booleans() | VALUE,
        "timeout": st.integers(-1, 10**12) | VALUE,
        "service": st.text(max_size=6) | VALUE,
        "envName": VALUE,
        "seed": st.integers(-1, 2**64),
        "callTimeout": st.floats() | st.integers(),
        "resultTable": MEMBERS | VALUE,
        "stopWhen": MEMBERS | VALUE,
    },
)


def understood(verb: str, version: str, body: bytes, *, strict: bool) -> RunRequest | None:
    try:
        return read_run(verb, version, body, strict=strict)
    except CallerError as exc:
        refusal = exc
    assert orjson.loads(error_body(refusal))["errorMessage"]
    return None


@given(
    verb=st.sampled_from(sorted(BODIES)),
    version=st.sampled_from(["v1", "v2"]),
    members=RUN_BODY,
    strict=st.booleans(),
)
@example(
    verb="do-eval",
    version="v1",
    strict=False,
    members={"parameters": '{"oml_x":' + "9" * 5000 + "}"},
)
@settings(max_examples=600)
def test_what_a_run_is_asked_with_is_understood_or_refused(
    verb: str, version: str, members: dict[str, Any], strict: bool
) -> None:
    asked = understood(verb, version, json.dumps(members).encode(), strict=strict)
    if asked is None:
        return
    passed = orjson.loads(asked.parameters)
    assert isinstance(passed, dict)
    assert not any(name.startswith("oml_") for name in passed), "control arguments stay here"
    given_text = members.get("parameters")
    given_members = given_text
    if isinstance(given_text, str):
        given_members = json.loads(given_text) if given_text.strip() else None
    for name, value in (given_members or {}).items():
        if not name.startswith("oml_"):
            assert json.loads(asked.parameters)[name] == value


@given(verb=st.sampled_from(sorted(BODIES)), body=st.binary(max_size=80))
@settings(max_examples=300)
def test_no_bytes_are_more_than_refused(verb: str, body: bytes) -> None:
    understood(verb, "v2", body, strict=False)
    understood(verb, "v2", b'{"times":1,"parameters":' + body + b"}", strict=True)


@pytest.mark.parametrize("verb", sorted(BODIES))
def test_a_number_of_thousands_of_digits_is_refused_by_name(verb: str) -> None:
    """Python refuses to read one; beside a control argument we would have had to."""
    members = {"times": 1, "input": "T", "rows": 1, "groupBy": "a"}
    for text in ('{"oml_x":%s}', '{"oml_na_omit":true,"n":%s}'):
        body = json.dumps({**members, "parameters": text % ("9" * 5000)}).encode()
        with pytest.raises(CallerError, match="parameters"):
            read_run(verb, "v2", body, strict=False)
