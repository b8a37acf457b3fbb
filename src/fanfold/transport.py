"""The only file that speaks HTTP: two thin drivers of `Steps`, one that blocks and one that awaits.

They carry out commands and decide nothing. httpx2 is imported with the first request, so that
importing the client costs next to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
import time
import weakref
from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from fanfold.faults import FanfoldError, Unreachable
from fanfold.interrupts import Interrupts
from fanfold.messages import (
    Close,
    Command,
    Course,
    Give,
    Open,
    Pause,
    Read,
    Request,
    Response,
    Send,
    Upload,
)

if TYPE_CHECKING:
    import httpx2

    from fanfold.messages import Steps

T = TypeVar("T")

CONNECT_LIMIT_S = 10.0
PIECE_BYTES = 1 << 18
_ERRORS = 400


class Blocking:
    """Carries out commands on the calling thread. May be used from several threads.

    Args:
        url: of the server.
        verify: whether, or by which file of certificates, a server's TLS is checked.
    """

    def __init__(self, url: str, *, verify: bool | str = True) -> None:
        self._url = url
        self._verify = verify
        self._opened: httpx2.Client | None = None
        self._is_closed = False
        self._opening = threading.Lock()

    def close(self) -> None:
        """Close the connections, for good."""
        with self._opening:
            self._is_closed = True
            if self._opened is not None:
                self._opened.close()

    def run(self, steps: Steps[T]) -> T:
        """Carry steps out to their end; give their result."""
        try:
            return self._run(steps)
        except FanfoldError as exc:
            raise exc.with_traceback(None)  # noqa: B904  # it is the same, without our own frames

    def _run(self, steps: Steps[T]) -> T:
        course = Course(steps)
        with contextlib.ExitStack() as streams:
            while course.command is not None:
                try:
                    answer = self._perform(course.command, streams)
                except BaseException as exc:  # whatever it is, also Ctrl-C, the steps decide
                    course.throw(exc)
                else:
                    course.send(answer)
        return course.result()

    def iterate(self, steps: Steps[None]) -> Iterator[Any]:
        """Carry steps out as far as the next value is asked for."""
        course = Course(steps)
        with contextlib.ExitStack() as streams, contextlib.closing(steps):
            while course.command is not None:
                if isinstance(course.command, Give):
                    yield course.command.value
                    course.send(None)
                    continue
                try:
                    answer = self._perform(course.command, streams)
                except BaseException as exc:  # as above
                    course.throw(exc)
                else:
                    course.send(answer)

    def _perform(self, command: Command, streams: contextlib.ExitStack) -> Any:
        with _wrapped(self._url):
            match command:
                case Send(request):
                    answer = self._client().request(**_arguments(request, _pieces(request)))
                    return _response(answer, answer.content)
                case Open(request):
                    opening = self._client().stream(**_arguments(request, _pieces(request)))
                    answer = streams.enter_context(opening)
                    if answer.status_code >= _ERRORS:
                        return _response(answer, answer.read())
                    return _response(answer, b"", (answer, answer.iter_raw()))
                case Read(stream):
                    return next(stream[1], b"")  # type: ignore[index]  # one of ours
                case Close(stream):
                    return stream[0].close()  # type: ignore[index]  # one of ours
                case Pause(seconds):
                    time.sleep(seconds)
                    return None
                case Give():
                    raise AssertionError("only a stream gives values")

    def _client(self) -> httpx2.Client:
        with self._opening:
            if self._is_closed:
                raise Unreachable("This client is closed.")
            if self._opened is None:
                library = importlib.import_module("httpx2")
                self._opened = library.Client(
                    base_url=self._url, verify=self._verify, timeout=None, trust_env=True
                )
                # Who never closes it, as most do in a notebook, is not warned of it at the end.
                weakref.finalize(self, self._opened.close)
            return self._opened


class Awaiting:
    """Carries out commands on the running event loop.

    Args:
        url, verify: as of `Blocking`.
        asks: somebody is there to be asked what Ctrl-C means: steps are told of it.
    """

    def __init__(self, url: str, *, verify: bool | str = True, asks: bool = False) -> None:
        self._interrupts = Interrupts() if asks else None
        self._url = url
        self._verify = verify
        self._opened: httpx2.AsyncClient | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Close the connections, for good."""
        self._is_closed = True
        if self._opened is not None:
            await self._opened.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """Carry steps out to their end; give their result."""
        try:
            return await self._run(steps)
        except FanfoldError as exc:
            raise exc.with_traceback(None)  # noqa: B904  # as in `Blocking`

    async def _run(self, steps: Steps[T]) -> T:
        course = Course(steps)
        async with contextlib.AsyncExitStack() as streams:
            pressed = 0
            if self._interrupts is not None:
                pressed = streams.enter_context(self._interrupts).count
            while course.command is not None:
                try:
                    answer = await self._perform(course.command, streams)
                except asyncio.CancelledError as exc:
                    if self._interrupts is None or self._interrupts.count == pressed:
                        course.throw(exc)
                        continue
                    pressed = self._interrupts.count
                    try:
                        course.throw(KeyboardInterrupt())
                    except KeyboardInterrupt:  # which no task may raise: the loop would break
                        raise exc from None
                except BaseException as exc:  # as in `Blocking`
                    course.throw(exc)
                else:
                    course.send(answer)
        return course.result()

    async def iterate(self, steps: Steps[None]) -> AsyncIterator[Any]:
        """Carry steps out as far as the next value is asked for."""
        course = Course(steps)
        async with contextlib.AsyncExitStack() as streams:
            streams.callback(steps.close)
            while course.command is not None:
                if isinstance(course.command, Give):
                    yield course.command.value
                    course.send(None)
                    continue
                try:
                    answer = await self._perform(course.command, streams)
                except BaseException as exc:  # as above
                    course.throw(exc)
                else:
                    course.send(answer)

    async def _perform(self, command: Command, streams: contextlib.AsyncExitStack) -> Any:
        with _wrapped(self._url):
            match command:
                case Send(request):
                    pieces = _apieces(request)
                    answer = await self._client().request(**_arguments(request, pieces))
                    return _response(answer, answer.content)
                case Open(request):
                    opening = self._client().stream(**_arguments(request, _apieces(request)))
                    answer = await streams.enter_async_context(opening)
                    if answer.status_code >= _ERRORS:
                        return _response(answer, await answer.aread())
                    return _response(answer, b"", (answer, answer.aiter_raw()))
                case Read(stream):
                    return await anext(stream[1], b"")  # type: ignore[index]  # one of ours
                case Close(stream):
                    return await stream[0].aclose()  # type: ignore[index]  # one of ours
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                    return None
                case Give():
                    raise AssertionError("only a stream gives values")

    def _client(self) -> httpx2.AsyncClient:
        if self._is_closed:
            raise Unreachable("This client is closed.")
        if self._opened is None:
            library = importlib.import_module("httpx2")
            self._opened = library.AsyncClient(
                base_url=self._url, verify=self._verify, timeout=None, trust_env=True
            )
        return self._opened


