"""Where our own records and those of libraries go: stderr, in one form."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog

from fanfold_server.settings import Settings


def set_up_logging(settings: Settings) -> None:
    """Send our own records and those of libraries to stderr, in one form.

    Changes the process's logging: only a program's entry calls it.
    """
    level = getattr(logging, settings.log_level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[structlog.typing.Processor]
    if settings.log_format == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_to_json)]
    else:
        last = [_console_renderer()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    # Libraries tell at "info" what is only of interest to whoever works on them.
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def _console_renderer() -> structlog.dev.ConsoleRenderer:
    """Make lines for people; tracebacks without local variables, which may be tokens."""
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _to_json(record: object, **_options: Any) -> str:
    return orjson.dumps(record, default=str).decode()


def write_log(lines: str) -> None:
    """Write lines of the access log."""
    sys.stderr.write(lines)
    sys.stderr.flush()
