"""The bridge: records of the standard library's logging, as Salt and other libraries make them, become fields of our log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

from service.observe.log.sink import LEVELS

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
Emit = Callable[[str, dict[str, Any]], None]

MESSAGE_LIMIT = 8192
_FLOORS = ((logging.CRITICAL, "critical"), (logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"))
_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR, "critical": logging.CRITICAL}


def number_of(level: str) -> int:
    """Return logging's number of one of our five levels."""
    return _NUMBERS[level]


def level_of(number: int) -> str:
    """Return the one of our five levels a number falls into; Salt has levels of its own between and beyond them."""
    return next((name for floor, name in _FLOORS if number >= floor), LEVELS[0])


def cut(text: str) -> str:
    """Return *text* in the length a log line may have."""
    return text if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT]}... ({len(text)} characters)"


class Bridge(logging.Handler):
    """The only handler of the root logger."""

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, even one whose arguments do not fit its template."""
        fields = {"event": "log", "logger": record.name, **_message(record)}
        exc_info = record.exc_info or getattr(record, "exc_info_on_loglevel_instance", None)
        if exc_info and exc_info[0]:
            fields["exc_info"] = exc_info
        self._emit(level_of(record.levelno), fields)


def _message(record: logging.LogRecord) -> dict[str, Any]:
    # Any __str__ of anybody may run here, and a log call must never fail its caller.
    try:
        return {"message": cut(record.getMessage())}
    except Exception as exc:
        return {"message": cut(str(record.msg)), "format_error": f"{type(exc).__name__}: {exc}"}