@contextlib.contextmanager
def _wrapped(url: str) -> Generator[None]:
    """Say in our words what may fail between here and the server."""
    library = importlib.import_module("httpx2")
    try:
        yield
    except (library.HTTPError, library.InvalidURL, OSError) as exc:
        reason = str(exc) or type(exc).__name__
        raise Unreachable(f"Cannot reach {url}: {reason}.") from exc


def _arguments(request: Request, body: object) -> dict[str, Any]:
    library = importlib.import_module("httpx2")
    timeout = library.Timeout(request.limit_s, connect=CONNECT_LIMIT_S)
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.query) or None,
        # Pieces of a stream are to come as they are written, not when a compressor lets them go.
        "headers": {"accept-encoding": "identity", **request.headers},
        "content": body,
        "timeout": timeout,
    }


def _pieces(request: Request) -> bytes | Iterator[bytes] | None:
    return _read(request.body) if isinstance(request.body, Upload) else request.body


def _apieces(request: Request) -> bytes | AsyncIterator[bytes] | None:
    return _aread(request.body) if isinstance(request.body, Upload) else request.body


def _read(upload: Upload) -> Iterator[bytes]:
    with upload.path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
            upload.tell(len(piece))


async def _aread(upload: Upload) -> AsyncIterator[bytes]:
    for piece in _read(upload):
        yield piece


def _response(answer: httpx2.Response, body: bytes, stream: object = None) -> Response:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(answer.status_code, headers, body, stream)
