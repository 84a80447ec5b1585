"""The links of `/openapi.json` on either master: each one that is declared is followed from a real answer, and leads somewhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from service.demo.embedded import PATIENCE_SECONDS, until
from tests.caller import Response
from tests.contract.conftest import Api
from tests.contract.test_v1_jobs import get, post, token_of


class Link(NamedTuple):
    """One declared link: from which answer of which operation, to what; parameters: by name, where in that answer they are."""

    source: str
    status: int
    target: str
    parameters: tuple[tuple[str, str], ...]


def links_of(document: Mapping[str, Any]) -> Iterator[Link]:
    for told in document["paths"].values():
        for operation in told.values():
            for status, answer in operation["responses"].items():
                for link in answer.get("links", {}).values():
                    yield Link(operation["operationId"], int(status), link["operationId"], tuple(link["parameters"].items()))


def places_of(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the method and the URL of each operation."""
    return {operation["operationId"]: (method.upper(), url) for url, told in document["paths"].items() for method, operation in told.items()}


def between_its_waves(api: Api) -> Response:
    """Start a job and wait for its first wave: a job that is ended while a minion is at it ends a minion of the real master, which runs jobs in threads."""
    answer = post(api, query="", batch=1, batch_wait=600)
    for _ in until(PATIENCE_SECONDS):
        if get(api, f"/{answer.json()['jid']}").json()["counts"].get("ok"):
            return answer
    raise AssertionError("the first wave does not end")


def cancel(api: Api, jid: str) -> None:
    assert api.caller.request("DELETE", f"/v1/jobs/{jid}", x_auth_token=token_of(api)).status in {200, 202}


# By the operation and the status that it is to be answered with.
SOURCES: Mapping[tuple[str, int], Callable[[Api], Response]] = {
    ("post_v1_jobs", 200): functools.partial(post, query="?wait=30"),
    ("post_v1_jobs", 202): between_its_waves,
}
# What a link that sends something leaves to the caller.
BODIES: Mapping[str, Any] = {"post_v1_jobs_jid_relaunch": {"minions": ["minion-1"]}}
# A stream is over when its job is.
ENDS_WITH_ITS_JOB = {"get_v1_jobs_jid_events"}
# Where the job that an answer is about goes on; a link leads to 200 or 202 everywhere else.
WHILE_IT_GOES_ON = {"post_v1_jobs_jid_relaunch": 409}


def followed(api: Api, link: Link, place: tuple[str, str]) -> int:
    """Follow a link from an answer of its own, which the caller holds to the document as it does what that leads to; return the status."""
    source = SOURCES[link.source, link.status](api)
    assert source.status == link.status, source.body
    jid = source.json()["jid"]
    if link.target in ENDS_WITH_ITS_JOB:
        cancel(api, jid)
    method, url = place
    for name, where in link.parameters:
        assert where.startswith("$response.body#/")
        url = url.replace(f"{{{name}}}", source.json()[where.removeprefix("$response.body#/")])
    send = functools.partial(api.caller.post, BODIES[link.target]) if link.target in BODIES else functools.partial(api.caller.request, method)
    status = send(path=url, x_auth_token=token_of(api)).status
    cancel(api, jid)
    return status


@pytest.mark.costly
def test_each_link_that_is_declared_leads_somewhere(api: Api) -> None:
    document = api.caller.get("/openapi.json").json()
    links, places = [*links_of(document)], places_of(document)
    reached = {link: followed(api, link, places[link.target]) for link in links}

    assert {(link.source, link.status) for link in links} == set(SOURCES)
    assert {link.target for link in links} >= {*BODIES, *ENDS_WITH_ITS_JOB, *WHILE_IT_GOES_ON}
    for link, status in reached.items():
        refused = WHILE_IT_GOES_ON.get(link.target) if link.status == 202 else None
        assert status in ({refused} if refused else {200, 202}), link
