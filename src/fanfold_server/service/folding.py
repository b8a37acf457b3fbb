"""From the outcomes of a run's calls to the one JSON answer. Pure; values are spliced, not read.

The shapes are the compatible wire's: the value itself for one call, a list in index order for
index-apply, and with figures a list (do-eval) or an object keyed "0", "1", … (index-apply) of
images, whose member DATA holds the call's value as JSON *text*. Chunks are joined to one list, for
which the worker has written each value as an array of what it adds; groups are an object by key.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import assert_never

import msgspec
import orjson

from fanfold_server.model.apply import Apply, Chunks, Groups, Index, Once, OnError, Split, Whole
from fanfold_server.model.outcome import Failed, Failure, FailureKind, Image, Returned, Values

_start = attrgetter("start")
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Gathered:
    """The recorder of a run whose caller waits: outcomes in memory, in whatever order they come.

    Attributes:
        size_bytes: of all values and images so far.
    """

    __slots__ = ("failed", "returned", "size_bytes", "values_")

    def __init__(self) -> None:
        self.values_: list[Values] = []
        self.returned: list[Returned] = []
        self.failed: list[Failed] = []
        self.size_bytes = 0

    def values(self, values: Values) -> None:
        self.values_.append(values)
        self.size_bytes += len(values.json)

    def outcome(self, outcome: Returned | Failed) -> None:
        if isinstance(outcome, Failed):
            self.failed.append(outcome)
        else:
            self.returned.append(outcome)
            self.size_bytes += len(outcome.json) + sum(len(i.png) for i in outcome.images) * 4 // 3


def first_failure(gathered: Gathered) -> Failed | None:
    """Return the failed call of the lowest index; one that was cancelled blames another."""
    return min(gathered.failed, key=attrgetter("index"), default=None)


def fold(apply: Apply, gathered: Gathered, keys: Sequence[str] | None = None) -> list[bytes]:
    """Return the answer's body in pieces, to be sent one after another.

    Args:
        keys: of the groups, in call order.

    With `onError` "continue" a failed call holds `null`, and a member `errors` lists the failures
    in index order. With "fail" there must be no failure.
    """
    if apply.graphics:
        pieces = _images(apply.split, gathered, keys)
    else:
        match apply.split:
            case Once() | Whole():
                pieces = [b'{"result":', *_texts(gathered)]
            case Index():
                pieces = [b'{"result":[', *_joined(_texts(gathered)), b"]"]
            case Chunks():
                pieces = [b'{"result":[', *_joined(spliced(_values(gathered))), b"]"]
            case Groups():
                assert keys is not None, "groups have keys"
                members = map(keyed, keys, _values(gathered))
                pieces = [b'{"result":{', *_joined(members), b"}"]
            case _:
                assert_never(apply.split)
    if apply.on_error is OnError.CONTINUE and gathered.failed:
        failed = sorted(gathered.failed, key=attrgetter("index"))
        indexed = not isinstance(apply.split, Once | Whole)
        errors = [error_entry(named(f, keys), indexed=indexed) for f in failed]
        pieces.append(b',"errors":')
        pieces.append(orjson.dumps(errors))
    pieces.append(b"}")
    return pieces


def named(failed: Failed, keys: Sequence[str] | None) -> Failed:
    """Return a failed call with its group's key, if it has one."""
    return failed if keys is None else replace(failed, name=keys[failed.index - 1])


