"""Puts `logging` back: a handler that was added would write what the next run logs once more."""

from __future__ import annotations

import logging
import operator
import sys
from typing import Any

_state = operator.attrgetter("level", "propagate", "disabled", "handlers", "filters")
_FRESH: Any = (logging.NOTSET, True, False, [], [])


class Loggers:
    """The loggers as they were, and what all of them share.

    A logger that is new and is called as a library that is loaded is the library's own affair.
    """

    def __init__(self) -> None:
        root = logging.root
        self._known: list[tuple[Any, Any]] = [(root, _copy(root))]
        self._names = set(root.manager.loggerDict)
        for logger in root.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                self._known.append((logger, _copy(logger)))
        levels: list[Any] = [logging._levelToName, logging._nameToLevel]  # noqa: SLF001
        self._levels = [(held, dict(held)) for held in levels]

    def restore(self) -> None:
        """Undo `logging.basicConfig`, `addHandler`, `setLevel`, and their like."""
        for logger, before in self._known:
            if _state(logger) != before:
                _put_back(logger, before)
        loggers = logging.root.manager.loggerDict
        if len(loggers) != len(self._names):
            for name in loggers.keys() - self._names:
                logger = loggers[name]
                if isinstance(logger, logging.Logger) and not _is_of_library(name):
                    _put_back(logger, _FRESH)
        for held, content in self._levels:
            if held != content:
                held.clear()
                held.update(content)
        if logging.root.manager.disable:
            logging.disable(logging.NOTSET)


def _copy(logger: Any) -> Any:
    level, propagate, disabled, handlers, filters = _state(logger)
    return level, propagate, disabled, list(handlers), list(filters)


def _put_back(logger: Any, before: Any) -> None:
    level, propagate, disabled, handlers, filters = before
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers[:] = handlers
    logger.filters[:] = filters
    logger.propagate, logger.disabled = propagate, disabled
    if logger.level != level:
        logger.setLevel(level)  # forgets what was worked out from it


def _is_of_library(name: str) -> bool:
    module = sys.modules.get(name.partition(".")[0])
    return getattr(module, "__spec__", None) is not None
