"""A returned object as JSON bytes: one normaliser, then the fastest encoder the environment has.

`to_plain` is the reference: it turns what a script may return into None, bool, int, float, str,
list and dict. `Encoder.many` takes shortcuts for lists of plain numbers; a property test holds it
to the reference. What has no JSON form raises `NotJson` with the place and the cure.

JSON has no NaN or infinity: they become null, as do NaT and NA. Dates are ISO 8601 text, bytes
base64 text, enumerations their values, DataFrames lists of records without row labels.
"""

import base64
import datetime
import decimal
import enum
import json
import math
import re
import sys
import uuid

MAX_DEPTH = 200
"""Containers inside containers; deeper values are refused."""

FRAME_DECIMALS = 10
"""Decimals of a DataFrame's floats on the compatible wire."""

_EXACT_BELOW = 1e16
"""From here on a float's shortest text has an exponent and no `.0` to drop."""

_dumps = json.dumps
_isfinite = math.isfinite
_NUMBERS = frozenset((int, bool, type(None)))
_NUMBERS_AND_FLOATS = frozenset((int, bool, type(None), float))
_POINT_ZERO = re.compile(rb"\.0(?=[,\]])")
_MINUS_ZERO = re.compile(rb"-0\.0(?=[,\]])")


class NotJson(Exception):
    """The value, or a part of it, has no JSON form."""


class TooLong(Exception):
    """len() of the returned object is over the limit; `args` = (length,)."""


def _load_orjson():
    try:
        import orjson
    except Exception:  # a broken optional library is the same as none
        return None
    return orjson


class Encoder:
    """Turns returned objects into JSON bytes.

    Args:
        keep_point_zero: write 6.0 as `6.0` instead of `6`.
        round_frames: round floats of DataFrames to 10 decimals.
        max_len: refuse objects whose len() is over this; 0 means no limit.
    """

    def __init__(self, keep_point_zero, round_frames, max_len, use_orjson=True):
        self.keep_point_zero = keep_point_zero
        self.round_frames = round_frames
        self.max_len = max_len
        self._orjson = _load_orjson() if use_orjson else None

    # ------------------------------------------------------------------ entry points

    def many(self, values):
        """Return a JSON array of the values as bytes.

        Raises:
            TooLong, NotJson: about one of them; find out which with `one`.
        """
        kinds = set(map(type, values))
        if kinds <= _NUMBERS:
            return self._text(values)
        if kinds <= _NUMBERS_AND_FLOATS:
            return self._numbers(values)
        return self._text([self._plain(v) for v in values])

    def one(self, value):
        """Return the value as JSON bytes. Raises TooLong or NotJson."""
        return self._text(self._plain(value))

    # ------------------------------------------------------------------ inside

    def _plain(self, value):
        if self.max_len and type(value) not in _NUMBERS_AND_FLOATS:
            try:
                n = len(value)
            except TypeError:
                n = 0
            if n > self.max_len:
                raise TooLong(n)
        return to_plain(value, self.keep_point_zero, self.round_frames)

    def _numbers(self, values):
        if self._orjson is not None:
            try:
                text = self._orjson.dumps(values)  # NaN and infinities come out as null
            except TypeError:  # an int of more than 64 bits
                text = None
            if text is not None:
                if not self.keep_point_zero and b".0" in text:
                    if b"-0.0" in text:
                        text = _MINUS_ZERO.sub(b"0", text)
                    text = _POINT_ZERO.sub(b"", text)
                return text
        keep = self.keep_point_zero
        return self._text([_float(v, keep) if type(v) is float else v for v in values])

    def _text(self, plain):
        """Encode what `to_plain` made."""
        if self._orjson is not None:
            try:
                return self._orjson.dumps(plain)
            except (TypeError, RecursionError):
                pass  # large ints or lone surrogates: the standard library decides
        try:
            return _dumps(
                plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")
            ).encode()
        except UnicodeEncodeError:
            raise NotJson(
                "the value holds text that is not valid Unicode (a lone surrogate)"
            ) from None
        except ValueError as exc:  # an int of more digits than Python turns into text
            raise NotJson("the value has no JSON form: %s" % exc) from None


