"""The calls of docs/http.md: sent as they stand there, they are answered as it says, by both masters."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from service.cli.http_page import EXCHANGES, Exchange
from service.clients import CLIENTS
from service.gateway.master.options import SALT_VERSION
from service.http.media import JSON
from tests.caller import Response
from tests.contract.conftest import Api
from tests.contract.test_v1_jobs import token_of
from tests.documented.commands import blocks, read
from tests.fakes import FakeGateway

PAGE = "docs/http.md"
LOW_WITHOUT_TARGET = {"client": "local", "fun": "test.ping"}
# The page shows what Salt 3008 says; older ones stamp what a wheel answers too.
ADDED = {"_stamp"} if int(SALT_VERSION.partition(".")[0]) < 3008 else set()
VOLATILE = re.compile(r"\b20\d{18}\b")
MOMENT = re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z")


def section(title: str) -> list[Any]:
    """Return the data in the blocks below a heading."""
    text = re.split(r"^#+ ", read(PAGE), flags=re.MULTILINE)
    (found,) = (part for part in text if part.partition("\n")[0] == title)
    return [json.loads(block.text) for block in blocks(PAGE, found)]


def comparable(value: object, user: str) -> Any:
    """Return an answer without its job ids, under the name of the page's user; minions answer in any order."""
    text = VOLATILE.sub("JID", json.dumps(value, sort_keys=True)).replace(f'"{user}"', '"demo"')
    return json.loads(
        text, object_hook=lambda one: {name: sorted(part, key=str) if isinstance(part, list) else part for name, part in one.items() if name not in ADDED}
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_the_example_of_a_client_is_true(api: Api, client: str) -> None:
    if client == "ssh" and not isinstance(api.process.gateway, FakeGateway):
        pytest.skip("the roster of the shared master has no hosts")
    request, documented = section(client)

    answer = api.caller.post([{**low, **api.demo} for low in request], "/run")

    assert [low["client"] for low in request] == [client]
    assert answer.status == 200
    assert comparable(answer.json(), api.demo["username"]) == comparable(documented, "demo")


def test_the_example_of_an_error_is_true(api: Api) -> None:
    (documented,) = section("Errors")

    answer = api.caller.post([{**LOW_WITHOUT_TARGET, **api.demo}], "/run")

    assert answer.status == documented["status"]
    assert {**answer.json(), "request_id": "..."} == documented


@pytest.fixture
def documented_job(api: Api) -> str:
    """Do what the first exchange does; return the job's id."""
    answer = sent(api, EXCHANGES["/v1/jobs"][0], "")
    jid: str = answer.json()["jid"]
    return jid


def sent(api: Api, exchange: Exchange, jid: str) -> Response:
    method, path = exchange.request.replace("JID", jid).split(" ")
    body = b"" if exchange.body is None else json.dumps(exchange.body).encode()
    return api.caller.request(method, path, body, x_auth_token=token_of(api), content_type=JSON)


@pytest.mark.parametrize("exchange", [one for several in EXCHANGES.values() for one in several], ids=lambda one: f"{one.request} {one.status}")
def test_the_example_of_a_job_is_true(api: Api, documented_job: str, exchange: Exchange) -> None:
    answer = sent(api, exchange, documented_job)
    shown = json.loads(MOMENT.sub("then", VOLATILE.sub("JID", answer.body.decode())))
    documented = json.loads(MOMENT.sub("then", json.dumps(exchange.answer)))

    assert answer.status == exchange.status
    assert {**shown, **{name: "..." for name in ("request_id",) if name in shown}} == documented
