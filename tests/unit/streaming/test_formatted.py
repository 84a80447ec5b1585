"""Jobs and minions instead of events: the messages of rest_cherrypy's and rest_tornado's own code, within bounds, whatever is on the bus."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.netapi.rest_cherrypy import event_processor as cherrypy
from salt.netapi.rest_tornado import event_processor as tornado

from service.http.media import encode
from service.streaming import formatted
from service.streaming.formatted import Flavour, Picture
from service.streaming.messages import lines_of, prefixed
from service.streaming.rendering import frame

JID = "20261130023000000000"
NEW = {"jid": JID, "_stamp": "2026-11-30T02:30:00", "minions": ["a", "b"], "fun": "grains.items", "tgt": "*", "tgt_type": "glob", "user": "demo"}
RET = {"jid": JID, "return": {"os": "Debian"}, "retcode": 0, "success": True, "fun": "grains.items"}
HISTORY: list[tuple[str, dict[str, Any]]] = [
    (f"salt/job/{JID}/new", NEW),
    (f"salt/job/{JID}/ret/a", RET),
    ("salt/key", {"act": "accept", "id": "c", "result": True}),
    (f"salt/job/{JID}/ret/b", {**RET, "success": False, "retcode": 1}),
    ("salt/key", {"act": "delete", "id": "a", "result": True}),
    ("salt/key", {"act": "pend", "id": "d", "result": True}),
    (f"salt/job/{JID}1/ret/b", {**RET, "fun": "test.ping", "return": True}),
    ("salt/auth", {"act": "accept", "id": "a"}),
    (f"salt/job/{JID}2/new", {**NEW, "jid": f"{JID}2"}),
    (f"salt/job/{JID}2/ret/c", {**RET, "jid": f"{JID}2"}),
]


class Handler:
    """Keeps what upstream's code sends."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, message: str, _binary: bool) -> None:
        self.sent.append(message)

    def write_message(self, message: str) -> None:
        self.sent.append(message)


def picture(flavour: Flavour = formatted.CHERRYPY, forgotten: Callable[[int], None] = lambda _count: None, **bounds: int) -> Picture:
    return Picture(flavour, encode, forgotten, **bounds)


def rendered(*events: tuple[str, Any]) -> bytes:
    return b"".join(frame(tag, data, encode) for tag, data in events)


@pytest.mark.parametrize(("theirs", "flavour"), [(cherrypy, formatted.CHERRYPY), (tornado, formatted.TORNADO)], ids=["rest_cherrypy", "rest_tornado"])
def test_the_messages_are_those_of_upstreams_code(theirs: Any, flavour: Flavour) -> None:
    handler, ours = Handler(), picture(flavour)
    info = theirs.SaltInfo(handler)

    for tag, data in HISTORY:
        del handler.sent[:]
        info.process({"tag": tag, "data": data}, "token", {})
        sent = [message.decode() for message in ours.render(rendered((tag, data)))]

        assert [json.loads(message) for message in sent] == [json.loads(message) for message in handler.sent], tag
        assert [len(message) - len(message.rstrip()) for message in sent] == [len(message) - len(message.rstrip()) for message in handler.sent], tag


def test_minions_come_and_go_with_what_the_master_says_of_their_presence() -> None:
    ours = picture(formatted.TORNADO)

    messages = ours.render(
        rendered(
            ("salt/presence/present", {"present": ["a", "b"]}),
            ("salt/presence/present", {"present": ["a", "b"]}),
            ("salt/presence/change", {"new": ["c"], "lost": ["a"]}),
        )
    )

    assert [sorted(json.loads(message)["minions"]) for message in messages] == [["a", "b"], ["b", "c"]]


def test_the_oldest_jobs_are_left_out_and_counted() -> None:
    forgotten: list[int] = []
    ours = picture(forgotten=forgotten.append, most_jobs=2)

    messages = ours.render(rendered(*((f"salt/job/{number}/new", {**NEW, "jid": str(number), "fun": "test.ping"}) for number in range(4))))

    assert sorted(json.loads(messages[-1])["jobs"]) == ["2", "3"]
    assert forgotten == [1, 1]


def test_large_returns_leave_room_for_one_job_and_for_one_minion() -> None:
    forgotten: list[int] = []
    ours = picture(forgotten=forgotten.append, most_bytes=1000)

    messages = ours.render(rendered(*((f"salt/job/{number}/ret/m{number}", {**RET, "return": "x" * 2000}) for number in range(3))))

    jobs, minions = (json.loads(message) for message in messages[-2:])
    assert (sorted(jobs["jobs"]), [minion["id"] for minion in minions["minions"]]) == (["2"], ["m2"])
    assert forgotten == [1, 1, 1, 1]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)
KEYS = st.sampled_from(["jid", "_stamp", "minions", "fun", "tgt", "tgt_type", "return", "retcode", "success", "act", "id", "present", "new", "lost"])
TAGS = st.sampled_from(
    ["salt/job/1/new", "salt/job/1/ret/a", "salt/job", "salt/job/1", "salt/key", "salt/presence/present", "salt", "", "x/key/y", "a/job/b/ret/c/d"]
)


@pytest.mark.costly
@given(st.lists(st.tuples(TAGS, st.dictionaries(KEYS, JUNK | st.sampled_from(["grains.items", "accept", "delete"])) | JUNK), max_size=8))
def test_no_event_breaks_it(events: list[tuple[str, Any]]) -> None:
    for message in picture(formatted.TORNADO).render(rendered(*events)):
        assert set(json.loads(message)) <= {"jobs", "minions"}


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=20)), max_size=5))
def test_events_are_cut_apart_where_they_end(events: list[tuple[str, str]]) -> None:
    batch = rendered(*((tag, {"text": f"{text}\n\ndata: x"}) for tag, text in events))

    lines = lines_of(batch)
    assert [json.loads(line) for line in lines] == [{"data": {"text": f"{text}\n\ndata: x"}, "tag": tag} for tag, text in events]
    assert prefixed(batch) == [b"data: " + line + b"\n\n" for line in lines]
