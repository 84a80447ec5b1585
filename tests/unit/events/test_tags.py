"""Tags: the kind of an event, and its job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events.tags import KINDS, inner_tag, origin, split

JID = "20260101000000000000"


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        (f"salt/job/{JID}/new", "job_new"),
        (f"salt/job/{JID}/ret/minion-1", "job_ret"),
        (f"salt/job/{JID}/ret/a/b", "job_ret"),
        (f"salt/job/{JID}/error", "job_error"),
        (f"salt/job/{JID}/prog/minion/0", "job_prog"),
        (f"salt/job/{JID}/what", "other"),
        ("salt/job/error", "job_error"),
        (f"salt/run/{JID}/new", "run_new"),
        (f"salt/run/{JID}/ret", "run_ret"),
        (f"salt/run/{JID}/progress", "other"),
        (f"salt/wheel/{JID}/ret", "wheel_ret"),
        (f"salt/batch/{JID}/halted", "batch_halted"),
        ("salt/minion/a/start", "minion_start"),
        ("minion_start", "minion_start"),
        ("salt/presence/change", "presence_change"),
        ("salt/presence", "other"),
        ("salt/auth", "auth"),
        ("salt/key", "key"),
        ("salt/what", "other"),
        ("salt", "other"),
        (f"syndic/{JID}", "syndic"),
        ("minion/refresh/a", "minion_refresh"),
        ("20260101000000000000", "custom"),
        ("my/own/tag", "custom"),
        ("", "custom"),
    ],
)
def test_a_tag_has_one_of_the_known_kinds(tag: str, kind: str) -> None:
    assert split(tag)[0] == kind
    assert kind in KINDS


@pytest.mark.parametrize(
    ("tag", "jid"),
    [
        (f"salt/job/{JID}/ret/a", JID),
        (f"salt/job/{JID}/new", JID),
        (f"salt/run/{JID}/ret", JID),
        (f"salt/run/{JID}/new", JID),
        (f"salt/run/{JID}/progress", None),
        (f"salt/run/{JID}/ret/more", None),
        ("salt/job/error", None),
        (f"salt/job/{JID}", None),
        (f"salt/wheel/{JID}/ret", None),
        (f"syndic/lower/salt/job/{JID}/ret/a", JID),
        (f"syndic/lower/{JID}", JID),
        ("syndic/lower", None),
        (JID, None),
        ("a/b", None),
        ("", None),
    ],
)
def test_a_jid_is_taken_from_the_tags_that_somebody_waits_for(tag: str, jid: str | None) -> None:
    assert split(tag)[1] == jid


@pytest.mark.parametrize(
    ("tag", "jid"),
    [
        (f"salt/job/{JID}/new", JID),
        (f"salt/job/{JID}/ret/a/b", JID),
        (f"salt/run/{JID}/new", JID),
        (f"salt/run/{JID}/progress/1", JID),
        (f"syndic/s1/salt/job/{JID}/ret/a", JID),
        (f"syndic/s1/syndic/s2/salt/run/{JID}/ret", JID),
        (JID, JID),
        ("salt/job/error", None),
        ("salt/auth", None),
        (f"my/{JID}", None),
    ],
)
def test_a_tag_tells_its_job(tag: str, jid: str | None) -> None:
    assert origin(*split(tag), tag)[1] == jid


@given(st.text() | st.lists(st.sampled_from(["salt", "syndic", "run", "job", "", "s1", JID])).map("/".join))
def test_any_text_may_be_a_tag(tag: str) -> None:
    kind, _ = origin(*split(tag), tag)

    assert kind in KINDS
    assert tag.endswith(inner_tag(tag))
