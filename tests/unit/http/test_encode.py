"""Media: whatever a minion returns becomes strict JSON."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.media import AsWritten, encode


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def strict(body: bytes) -> Any:
    return json.loads(body, parse_constant=refuse_constant)


HUGE = 2**200


class Colour(str, enum.Enum):
    RED = "red"


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        (b"text", "text"),
        (bytearray(b"text"), "text"),
        (b"\xff\xfe\x00", "\\xff\\xfe\x00"),
        ("ünï \u2028 \U0001f9c2", "ünï \u2028 \U0001f9c2"),
        ("\ud800", "\ud800"),
        ({"\ud800": "\udfff"}, {"\ud800": "\udfff"}),
        (HUGE, HUGE),
        ([-HUGE, {"a": HUGE}], [-HUGE, {"a": HUGE}]),
        (math.nan, None),
        ([math.inf, -math.inf], [None, None]),
        ([HUGE, math.nan, math.inf, 0.5], [HUGE, None, None, 0.5]),
        ({1}, [1]),
        (frozenset({b"x"}), ["x"]),
        ((1, (2,)), [1, [2]]),
        ({2: "a", None: "b", True: "c", 0.5: "d"}, {"2": "a", "true": "c", "null": "b", "0.5": "d"}),
        ({2: HUGE, None: b"b", False: {1}, 0.5: (1,)}, {"2": HUGE, "null": "b", "false": [1], "0.5": [1]}),
        ({b"key": 1, b"\xff": 2}, {"key": 1, "\\xff": 2}),
        ({("a", 1): {"x": b"y"}}, {"['a', 1]": {"x": "y"}}),
        (OrderedDict(a=OrderedDict(b=1)), {"a": {"b": 1}}),
        (OrderedDict(a=HUGE), {"a": HUGE}),
        (dt.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),  # noqa: DTZ001 - Salt's have no zone
        (Colour.RED, "red"),
        (Odd(), "odd"),
        ([HUGE, Odd()], [HUGE, "odd"]),
        (HUGE * 1.5, HUGE * 1.5),
        ("", ""),
        (None, None),
        ({}, {}),
    ],
)
def test_a_value_becomes_json(value: object, json_value: object) -> None:
    assert strict(encode(value)) == json_value


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
JSON = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4), max_leaves=12)
KEYS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=5)
    | st.text(st.characters(), max_size=5)
    | st.tuples(st.integers(), st.binary(max_size=3))
)
ANYTHING = st.recursive(
    PLAIN
    | st.floats()
    | st.binary(max_size=10)
    | st.text(st.characters(), max_size=5)
    | st.frozensets(st.integers() | st.binary(max_size=3), max_size=3)
    | st.builds(Odd),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@pytest.mark.costly
@given(JSON)
def test_what_json_can_say_comes_out_as_it_is(value: Any) -> None:
    assert strict(encode(value)) == value


@pytest.mark.costly
@given(ANYTHING)
def test_any_value_becomes_strict_json_of_the_same_shape(value: Any) -> None:
    written = strict(encode(value))

    assert isinstance(written, dict) == isinstance(value, dict)
    assert isinstance(written, list) == isinstance(value, (list, tuple, frozenset))
    if isinstance(written, list):
        assert len(written) == len(value)


@pytest.mark.costly
@given(ANYTHING)
def test_what_is_json_already_is_taken_in_as_it_stands(value: Any) -> None:
    text = encode(value)

    assert encode({"a": [AsWritten(text)]}) == b'{"a":[' + text + b"]}"
    assert strict(encode([HUGE, AsWritten(text)])) == [HUGE, strict(text)]


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_a_return_may_be_nested_some_hundred_levels_deep() -> None:
    assert encode(nested(600)).count(b"[") == 300


def test_a_return_that_is_nested_without_end_is_told_to_whoever_encodes() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(RecursionError):
        encode(endless)
