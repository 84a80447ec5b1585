"""An event of the bus: what is read of it, and what is decoded."""

from __future__ import annotations

import salt.payload

from service.events.event import TAG_END, read

JID = "20260101000000000000"


def raw(tag: str, data: object) -> bytes:
    payload: bytes = salt.payload.dumps(data, use_bin_type=True)
    return tag.encode() + TAG_END + payload


def test_an_events_data_is_the_mapping_after_the_tag() -> None:
    tag = f"salt/job/{JID}/ret/a"

    assert read(raw(tag, {"return": "ünï"})).data() == {"return": "ünï"}
    assert read(raw(tag, [1, 2])).data() == {}
    assert read(tag.encode()).data() == {}


def test_who_cannot_decode_an_event_is_told_its_tag_and_its_size() -> None:
    told: list[tuple[str, int]] = []

    read(b"my/tag\n\n\xc1").data(lambda tag, size: told.append((tag, size)))

    assert told == [("my/tag", 9)]


def test_an_event_shows_no_payload() -> None:
    assert "CANARY" not in repr(read(raw("my/tag", {"password": "CANARY"})))
