"""How values are kept that not every database can hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Dialect, TypeDecorator
from typing_extensions import override

_TEXT_LENGTH: Final = len("2026-01-31 23:59:59.123456")


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise ValueError(f"a time without a zone: {value}")
    return value.astimezone(UTC)


def _text_of(value: datetime | None) -> str | None:
    """Write a time as SQLite keeps it."""
    return None if value is None else _in_utc(value).isoformat(" ", "microseconds")[:_TEXT_LENGTH]


def _moment_of(text: str | None) -> datetime | None:
    """Read it back."""
    return None if text is None else datetime.fromisoformat(f"{text}+00:00")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time; SQLite, which knows none, keeps it as text in UTC, so that it sorts."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = _in_utc(value)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    @override
    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any] | None:
        """For SQLite write the text at once; SQLAlchemy's own way takes thrice as long."""
        if dialect.name != "sqlite":
            return super().bind_processor(dialect)
        return _text_of

    @override
    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], datetime | None] | None:
        """Of SQLite read the text at once, for the same reason."""
        if dialect.name != "sqlite":
            return super().result_processor(dialect, coltype)
        return _moment_of

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Unsigned64(TypeDecorator[int]):
    """A number below 2**64, kept in the signed 64 bits that databases have."""

    impl = BigInteger
    cache_ok = True

    @override
    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return value if value is None or value < 1 << 63 else value - (1 << 64)

    @override
    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:
        return value if value is None or value >= 0 else value + (1 << 64)
