"""A hostile minion and the metrics: nothing breaks, what is odd is counted by its kind, and the other minions' figures stay true."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.observe.metrics.domains import Oddity
from tests.hostile import MALLORY, Fired, events, packed
from tests.unit.fleet.following import JID, Following


@pytest.mark.slow
@given(st.lists(events([JID, "77"], ["m1", "m2"]), max_size=8))
def test_any_event_leaves_the_other_minions_returns_counted(hostile: list[Fired]) -> None:
    bus = Following()
    bus.announce("m1", MALLORY, "m2")
    bus.answer("m1")
    for fired in hostile:
        bus.hub.deliver(packed(fired))
    bus.answer("m2")
    bus.announce("m1", jid="88", fun="pillar.items")
    bus.answer("m1", jid="88", fun="pillar.items")

    assert bus.crashes == 0
    assert (bus.value("salt_job_returns_total", function="test.ping", result="success", origin="published") or 0) >= 2
    assert bus.value("salt_job_returns_total", function="pillar.items", result="success", origin="published") == 1


@pytest.mark.parametrize(
    ("tag", "data", "kind"),
    [
        (f"salt/job/{JID}/new/ret/m1", {"id": "m1", "return": 1}, "tag"),
        (f"salt/job/{JID}/what", {}, "tag"),
        ("salt/job/new", {"minions": []}, "tag"),
        (f"salt/job/{JID}/ret/m1", {"id": "m2", "return": 1}, "identity"),
        (f"salt/job/{JID}/ret/m1", {"id": "m1", "jid": "5", "return": 1}, "identity"),
        (f"salt/job/{JID}/ret/m1", {"id": "m1", "resource_id": "m2", "return": 1}, "identity"),
        (f"salt/job/{JID}/new", {"jid": "5", "minions": []}, "identity"),
        (f"salt/run/{JID}/ret", {"jid": "5", "return": 1}, "identity"),
        (f"salt/job/{JID}/ret/m1", {"id": "m1"}, "field"),
        (f"salt/job/{JID}/ret/m1", {"id": "m1", "return": 1, "retcode": [{}]}, "field"),
        (f"salt/job/{JID}/new", {"minions": [5]}, "field"),
        (f"salt/run/{JID}/ret", {"success": True}, "field"),
        ("salt/presence/present", {"present": 5}, "field"),
        (f"salt/job/{JID}/ret/m3", {"id": "m3", "return": "x" * 10_000}, "unexpected"),
    ],
)
def test_what_is_odd_is_counted_by_its_kind(tag: str, data: dict[str, Any], kind: Oddity) -> None:
    bus = Following()
    bus.announce("m1", "m2")
    bus.hear(tag, data)

    assert bus.values("salt_event_odd_total") == {kind: 1}


def test_what_salt_sends_is_not_odd() -> None:
    bus = Following()
    bus.announce("m1", "m2", "disk", fun=["test.ping", "test.echo"], user="sudo_me")
    bus.answer("m1", fun=["test.ping", "test.echo"], retcode={"test.ping": 0, "test.echo": 0}, success={"test.ping": True, "test.echo": True}, out="nested")
    bus.answer("m2", retcode=None)
    bus.answer("m2", retcode=None)
    bus.answer("disk", ret="x" * 10_000, success=[True])
    bus.hear("salt/run/1/new", {"fun": "runner.jobs.list_jobs", "jid": "1", "user": "me"})
    bus.hear("salt/run/1/ret", {"fun": "runner.jobs.list_jobs", "jid": "1", "return": {}, "success": True})
    bus.hear("salt/auth", {"act": "accept", "id": "m1", "pub": "x", "result": True})
    bus.hear("salt/presence/present", {"present": ["m1"]})

    assert bus.values("salt_event_odd_total") == {}
