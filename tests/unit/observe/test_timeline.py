"""The trail: where the time of a request went."""

from __future__ import annotations

import itertools

import pytest

from service.observe.trace.timeline import MOST_STAGES, Timeline
from service.observe.trace.traceparent import TraceContext


def test_stages_are_summed_and_told_one_by_one() -> None:
    moments = itertools.count(0, 1)
    timeline = Timeline(TraceContext("a" * 32, "b" * 16, 1), clock=lambda: float(next(moments)))
    timeline.returned()  # before anything was published: of no job of ours
    for name in ("auth", "auth", "publish", "gather", "publish"):
        with timeline.stage(name):
            if name == "gather":
                timeline.returned()
                timeline.returned()

    assert timeline.fields() == {
        "auth_s": 2.0, "publish_s": 2.0, "wait_s": 2.0, "first_return_s": 2.0, "trace_id": "a" * 32, "span_id": "b" * 16, "trace_flags": "01",
    }  # fmt: skip
    assert [stage.name for stage in timeline.stages] == ["auth", "publish", "gather", "publish"]


def test_a_stage_that_fails_counts_and_their_number_has_a_bound() -> None:
    timeline = Timeline()
    for _ in range(MOST_STAGES + 5):
        with pytest.raises(ZeroDivisionError), timeline.stage("publish"):
            1 / 0  # noqa: B018

    assert len(timeline.stages) == MOST_STAGES
    assert set(timeline.fields()) == {"publish_s"}
    assert timeline.carrier() == {}
