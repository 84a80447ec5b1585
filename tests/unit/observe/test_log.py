"""The log: from an event to one line of JSON, whatever the event holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from service.observe.log import log
from service.observe.log.bridge import Bridge
from service.observe.log.log import Pipeline
from service.observe.log.sink import LogSink


@dataclasses.dataclass
class MemorySink(LogSink):
    """Keeps the lines."""

    written: list[tuple[bytes, str]] = dataclasses.field(default_factory=list)

    def put(self, line: bytes, level: str) -> None:
        self.written.append((line, level))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line, _ in self.written]


@pytest.fixture
def sink() -> Iterator[MemorySink]:
    memory = MemorySink()
    before = structlog.get_config()
    log.configure(Pipeline(memory, "info"))
    yield memory
    structlog.configure(**before)
    log.clear()


def test_a_line_says_when_what_and_who(sink: MemorySink) -> None:
    log.get().info("area.happened", jid="2026")

    (event,) = sink.events()
    assert list(event)[:3] == ["timestamp", "level", "event"]
    assert dt.datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).utcoffset() == dt.timedelta(0)
    assert event["level"] == "info"
    assert event["event"] == "area.happened"
    assert event["jid"] == "2026"
    assert event["service.name"] == "salt-sidecar"
    assert event["service.version"]


def test_a_line_below_the_level_is_not_written(sink: MemorySink) -> None:
    log.get().debug("area.detail")

    assert sink.written == []


def test_bound_fields_are_on_every_line_until_cleared(sink: MemorySink) -> None:
    log.bind(request_id="r1")
    log.get().info("one")
    log.clear()
    log.get().info("two")

    assert [event.get("request_id") for event in sink.events()] == ["r1", None]
    assert [list(event)[:3] for event in sink.events()] == 2 * [["timestamp", "level", "event"]]


def test_foreign_records_carry_the_bound_fields_too(sink: MemorySink) -> None:
    log.bind(request_id="r1")
    logger = logging.Logger("salt.client")  # noqa: LOG001  Not in the tree, so that it leaves nothing behind.
    logger.addHandler(Bridge(Pipeline(sink, "info").emit))

    logger.warning("password=%s", "CANARY")
    logger.debug("too detailed")

    (event,) = sink.events()
    assert (event["event"], event["logger"], event["message"], event["request_id"]) == ("log", "salt.client", "password=<redacted>", "r1")


def test_an_exception_is_told_without_local_variables(sink: MemorySink) -> None:
    def login() -> None:
        password = "CANARY-LOCAL"
        try:
            {"key": 1}[str(len(password))]
        except KeyError as exc:
            raise ValueError("token=CANARY-TEXT") from exc

    try:
        login()
    except ValueError:
        log.get().exception("area.failed")

    (event,) = sink.events()
    assert event["level"] == "error"
    assert event["error.type"] == "ValueError"
    assert event["error.message"] == "token=<redacted>"
    assert event["error.causes"] == ["KeyError: '12'"]
    assert event["frames"][-1].endswith(" login")
    assert b"CANARY" not in sink.written[0][0]


def test_an_exception_object_may_be_passed(sink: MemorySink) -> None:
    log.get().error("area.failed", exc_info=ValueError("bad"))
    log.get().error("area.failed", exc_info=True)

    first, second = sink.events()
    assert first["error.message"] == "bad"
    assert "error.type" not in second


def test_credentials_are_redacted(sink: MemorySink) -> None:
    log.get().warning("auth.failed", low={"password": "CANARY", "kwarg": {"api_token": "CANARY"}})

    assert b"CANARY" not in sink.written[0][0]


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "value",
    [
        2**100,
        "\ud800",
        {("a", "b"): 1},
        {b"k": b"v"},
        float("nan"),
        {1, 2},
        object(),
        Unspeakable(),
        [2**100, {"\ud800": Unspeakable()}],
        {None: 1},
        {Unspeakable(): 1},
    ],
)
def test_any_value_becomes_json(sink: MemorySink, value: object) -> None:
    log.get().info("odd", value=value)

    (event,) = sink.events()
    assert "value" in event


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_every_line_is_one_line_of_json(value: object) -> None:
    memory = MemorySink()
    Pipeline(memory, "info").emit("info", {"event": "odd", "value": value})

    ((line, level),) = memory.written
    assert b"\n" not in line
    assert level == "info"
    assert json.loads(line)["event"] == "odd"


def test_before_install_nothing_is_counted_and_closing_does_nothing() -> None:
    log.set_level("debug")

    assert log.dropped() == 0
    assert log.line_counts() == {}
    assert log.close()
