"""The work that a body makes grows with its length, never with the square of it, whatever the body says."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator
from urllib.parse import quote_plus

import falcon.testing
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import BadRequest, TooLarge
from service.http.body_memory import BodyMemory
from service.http.media import FORM, JSON, TEXT, YAML, decode

BYTES = 40_000
TIMES = 8
# Eight times the body: linear work is eight times as much, quadratic work sixty-four.
MOST_GROWTH = 20
# Below this nobody is kept waiting, and a clock tells nothing.
UNNOTICED_SECONDS = 0.15
PRIME = 2**61 - 1  # of Python's hash of numbers

# What is repeated; N is a number that differs each time, P one that collides with all others.
PIECES = st.lists(
    st.sampled_from(
        ["N", "P", "P.0", ":59", "0x", "9", "0", "_", "-", "- ", "? ", ": ", ": 1", "1", "x", "é", "😀", " ", "  ", "\n", "\t", ",", "[", "]", "{", "}", "<<", "=", "&aN ", "*aN",
         "!!int ", "!!float ", "!!set ", "!!omap ", "!!binary ", "!aN!x ", "%TAG !aN! a", "%YAML 1.1", "---", "...", "#", "'", '"', "\\", "|", ">", "~", "true", "%", "%41", "&", "arg=", "kwarg="]
    ),
    min_size=1,
    max_size=5,
).map("".join)  # fmt: skip
AROUND = st.sampled_from(
    [("", ""), ("{", "}"), ("[", "]"), ("- ", ""), ('"', '"'), ("a: ", ""), ("1", ""), ("", "\n---\n1"), ("!!int ", ""), ("!!set {", "}"), ("x: &a0 [1]\n", "")]
)


@pytest.fixture(scope="module", autouse=True)
def _collector_of_this_module() -> Iterator[None]:
    """Let the collector pass over what other tests have left, or its passes, which only large bodies bring about, would be counted as their work."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def body_of(piece: str, around: tuple[str, str], length: int) -> str:
    """Return *piece* as often as it takes to fill *length* characters."""
    before, after = around
    times = length // len(piece.replace("P", "2" * 20).replace("N", "1" * 5))
    return before + "".join(piece.replace("P", str(n * PRIME)).replace("N", str(n)) for n in range(1, times + 1)) + after


def seconds_for(media_type: str, text: str) -> float:
    """Return the processor's time that it takes to read or to refuse a body."""
    body = (f"arg={quote_plus(text)}" if media_type == FORM else text).encode()
    req = falcon.testing.create_req(method="POST", body=body, headers={"Content-Type": media_type})
    BodyMemory().process_request(req, falcon.Response())
    started = time.thread_time()
    with contextlib.suppress(BadRequest, TooLarge):
        decode(req)
    return time.thread_time() - started


def least_seconds_for(media_type: str, text: str) -> float:
    """Return the least of three times: what others do to the processor's caches only adds."""
    return min(seconds_for(media_type, text) for _ in range(3))


@pytest.mark.slow
@given(st.sampled_from([JSON, YAML, FORM, TEXT]), PIECES, AROUND)
@example(YAML, "P: 1\n", ("", ""))
@example(YAML, "P: 1,", ("{", "}"))
@example(FORM, "P: 1,", ("{", "}"))
@example(YAML, "P.0,", ("!!set {", "}"))
@example(YAML, "N: 1\n", ("", ""))
@example(YAML, ":59", ("1", ""))
@example(FORM, ":59", ("1", ""))
@example(YAML, ":59", ("!!float 1", ""))
@example(YAML, "%TAG !aN! a\n", ("", "\n---\n1"))
@example(YAML, "<<: {}\n", ("", ""))
@example(FORM, "<<: {N: 1},", ("{", "}"))
@example(YAML, "? N\n", ("", ""))
@example(JSON, '{"N":[]},', ("[", "1]"))
@example(JSON, "[", ("", ""))
@example(JSON, "9", ("", ""))
@example(FORM, "%", ("", ""))
def test_eight_times_the_body_is_not_sixty_four_times_the_work(media_type: str, piece: str, around: tuple[str, str]) -> None:
    if seconds_for(media_type, body_of(piece, around, BYTES * TIMES)) > UNNOTICED_SECONDS:
        short, long = (least_seconds_for(media_type, body_of(piece, around, length)) for length in (BYTES, BYTES * TIMES))

        assert long < short * MOST_GROWTH, f"{short:.3f} s, then {long:.3f} s"
