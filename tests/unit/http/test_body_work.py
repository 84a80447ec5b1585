"""The work that a body makes grows with its length, never with the square of it, whatever the body says."""

from __future__ import annotations

import contextlib
import time
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
    long = seconds_for(media_type, body_of(piece, around, BYTES * TIMES))
    if long > UNNOTICED_SECONDS:
        short = seconds_for(media_type, body_of(piece, around, BYTES))

        assert long < short * MOST_GROWTH, f"{short:.3f} s, then {long:.3f} s"
