"""A hostile minion and the streams: every event is shown as one event, or not at all, and those of others come all the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events.event import read
from service.events.owners import Owners
from service.http.media import encode
from service.streaming.fanout import Streams
from service.streaming.readers import Reader, View
from tests.hostile import Fired, events, packed
from tests.listening import Received, parse
from tests.unit.streaming.streams import owner

JID = "20261123085604306179"
ANNOUNCED = (f"salt/job/{JID}/new", {"jid": JID, "user": "ann", "minions": ["m1"]})
RETURNED = (f"salt/job/{JID}/ret/m1", {"id": "m1", "jid": JID, "return": "m1's"})


def until_the_return(reader: Reader) -> list[Received]:
    """Return the events that a reader gets, up to the minion's return."""
    found: list[Received] = []
    while not found or found[-1].data.get("return") != "m1's":
        batch = reader.next(60)
        assert batch is not None, found
        found += parse(batch.data)
    return found


@pytest.mark.slow
@given(st.lists(events([JID], ["m1"]), max_size=8))
def test_any_event_leaves_the_others_in_every_stream(hostile: list[Fired]) -> None:
    crashes: list[None] = []
    streams = Streams(Owners(owner), encode=encode, queue_events=1000, on_crash=lambda: crashes.append(None), pace_seconds=0)
    hers, everything = streams.open(View(owner("ann"))), streams.open(View())
    for fired in [ANNOUNCED, *hostile, RETURNED]:
        streams.take(read(packed(fired)))
    seen = [until_the_return(reader) for reader in (hers, everything)]
    streams.stop()

    assert not crashes
    assert all(events[0].tag == ANNOUNCED[0] and events[-1].tag == RETURNED[0] for events in seen)
    assert len(seen[1]) == len(hostile) + 2
