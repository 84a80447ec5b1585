"""Every field of every client takes each spelling that has one meaning, and refuses the others."""

from __future__ import annotations

from typing import Any

import falcon.testing
import pytest

from service.clients import CLIENTS, Client
from service.errors import BadRequest
from service.gateway.low import parse_lowstate
from service.http.body_memory import BodyMemory, Share
from service.http.media import decode
from tests.spellings import MEDIA_TYPES, NOT_SENT, REFUSED, Spelling, fields

LOW = {"tgt": "*", "fun": "test.ping", "token": "0123456789abcdef" * 4}


def read(client: Client, name: str, spelling: Spelling) -> Any:
    """Return what is made of a body with this spelling."""
    environ = falcon.testing.create_environ(
        method="POST", body=spelling.body({**LOW, "client": client}, name), headers={"Content-Type": MEDIA_TYPES[spelling.transport]}
    )
    req = falcon.Request(environ)
    req.context.share = Share(BodyMemory(2**24))
    try:
        (low,) = parse_lowstate(decode(req), enabled=CLIENTS, most=1)
    except BadRequest as refusal:
        return REFUSED if refusal.details == {"field": name} else refusal
    return low.fields.get(name, NOT_SENT)


@pytest.mark.parametrize(("client", "name", "spellings"), fields())
def test_a_spelling_means_what_its_writer_means(client: Client, name: str, spellings: tuple[Spelling, ...]) -> None:
    found = [(spelling, read(client, name, spelling)) for spelling in spellings]

    assert [(one.transport, one.text, value) for one, value in found if value != one.means or type(value) is not type(one.means)] == []


@pytest.mark.parametrize("text", ["[" * 10_000, '{"a":' * 300 + "1" + "}" * 300, f'{{"a": "{"x" * 10_000}"}}'], ids=len)
def test_an_object_in_a_string_is_bounded(text: str) -> None:
    with pytest.raises(BadRequest, match="kwarg may have"):
        parse_lowstate({**LOW, "client": "local", "kwarg": text}, enabled=CLIENTS, most=1)


@pytest.mark.parametrize("name", ["arg", "kwarg"])
def test_what_a_string_holds_is_judged_like_what_an_object_holds(name: str) -> None:
    low = {**LOW, "client": "wheel", "kwarg": f'{{"{name}": ["x"]}}'}

    with pytest.raises(BadRequest, match="kwarg must have no names arg and kwarg"):
        parse_lowstate(low, enabled=CLIENTS, most=1)
