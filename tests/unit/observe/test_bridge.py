"""The bridge: any record of the standard library's logging becomes fields."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from service.observe.log.bridge import MESSAGE_LIMIT, Bridge, level_of


class Emitted(list[tuple[str, dict[str, Any]]]):
    def __call__(self, level: str, fields: dict[str, Any]) -> None:
        self.append((level, fields))


@pytest.fixture
def emitted() -> Emitted:
    return Emitted()


def record(message: object, *args: object, level: int = logging.INFO, **attributes: object) -> logging.LogRecord:
    made = logging.LogRecord("salt.x", level, __file__, 1, message, args, None)
    made.__dict__.update(attributes)
    return made


def test_a_record_becomes_a_log_event(emitted: Emitted) -> None:
    Bridge(emitted).emit(record("hello %s", "world", level=logging.WARNING))

    assert emitted == [("warning", {"event": "log", "logger": "salt.x", "message": "hello world"})]


def test_arguments_that_do_not_fit_are_told_and_do_not_raise(emitted: Emitted) -> None:
    Bridge(emitted).emit(record("%d broken", "x"))

    ((_, fields),) = emitted
    assert fields["message"] == "%d broken"
    assert fields["format_error"].startswith("TypeError")


def test_a_long_message_is_cut(emitted: Emitted) -> None:
    Bridge(emitted).emit(record("x" * (MESSAGE_LIMIT + 10)))

    ((_, fields),) = emitted
    assert len(fields["message"]) < MESSAGE_LIMIT + 40
    assert fields["message"].endswith(f"({MESSAGE_LIMIT + 10} characters)")


def test_salts_exception_on_a_log_level_is_taken_along(emitted: Emitted) -> None:
    exc_info = (KeyError, KeyError("minion"), None)

    Bridge(emitted).emit(record("caught", exc_info_on_loglevel_instance=exc_info))

    ((_, fields),) = emitted
    assert fields["exc_info"] is exc_info


def test_an_empty_exception_is_none(emitted: Emitted) -> None:
    Bridge(emitted).emit(record("nothing", exc_info_on_loglevel_instance=(None, None, None)))

    ((_, fields),) = emitted
    assert "exc_info" not in fields


@pytest.mark.parametrize(
    ("number", "level"),
    [(1, "debug"), (5, "debug"), (10, "debug"), (15, "debug"), (20, "info"), (30, "warning"), (40, "error"), (50, "critical"), (1000, "critical")],
)
def test_levels_that_only_salt_has_fall_into_ours(number: int, level: str) -> None:
    assert level_of(number) == level
