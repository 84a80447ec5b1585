"""Shapes: the same event for machines, for Elastic and for people."""

from __future__ import annotations

import json
import re

from service.observe.log.log import Pipeline
from service.observe.log.shapes import ECS_NAMES, Shape
from tests.unit.observe.test_log import MemorySink

FIELDS = {
    "event": "bus.lagging",
    "request_id": "r 1",
    "frames": ["a:1 f", "b:2 g"],
    "source": ["x"],
    "password": "CANARY",
    "evil": "\x1b[31m\u202e",
    "big": 2**70,
}


def line(shape: Shape) -> str:
    sink = MemorySink()
    pipeline = Pipeline(sink, "info")
    pipeline.shape = shape
    pipeline.emit("warning", dict(FIELDS))
    ((written, level),) = sink.written
    assert level == "warning"
    return written.decode()


def test_ecs_has_the_schemas_names_and_none_of_those_it_uses_otherwise() -> None:
    event = json.loads(line("ecs"))

    assert {"@timestamp", "log.level", "message", "ecs.version", "event.action", "service.name"} <= set(event)
    assert (event["log.level"], event["message"], event["http.request.id"]) == ("warning", "bus.lagging", "r 1")
    assert event["error.stack_trace"] == "a:1 f\nb:2 g"
    assert not set(event) & set(ECS_NAMES)
    # A name is either a value or an object with further names.
    assert not [name for name in event if any(other.startswith(f"{name}.") for other in event)]
    assert event["password"] == "<redacted>"


def test_a_person_gets_one_line_that_no_terminal_obeys() -> None:
    text = line("console")

    assert re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3} warning  bus\.lagging request_id="r 1" .*', text)
    assert "service.name" not in text
    assert text.isprintable()
    assert text.isascii()
    assert "CANARY" not in text