def _float(v, keep_point_zero):
    if not _isfinite(v):
        return None
    if keep_point_zero or v != v // 1 or not -_EXACT_BELOW < v < _EXACT_BELOW:
        return v
    return int(v)


def to_plain(value, keep_point_zero=False, round_frames=True):
    """Return the value as None, bool, int, float, str, list and dict with text keys.

    Raises:
        NotJson: some part has no JSON form, or is nested deeper than MAX_DEPTH.
    """
    return _Walk(keep_point_zero, round_frames).plain(value, "result", 0)


class _Walk:
    """One traversal; `path` says where we are, for the error message."""

    def __init__(self, keep_point_zero, round_frames):
        self.keep = keep_point_zero
        self.round_frames = round_frames

    def plain(self, v, path, depth):
        kind = type(v)
        if v is None or kind is bool or kind is int or kind is str:
            return v
        if kind is float:
            return _float(v, self.keep)
        if depth > MAX_DEPTH:
            raise NotJson(
                "%s is nested deeper than %d levels (does it hold itself?)" % (path[:60], MAX_DEPTH)
            )
        if kind is list or kind is tuple:
            return [self.plain(x, "%s[%d]" % (path, i), depth + 1) for i, x in enumerate(v)]
        if kind is dict:
            return self.mapping(v, path, depth)
        return self.other(v, path, depth)

    def mapping(self, v, path, depth):
        plain = {}
        for k, x in v.items():
            name = self.key(k, path)
            if name in plain:
                raise NotJson(
                    "%s has two keys that are both %r as JSON; use text" % (path[:80], name)
                )
            plain[name] = self.plain(x, "%s[%r]" % (path, k), depth + 1)
        return plain

    def key(self, k, path):
        if type(k) is str:
            return k
        plain = self.plain(k, path, MAX_DEPTH)
        if isinstance(plain, str):
            return plain
        if isinstance(plain, (list, dict)):
            raise NotJson(
                "%s has the key %.60r, which cannot be the name of a JSON member; use text"
                % (path, k)
            )
        return "null" if plain is None else _dumps(plain)

    def other(self, v, path, depth):
        if isinstance(v, enum.Enum):
            return self.plain(v.value, path, depth + 1)
        if isinstance(v, bool):
            return bool(v)
        if isinstance(v, int):
            return int(v)
        if isinstance(v, float):
            return _float(float(v), self.keep)
        if isinstance(v, str):
            return str.__str__(v)
        library = type(v).__module__.partition(".")[0]
        if library == "numpy":
            return self.numpy(v, path, depth)
        if library == "pandas":
            return self.pandas(v, path, depth)
        if isinstance(v, dict):
            return self.mapping(v, path, depth)
        if isinstance(v, (list, tuple)):
            return [self.plain(x, "%s[%d]" % (path, i), depth + 1) for i, x in enumerate(v)]
        if isinstance(v, (datetime.date, datetime.time)):  # datetime is a date
            return v.isoformat()
        if isinstance(v, datetime.timedelta):
            return _float(v.total_seconds(), self.keep)
        if isinstance(v, decimal.Decimal):
            return _float(float(v), self.keep)
        if isinstance(v, uuid.UUID):
            return str(v)
        if isinstance(v, (bytes, bytearray, memoryview)):
            return base64.b64encode(v).decode("ascii")
        for name in ("DataFrame", "Series", "ndarray"):  # subclasses from other modules
            base = getattr(sys.modules.get("numpy" if name == "ndarray" else "pandas"), name, None)
            if base is not None and isinstance(v, base):
                return (
                    self.numpy(v, path, depth) if name == "ndarray" else self.pandas(v, path, depth)
                )
        raise NotJson(_advice(v, path))

    def numpy(self, v, path, depth):
        np = sys.modules["numpy"]
        if isinstance(v, np.ma.MaskedArray):
            return self.plain(v.tolist(), path, depth)  # masked entries are None
        if isinstance(v, np.ndarray) or isinstance(v, np.generic):
            if v.dtype.kind == "M" or v.dtype.kind == "m":
                return self.times(v, path, depth)
            if v.dtype.kind == "V" and v.dtype.names:
                return self.records(v, path, depth)
            if v.dtype.kind not in "biufSUO":
                raise NotJson(_advice(v, path))
            plain = v.tolist()
            if isinstance(plain, (np.ndarray, np.generic)):  # longdouble stays what it is
                plain = float(v) if isinstance(v, np.generic) else v.astype(float).tolist()
            return self.plain(plain, path, depth)
        raise NotJson(_advice(v, path))

    def times(self, v, path, depth):
        """datetime64 as ISO 8601 text, timedelta64 as seconds; NaT as null."""
        np = sys.modules["numpy"]
        if v.dtype.kind == "M":
            texts = np.datetime_as_string(v)
            plain = texts.tolist() if isinstance(v, np.ndarray) else str(texts)
            return _no_nat(plain)
        seconds = v / np.timedelta64(1, "s")  # NaT becomes NaN, hence null
        return self.plain(seconds.tolist(), path, depth)

    def records(self, v, path, depth):
        """A record array as a list of objects (one object for a single record)."""
        names = v.dtype.names
        if v.ndim == 0:
            return {n: self.plain(v[n], "%s[%r]" % (path, n), depth + 1) for n in names}
        return [self.records(row, path, depth + 1) for row in v]

    def pandas(self, v, path, depth):
        pd = sys.modules["pandas"]
        if isinstance(v, pd.DataFrame):
            return self.frame(v, path, depth)
        if isinstance(v, (pd.Series, pd.Index)):
            return self.column(v, path, depth)
        if v is pd.NaT or v is pd.NA:
            return None
        if isinstance(v, pd.Timestamp):
            return v.isoformat()
        if isinstance(v, pd.Timedelta):
            return _float(v.total_seconds(), self.keep)
        if isinstance(v, pd.Period):
            return str(v)
        if isinstance(v, pd.api.extensions.ExtensionArray):
            return self.column(pd.Series(v), path, depth)
        raise NotJson(_advice(v, path))

    def frame(self, df, path, depth):
        names = [self.key(_label(c), path) for c in df.columns]
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise NotJson("%s is a DataFrame with two columns named %r; rename one" % (path, twice))
        columns = []
        for i, name in enumerate(names):
            columns.append(
                self.column(df.iloc[:, i], "%s[%r]" % (path, name), depth + 1, self.round_frames)
            )
        if not columns:
            return [{} for _ in range(len(df))]
        return [dict(zip(names, row)) for row in zip(*columns)]

    def column(self, s, path, depth, rounded=False):
        kind = getattr(s.dtype, "kind", "O")
        if kind == "f" and not hasattr(s.dtype, "na_value"):
            values = s.to_numpy(dtype=float)
            if rounded:
                values = values.round(FRAME_DECIMALS)
            return self.plain(values.tolist(), path, depth)
        if kind in "biu" and not hasattr(s.dtype, "na_value"):
            return s.tolist()
        plain = [self.plain(x, path, depth) for x in s.tolist()]
        if rounded and (kind in "fO"):
            plain = [
                _float(round(x, FRAME_DECIMALS), self.keep) if type(x) is float else x
                for x in plain
            ]
        return plain


def _label(label):
    """A column label as text or number; the parts of a multi-level one joined with `_`."""
    return "_".join(map(str, label)) if isinstance(label, tuple) else label


def _no_nat(texts):
    if isinstance(texts, list):
        return [_no_nat(t) for t in texts]
    return None if texts == "NaT" else texts


def _advice(v, path):
    kind = "%s.%s" % (type(v).__module__, type(v).__qualname__)
    if isinstance(v, (set, frozenset)):
        cure = "a set has no order; return sorted(...) of it"
    elif isinstance(v, complex) or getattr(getattr(v, "dtype", None), "kind", "") == "c":
        cure = "return the real and the imaginary part"
    elif hasattr(v, "__next__"):
        cure = "return list(...) of it"
    elif callable(v):
        cure = "return what it computes, not the function itself"
    elif hasattr(v, "tolist"):
        cure = "return its .tolist()"
    else:
        cure = "return a bool, int, float, str, list, tuple, dict, enumeration or DataFrame"
    where = (
        "the function returned"
        if path == "result"
        else "the returned value holds at %s" % path[:80]
    )
    return "%s an object of type %s, which has no JSON form; %s" % (
        where,
        kind.replace("builtins.", ""),
        cure,
    )
