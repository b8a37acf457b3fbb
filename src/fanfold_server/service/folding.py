"""From the outcomes of a run's calls to the one JSON answer. Pure; values are spliced, not read.

The shapes are the compatible wire's: the value itself for one call, a list in index order for
index-apply, and with figures a list (do-eval) or an object keyed "0", "1", … (index-apply) of
images, whose member DATA holds the call's value as JSON *text*.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from itertools import count
from operator import attrgetter

import orjson

from fanfold_server.model.apply import Apply, Index, OnError
from fanfold_server.model.outcome import Failed, Failure, FailureKind, Image, Returned, Values

_start = attrgetter("start")


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


def fold(apply: Apply, gathered: Gathered) -> list[bytes]:
    """Return the answer's body in pieces, to be sent one after another.

    With `onError` "continue" a failed call holds `null`, and a member `errors` lists the failures
    in index order. With "fail" there must be no failure.
    """
    if apply.graphics:
        pieces = _images(apply, gathered)
    elif isinstance(apply.split, Index):
        pieces = [b'{"result":[', *_joined(_texts(gathered)), b"]"]
    else:
        pieces = [b'{"result":', *_texts(gathered)]
    if apply.on_error is OnError.CONTINUE and gathered.failed:
        failed = sorted(gathered.failed, key=attrgetter("index"))
        indexed = isinstance(apply.split, Index)
        errors = [error_entry(f, indexed=indexed) for f in failed]
        pieces.append(b',"errors":')
        pieces.append(orjson.dumps(errors))
    pieces.append(b"}")
    return pieces


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
            return f"out of memory: {failure.message}" if failure.message else "out of memory"
        case _:
            return failure.message


def error_entry(failed: Failed, *, indexed: bool) -> dict[str, object]:
    """Return a failed call as the member `errors` lists it."""
    failure = failed.failure
    entry: dict[str, object] = {"index": failed.index} if indexed else {}
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


def _joined(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Put commas between the texts."""
    first = True
    for text in texts:
        if not first:
            yield b","
        first = False
        yield text


def _images(apply: Apply, gathered: Gathered) -> list[bytes]:
    """Return `{"result":…` of a run with figures, without the closing brace."""
    returned = sorted(gathered.returned, key=attrgetter("index"))
    if isinstance(apply.split, Index):
        numbers = count()
        entries = (
            b'"%d":%s' % (next(numbers), image)
            for outcome in returned
            for image in image_objects(outcome, time=outcome.index)
        )
        return [b'{"result":{', *_joined(entries), b"}"]
    objects = (image for outcome in returned for image in image_objects(outcome, time=None))
    return [b'{"result":[', *_joined(objects), b"]"]


def image_objects(outcome: Returned, *, time: int | None) -> Iterator[bytes]:
    """Yield the image objects of one call; one with DATA alone if nothing was drawn."""
    data = orjson.dumps(str(outcome.json, "utf-8"))
    timed = b',"TIME":%d' % time if time is not None else b""
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