def spliced(values: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what each value, an array, adds to the list of all chunks; empty ones add nothing.

    A worker that sends something else than an array (or `null`, for a failed call) spoils nothing
    but its own run: then the value is one element.
    """
    for value in values:
        text = value.strip()
        if text[:1] != b"[":
            yield text
        elif inner := text[1:-1].strip():
            yield inner


def keyed(key: str, value: bytes) -> bytes:
    """Return a group's member of the answer."""
    return _text(key) + b":" + value


def failure_members(failed: Failed, *, indexed: bool) -> dict[str, object]:
    """Return the error object of a failed call: the wire's two members, then ours."""
    failure = failed.failure
    members: dict[str, object] = {
        "errorMessage": _message(failure),
        "errorCode": int(failure.kind),
        "errorType": failure.type,
    }
    if failure.traceback:
        members["traceback"] = failure.traceback
    if indexed:
        members["index"] = failed.index
    if failed.name is not None:
        members["name"] = failed.name
    return members


def _message(failure: Failure) -> str:
    """What the compatible wire says word for word; else the exception as Python prints it."""
    match failure.kind:
        case FailureKind.PRINTED:
            return (
                "Output malformed JSON. This could be caused by explicitly calling print() in the "
                "executed Python script. Remove print() call from the script should solve the "
                "issue."
            )
        case FailureKind.RAISED | FailureKind.LOAD:
            return f"{failure.type}: {failure.message}" if failure.message else failure.type
        case FailureKind.OUT_OF_MEMORY:
            return failure.message or "out of memory"
        case _:
            return failure.message


def error_entry(failed: Failed, *, indexed: bool) -> dict[str, object]:
    """Return a failed call as the member `errors` lists it."""
    failure = failed.failure
    entry: dict[str, object] = {"index": failed.index} if indexed else {}
    if failed.name is not None:
        entry["name"] = failed.name
    return entry | {
        "code": int(failure.kind),
        "type": failure.type,
        "message": failure.message or _message(failure),
        "traceback": failure.traceback,
    }


def _texts(gathered: Gathered) -> list[bytes]:
    """Return the JSON texts of all calls in index order; a stretch of plain values is one text."""
    if not gathered.returned and not gathered.failed:
        if len(gathered.values_) == 1:
            return [gathered.values_[0].json]
        return [values.json for values in sorted(gathered.values_, key=_start)]
    numbered = [(values.start, values.json) for values in gathered.values_]
    numbered += [(r.index, r.json) for r in gathered.returned]
    numbered += [(f.index, b"null") for f in gathered.failed]
    numbered.sort()
    return [text for _, text in numbered]


def _values(gathered: Gathered) -> Iterator[bytes]:
    """Yield the JSON text of each call in index order; `null` for a failed one."""
    parts: list[tuple[int, int, bytes]] = [(v.start, v.count, v.json) for v in gathered.values_]
    parts += [(r.index, 1, r.json) for r in gathered.returned]
    parts += [(f.index, 1, b"null") for f in gathered.failed]
    parts.sort()
    for _, count, text in parts:
        if count == 1:
            yield text
        else:
            yield from map(bytes, _split(b"[%b]" % text))


def _joined(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Put commas between the texts."""
    first = True
    for text in texts:
        if not first:
            yield b","
        first = False
        yield text


def _images(split: Split, gathered: Gathered, keys: Sequence[str] | None) -> list[bytes]:
    """Return `{"result":…` of a run with figures, without the closing brace."""
    outcomes: list[Returned | Failed] = [*gathered.returned, *gathered.failed]
    outcomes.sort(key=attrgetter("index"))
    objects = (
        image
        for outcome in outcomes
        for image in image_objects(outcome, call_member(split, outcome.index, keys))
    )
    if isinstance(split, Once | Whole):
        return [b'{"result":[', *_joined(objects), b"]"]
    entries = (b'"%d":%s' % entry for entry in enumerate(objects))
    return [b'{"result":{', *_joined(entries), b"}"]


def call_member(split: Split, index: int, keys: Sequence[str] | None) -> bytes:
    """Return the member of an image object that says which call drew it, with a comma before it.

    `TIME` is the index; `NAME` is the number of the chunk, as text, or the key of the group.
    """
    match split:
        case Once() | Whole():
            return b""
        case Index():
            return b',"TIME":%d' % index
        case Chunks():
            return b',"NAME":"%d"' % index
        case Groups():
            assert keys is not None, "groups have keys"
            return b',"NAME":' + _text(keys[index - 1])
        case _:
            assert_never(split)


def image_objects(outcome: Returned | Failed, timed: bytes) -> Iterator[bytes]:
    """Yield the image objects of one call; one with DATA alone if nothing was drawn.

    A failed call is one `null`.

    Args:
        timed: the member that names the call, see `call_member`.
    """
    if isinstance(outcome, Failed):
        yield b"null"
        return
    data = orjson.dumps(str(outcome.json, "utf-8"))
    if not outcome.images:
        yield b'{"DATA":%s%s}' % (data, timed)
    for number, image in enumerate(outcome.images, 1):
        yield _image_object(image, number, data, timed)


def _image_object(image: Image, number: int, data: bytes, timed: bytes) -> bytes:
    encoded = binascii.b2a_base64(image.png, newline=False)
    title = b',"TITLE":' + _text(image.title) if image.title is not None else b""
    return b'{"IMAGE":"%s","DATA":%s%s%s,"ID":%d}' % (encoded, data, timed, title, number)


def _text(text: str) -> bytes:
    """Encode text of a worker's as a JSON string; lone surrogates become question marks."""
    return orjson.dumps(text.encode("utf-8", "replace").decode())
