"""However a request is cut into packets, it is read alike; and no head or chunk costs more than its length."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from service.server.framing import Parser
from tests.server.framed import CHUNKED, POST, REFUSED, TAKEN, UNKNOWN

ALL = [*REFUSED.values(), *UNKNOWN.values(), *(text for text, *_ in TAKEN.values())]
SHORT = [text for text in ALL if len(text) < 1000]
BEHIND = b"GET /behind HTTP/1.1\r\nHost: x\r\n\r\n"


def read(pieces: list[bytes]) -> tuple[int | None, str, int, bytes]:
    """Parse one request; return its fault's status, its path, how many bytes were its own if it is well-formed, and its body."""
    parser = Parser(Adjustments(max_request_body_size=1_000_000))
    taken = 0
    for piece in pieces:
        rest = piece
        while rest and not parser.completed:
            taken += (count := parser.received(rest))
            rest = rest[count:]
            if parser.empty:
                parser = Parser(parser.adj)
    assert parser.completed
    body = parser.get_body_stream().read()
    parser.close()
    return (parser.error.code, "", 0, b"") if parser.error else (None, parser.path, taken, body)


@given(st.sampled_from(SHORT), st.lists(st.integers(0, 200), max_size=6))
def test_a_request_is_read_alike_in_any_pieces(text: str, cuts: list[int]) -> None:
    raw = text.encode("latin-1") + BEHIND
    at = [0, *sorted(cuts), len(raw)]

    assert read([raw[start:end] for start, end in itertools.pairwise(at)]) == read([raw])


@pytest.mark.parametrize("text", SHORT)
def test_a_request_is_read_alike_byte_by_byte(text: str) -> None:
    raw = text.encode("latin-1") + BEHIND

    assert read([raw[at : at + 1] for at in range(len(raw))]) == read([raw])


@pytest.mark.parametrize(
    "text",
    [
        POST + "A:" + " " * 250_000 + "\x01\r\n\r\n",
        POST + "A:" + " " * 250_000 + "b\r\n\r\n",
        POST + "A:" + "b " * 125_000 + "\x01\r\n\r\n",
        POST + "a:\r\n" * 60_000 + "\r\n",
        POST + "Connection:" + "," * 250_000 + "\r\n\r\n",
        "GET http://" + "a" * 250_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
        CHUNKED + "5" + ";a=b" * 200 + ";\r\n",
        CHUNKED + "1\r\na\r\n" * 40_000 + "0\r\n\r\n",
    ],
    ids=range(8),
)
@pytest.mark.slow
def test_no_head_and_no_chunk_costs_more_than_its_length(text: str) -> None:
    raw = text.encode("latin-1")
    started = time.process_time()

    read([raw[at : at + 8192] for at in range(0, len(raw), 8192)])

    # waitress' own reading of the first takes half a minute; this takes milliseconds.
    assert time.process_time() - started < 2
