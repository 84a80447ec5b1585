"""What bodies may take: reckoned before they are parsed, and given back."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import falcon
import falcon.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Overloaded, TooLarge
from service.http.body_memory import MIB, BodyMemory, Share, json_values
from service.http.media import FORM, JSON, TEXT, YAML, decode
from tests.unit.http.conftest import Application

ANY: Any = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def values_in(value: object) -> int:
    """Count values and names one by one."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(values_in, value.values()))
    return 1 + (sum(map(values_in, value)) if isinstance(value, list) else 0)


@pytest.mark.costly
@given(ANY, st.sampled_from([0, 5, 1_000]), st.booleans())
def test_no_json_has_more_values_than_were_counted(value: object, most: int, ascii_only: bool) -> None:
    counted = json_values(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace"), most)

    assert counted >= min(values_in(value), most + 1)


@pytest.mark.parametrize("text", ["a,b:[{" * 1_000, '\\",' * 1_000, "\\" * 1_000, '\\\\",' * 1_000, "end\\"])
def test_separators_inside_of_strings_are_no_values(text: str) -> None:
    assert json_values(json.dumps([text, 1]).encode(), 10) <= 3


@given(st.binary())
def test_whatever_is_no_json_is_counted_too(body: bytes) -> None:
    assert json_values(body, 3) >= 0


LARGE = {
    JSON: b"[" + b",".join([b"{}"] * 600) + b"]",
    TEXT: b"[" + b",".join([b"{}"] * 600),
    YAML: b"- {}\n" * 1_100,
    FORM: b"&".join([b"arg=[" + b",".join([b"{}"] * 600) + b"]"] * 2),
}


@pytest.mark.parametrize("media_type", LARGE)
def test_a_body_of_too_many_values_is_told_so(application: Callable[..., Application], media_type: str) -> None:
    app = application(body_memory=BodyMemory(most_values=1_000))

    answer = app.caller.request("POST", "/echo", LARGE[media_type], content_type=media_type)

    assert answer.status == 413
    assert "1000 values (api.body_values_limit)" in answer.json()["return"]


class Kept:
    """Decodes a body, and asks something while it is kept."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def on_post(self, req: falcon.Request, _resp: falcon.Response) -> None:
        decode(req)
        self.meanwhile()


@pytest.mark.parametrize("media_type", LARGE)
@pytest.mark.parametrize("times", [1, pytest.param(200, marks=pytest.mark.slow)])
def test_what_a_body_took_is_given_back(application: Callable[..., Application], media_type: str, times: int) -> None:
    memory = BodyMemory(4 * MIB)
    app = application(body_memory=memory)
    for _ in range(times):
        app.caller.request("POST", "/echo", LARGE[media_type], content_type=media_type)

    memory.take(4 * MIB // 8 * 7, 0)


@pytest.mark.costly
def test_a_large_body_leaves_room_for_small_ones(application: Callable[..., Application]) -> None:
    kept = Kept()
    app = application(body_memory=BodyMemory(32 * MIB), routes={"/": kept})
    statuses: list[int] = []

    def meanwhile() -> None:
        kept.meanwhile = lambda: None
        statuses.extend(app.caller.post(["x" * size]).status for size in (3 * MIB, 1_000))

    kept.meanwhile = meanwhile
    app.caller.post(["x" * 5 * MIB])

    assert statuses == [503, 200]


def test_a_body_that_would_never_find_room_is_too_large() -> None:
    share = Share(BodyMemory(32 * MIB))

    with pytest.raises(TooLarge, match=r"api\.body_memory_bytes"):
        share.take(29 * MIB)


def test_small_bodies_are_refused_too_when_nothing_is_left() -> None:
    memory = BodyMemory(16 * MIB)
    shares = [Share(memory) for _ in range(17)]
    for share in shares[:16]:
        share.take(MIB)

    with pytest.raises(Overloaded) as refused:
        shares[16].take(1)
    assert refused.value.retry_after_seconds


# Of each type, one that is read in turn.
LONG_JSON = b"[" + b"{}," * 200_000 + b'"' + b"x" * MIB + b'"]'
LONG = {JSON: LONG_JSON, TEXT: LONG_JSON, YAML: b"- {a: b}\n" * 5_000, FORM: b"arg=[" + b"{a: b}," * 5_000 + b"]"}


@pytest.mark.parametrize("media_type", LONG)
@pytest.mark.slow
def test_the_collector_makes_no_pass_over_what_is_made_of_a_large_body(media_type: str) -> None:
    req = falcon.testing.create_req(method="POST", body=LONG[media_type], headers={"Content-Type": media_type})
    BodyMemory().process_request(req, falcon.Response())
    passes: list[str] = []
    gc.callbacks.append(lambda phase, _info: passes.append(phase))
    try:
        value = decode(req)
        made = len(passes)
    finally:
        gc.callbacks.pop()

    # One is due before, and one afterwards.
    assert made <= 4
    assert value is not None
    assert gc.isenabled()


@pytest.mark.parametrize("media_type", LONG)
@pytest.mark.slow
def test_large_bodies_are_read_one_at_a_time_and_small_ones_do_not_wait(application: Callable[..., Application], media_type: str) -> None:
    memory = BodyMemory(turn_seconds=0.01)
    app = application(body_memory=memory)
    with memory.turn():
        large, small = (app.caller.request("POST", "/echo", body, content_type=media_type) for body in (LONG[media_type], LARGE[media_type][:1_000]))

    assert (large.status, large.headers["retry-after"]) == (503, "1")
    assert small.status != 503
    assert app.caller.request("POST", "/echo", LONG[media_type], content_type=media_type).status == 200
