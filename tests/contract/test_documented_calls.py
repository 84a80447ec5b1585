"""The calls of docs/http.md: sent as they stand there, they are answered as it says, by both masters."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from service.clients import CLIENTS
from service.gateway.master.options import SALT_VERSION
from tests.contract.conftest import Api
from tests.documented.commands import blocks, read

PAGE = "docs/http.md"
LOW_WITHOUT_TARGET = {"client": "local", "fun": "test.ping"}
# The page shows what Salt 3008 says; older ones stamp what a wheel answers too.
ADDED = {"_stamp"} if int(SALT_VERSION.partition(".")[0]) < 3008 else set()
VOLATILE = re.compile(r"\b20\d{18}\b")


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
