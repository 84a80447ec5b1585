"""`/openapi.json`: all that is served stands there, and all of the contract suite's answers are held to it (`declared_answers.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.http.media import JSON
from service.openapi.document import path_of
from service.openapi.operations import OPERATIONS
from service.routes import API
from tests.caller import Response
from tests.contract.conftest import fake_api
from tests.contract.declared_answers import check
from tests.contract.test_routes import MOVED, OF_THE_SITE, all_of, router_of

METHODS = {"get", "post", "delete"}


@pytest.mark.costly
@pytest.mark.parametrize("settings", [{}, {**MOVED, "SIDECAR_API_ROOT_PREFIX": "/salt"}], ids=["in their places", "moved"])
def test_the_document_has_what_the_router_serves_and_nothing_else(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, **all_of(tmp_path), **settings)
    prefix = settings.get("SIDECAR_API_ROOT_PREFIX", "")

    document = api.caller.get(f"{prefix}/openapi.json").json()

    served, _ = router_of(api.process.api.app)
    # The page and its files are whatever an installation puts there.
    files = {url for route in API if route.template in OF_THE_SITE for url in route.urls(api.process.reloading.settings)}
    assert {url: set(told) for url, told in document["paths"].items()} == {
        path_of(url): {method.lower() for method in methods} - {"head"} for url, _, methods in served if url not in files
    }
    assert document["servers"] == [{"url": prefix or "/"}]


def test_every_method_of_the_table_is_described() -> None:
    assert {url: set(told) for url, told in OPERATIONS.items()} == {route.template: set(route.access) for route in API if route.template not in OF_THE_SITE}


def references(value: Any) -> set[str]:
    """Return what is referred to, anywhere in a value."""
    if isinstance(value, dict):
        return {value["$ref"]} if "$ref" in value else set().union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_what_the_document_refers_to_is_in_it_and_the_other_way_round(tmp_path: Path) -> None:
    document = fake_api(tmp_path).caller.get("/openapi.json", accept="text/html").json()

    assert references(document) == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    used = {name for told in document["paths"].values() for one in told.values() for way in one["security"] for name in way}
    assert used <= document["components"]["securitySchemes"].keys()
    names = [one["operationId"] for told in document["paths"].values() for one in told.values()]
    assert len(set(names)) == len(names)
    answers = [answer for told in document["paths"].values() for one in told.values() for answer in one["responses"].values()]
    linked = [link["operationId"] for answer in answers for link in answer.get("links", {}).values()]
    assert linked
    assert set(linked) <= set(names)


def test_it_is_compressed_for_who_takes_that(tmp_path: Path) -> None:
    answer = fake_api(tmp_path).caller.get("/openapi.json", accept_encoding="gzip")

    assert (answer.headers["content-encoding"], answer.headers["content-type"]) == ("gzip", JSON)


UNDECLARED = {
    "a status": Response(418, {"content-type": JSON}, b"{}"),
    "a media type": Response(200, {"content-type": "text/plain"}, b"{}"),
    "a member": Response(200, {"content-type": JSON}, json.dumps({"minions": [], "more": 1}).encode()),
    "a type": Response(200, {"content-type": JSON}, json.dumps({"minions": [1]}).encode()),
    "an error of another family": Response(400, {"content-type": JSON}, json.dumps({"return": "400: no", "status": 400, "error": "BadRequest"}).encode()),
}


@pytest.mark.parametrize("what", UNDECLARED)
def test_an_answer_that_is_not_declared_is_found(what: str) -> None:
    with pytest.raises(AssertionError):
        check("GET", "/v1/minions", UNDECLARED[what])
