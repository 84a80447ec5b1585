"""Rendering: no secrets, and one event is one event."""

from __future__ import annotations

import json
from typing import Any

import pytest
import salt.payload
from hypothesis import given
from hypothesis import strategies as st

from service.events.event import read
from service.http.media import encode
from service.streaming.rendering import StreamEvent, frame, scrub
from tests.unit.streaming.streams import event

JID = "20261123085604306179"


def rendered(tag: str, data: dict[str, Any]) -> Any:
    _, _, line = event(tag, data).render(encode).decode().rstrip("\n").partition("\ndata: ")
    return json.loads(line)["data"]


@given(st.binary())
def test_any_bytes_may_be_a_tag(tag: bytes) -> None:
    assert StreamEvent(read(tag + b"\n\n"), 0.0).render(encode).endswith(b"\n\n")


@pytest.mark.parametrize("tag", ["salt/job/error", f"salt/job/{JID}/error", "syndic/s1/salt/job/error", f"syndic/s1/salt/job/{JID}/error"])
def test_of_a_refused_job_only_the_refusal_is_shown(tag: str) -> None:
    load = {
        "jid": JID,
        "fun": "test.ping",
        "tgt_type": "glob",
        "user": "eve",
        "key": "ROOTKEY",
        "kwargs": {"password": "CANARY"},
        "arg": ["CANARY"],
        "tgt": "CANARY",
    }

    shown = rendered(tag, {**load, "error": {"name": "AuthenticationError", "message": "no: password=CANARY"}})

    assert shown == {"jid": JID, "fun": "test.ping", "tgt_type": "glob", "user": "eve", "error": "no: password=<redacted>"}


@pytest.mark.parametrize("tag", ["salt/auth", "salt/key", "syndic/s/salt/auth"])
def test_public_keys_are_left_out(tag: str) -> None:
    assert rendered(tag, {"id": "m", "act": "accept", "pub": "PEM"}) == {"id": "m", "act": "accept"}


def test_the_argument_of_a_token_function_is_a_token() -> None:
    shown = rendered(f"salt/run/{JID}/new", {"fun": "runner.auth.del_token", "fun_args": ["c0ffee" * 10]})

    assert shown["fun_args"] == "<redacted>"


SECRETS = st.sampled_from(["password", "passwd", "sharedsecret", "token", "X-Auth-Token", "api_key", "client_secret", "Authorization", "cookie", "priv", "key"])
TREES = st.recursive(st.just("x"), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8)


@pytest.mark.costly
@given(SECRETS, TREES, st.integers(0, 20))
def test_a_secret_is_masked_at_any_depth(name: str, around: Any, depth: int) -> None:
    value: Any = {name: "CANARY", "around": around}
    for _ in range(depth):
        value = {"next": [value]}

    line = event("my/tag", {"return": value}).render(encode)

    assert b"CANARY" not in line


@pytest.mark.parametrize("name", ["password", "db_password", "PASSWD", "token", "api_key", "key", "secrets"])
@pytest.mark.parametrize("value", ["CANARY", 'CA"NARY', "CA\\NARY", "CANARY=x", "CANARY\n\u2028ü"])
def test_an_argument_that_names_a_secret_is_masked_wherever_it_is(name: str, value: str) -> None:
    data = {"arg": [f"{name}={value}", "plain=1"], "return": {"args": [[f"{name}={value}"]]}, "text": f'say "{name}={value}" twice', "last": 1}

    line = event("my/tag", data).render(encode)

    assert b"NARY" not in line
    shown = json.loads(line.split(b"data: ", 1)[1])["data"]
    assert shown["arg"] == [f"{name}=<redacted>", "plain=1"]
    assert shown["last"] == 1


def test_what_is_no_secret_stays() -> None:
    data = {"return": {"pkg": "=1.0", "keys": ["a"], "tokenizer=": "x"}, "arg": ["name=web"], "fun": "pkg.install"}

    assert rendered("my/tag", data) == data


@pytest.mark.costly
@given(
    st.text(alphabet=st.characters(codec="utf-8")),
    st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), st.text(alphabet=st.characters(codec="utf-8"))),
)
def test_one_event_is_always_two_lines_and_an_empty_one(tag: str, data: dict[str, str]) -> None:
    lines = frame(tag, data, encode).decode().splitlines()

    assert [line.partition(" ")[0] for line in lines] == ["tag:", "data:", ""]
    assert json.loads(lines[1][6:])["tag"] == tag


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93\x01", salt.payload.dumps([1, 2]), salt.payload.dumps("x")])
def test_a_payload_that_is_no_mapping_is_shown_empty(payload: bytes) -> None:
    broken = StreamEvent(read(b"my/tag\n\n" + payload), 0.0)

    assert broken.render(encode) == b'tag: my/tag\ndata: {"data":{},"tag":"my/tag"}\n\n'


def test_bytes_sets_and_deep_values_can_be_shown() -> None:
    deep: Any = "bottom"
    for _ in range(200):
        deep = {"d": deep}

    shown = scrub("custom", {"b": b"\xff", "s": {1}, "deep": deep})

    assert b"<cut>" in frame("my/tag", shown, encode)


def test_an_event_is_rendered_once() -> None:
    one = event("my/tag", {"a": 1})

    assert one.render(encode) is one.render(encode)
