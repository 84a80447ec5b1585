"""Trace context: what is malformed is ignored, what is sane is passed on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.observe.trace.traceparent import TraceContext, parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_sane_header_says_which_trace_and_whether_it_is_recorded() -> None:
    sampled = parse(f"00-{TRACE}-{SPAN}-01", "vendor=1,other=2")

    assert sampled == TraceContext(TRACE, SPAN, 1, "vendor=1,other=2")
    assert sampled.sampled
    assert sampled.carrier() == {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1,other=2"}
    assert parse(f"00-{TRACE}-{SPAN}-00") == TraceContext(TRACE, SPAN)
    # Flags that nobody knows yet are not passed on, a later version may have more parts, and is passed on as ours.
    assert parse(f"cc-{TRACE}-{SPAN}-ff-what-ever") == TraceContext(TRACE, SPAN, 3)


def test_a_malformed_header_is_as_none() -> None:
    for header in (
        "", "00", "x", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE[1:]}-{SPAN}-01", f"0-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01\n", f"00 {TRACE} {SPAN} 01", f"cc-{TRACE}-{SPAN}-01-{'x' * 500}", f"\u0660\u0660-{TRACE}-{SPAN}-01",
    ):  # fmt: skip
        assert parse(header) is None, header


def test_a_malformed_state_is_dropped_without_the_trace() -> None:
    for state in ("", "novalue", "a=1\r\nX-Evil: 1", "a=é", "a=" + "x" * 600, ",".join(f"k{n}=1" for n in range(40))):
        assert parse(f"00-{TRACE}-{SPAN}-01", state) == TraceContext(TRACE, SPAN, 1), state


@pytest.mark.costly
@given(st.text(max_size=80), st.text(max_size=80))
def test_no_header_breaks_anything(header: str, state: str) -> None:
    assert parse(header, state) is None
    context = parse(f"00-{TRACE}-{SPAN}-01", state)
    assert context is not None
    assert context.state.isascii()
    assert context.state.isprintable() or "\t" in context.state
