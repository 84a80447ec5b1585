"""A trace through the sidecar, a real master and its minions, as one collector sees it; and no credential in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.collector import Collector
from tests.real.conftest import MakeSidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_salts_own_spans_are_part_of_the_callers_trace(tmp_path: Path, make_sidecar: MakeSidecar) -> None:
    with Collector() as collector:
        tracing = {"enabled": True, "endpoint": f"{collector.url}/v1/traces"}
        master = {"tracing": tracing, "sharedsecret": "CANARY-secret"}
        with EmbeddedSalt(tmp_path / "salt", minions=1, threads=True, master=master, minion={"tracing": tracing}) as salt:
            sidecar = make_sidecar(salt.master_config, TRACING_ENDPOINT=collector.url).__enter__()
            low = {"eauth": "sharedsecret", "username": "demo", "password": "CANARY-secret", "client": "local", "tgt": "*", "fun": "test.ping"}
            answer = sidecar.post(low, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
            runner = sidecar.post({**low, "client": "runner", "fun": "test.arg", "kwarg": {"password": "CANARY-argument"}})
            sidecar.wait(lambda: "salt.req.recv.publish" in named(collector, TRACE), "traced by the master")
            sidecar.wait(lambda: any(name.startswith("salt.minion.") for name in named(collector, TRACE)), "traced by the minion")
            # Each of the master's workers tells what it has when its own five seconds are over.
            both = {"POST /", "salt.req.recv.runner"}
            sidecar.wait(lambda: both <= named(collector, runner.headers["traceresponse"].split("-")[1]), "traced by us and by the master")
            assert sidecar.stop() == 0

    ours = next(span for span in collector.spans if span.name == "POST /" and span.trace_id == TRACE)
    received = next(span for span in collector.spans if span.name == "salt.req.recv.publish" and span.trace_id == TRACE)
    assert (answer.value, runner.status) == ({"minion-1": True}, 200)
    assert (ours.parent_id, received.parent_id) == (PARENT, ours.span_id)
    assert not [text for text in collector.texts if "salt-sidecar" in text and "CANARY" in text]


def named(collector: Collector, trace_id: str) -> set[str]:
    """Return the names of a trace's spans."""
    return {span.name for span in collector.spans if span.trace_id == trace_id}
