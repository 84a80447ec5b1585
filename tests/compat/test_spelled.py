"""Beside rest_cherrypy every field takes each spelling of its values alike, but for the differences that are listed."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from service.clients import OPT_IN, Client
from tests.compat.comparison import Comparison
from tests.compat.differences import RESPELLED
from tests.compat.spelled import EVERY_TRANSPORT, Respeller, Respelling, Said, respellings
from tests.spellings import REFUSED, Spelling, fields


@pytest.fixture(scope="module")
def respeller(compared: Comparison) -> Respeller:
    return compared.respeller()


@pytest.mark.master
@pytest.mark.slow
@pytest.mark.parametrize(("client", "field", "spellings"), respellings(), ids=lambda one: "" if isinstance(one, list) else str(one))
def test_a_spelling_is_taken_as_rest_cherrypy_takes_it(client: Client, field: str, spellings: list[Spelling], respeller: Respeller) -> None:
    sent = list(respeller.send(client, field, spellings))
    answers: defaultdict[str, set[str]] = defaultdict(set)
    for one in sent:
        answers[repr(one.spelling.means)].add(json.dumps(one.ours.value, sort_keys=True))

    assert [fault for one in sent for fault in one.faults()] == []
    assert {means: found for means, found in answers.items() if len(found) > 1} == {}, "what means the same is answered differently"


def test_every_listed_difference_has_spellings() -> None:
    sent = [(client, field, spelling) for client, field, spellings in respellings() for spelling in spellings]

    assert [rule.reason for rule in RESPELLED if not any(rule.covers(*one) for one in sent)] == []


@pytest.mark.costly
def test_every_value_is_sent_for_every_field_and_every_transport_by_some() -> None:
    sent = {(client, field): {repr((one.value, one.means)) for one in spellings} for client, field, spellings in respellings()}

    assert sent == {(client, field): {repr((one.value, one.means)) for one in spellings} for client, field, spellings in fields() if client not in OPT_IN}
    assert [len(spellings) for client, _, spellings in respellings() if client in EVERY_TRANSPORT] == [
        len(spellings) for client, _, spellings in fields() if client in EVERY_TRANSPORT
    ]


@pytest.mark.parametrize(
    ("text", "means", "theirs", "ours", "fault"),
    [
        ('"no"', False, Said(200, 1), Said(200, 1), "does not differ"),
        ("true", True, Said(200, 1), Said(200, 2), "not listed"),
        ('"maybe"', REFUSED, Said(200, 1), Said(200, 2), "not what the spelling means"),
    ],
)
def test_a_difference_that_is_not_as_listed_is_a_fault(text: str, means: object, theirs: Said, ours: Said, fault: str) -> None:
    (found,) = Respelling(Client.LOCAL, "full_return", Spelling("json", text, means, "a test"), theirs, ours).faults()

    assert fault in found
