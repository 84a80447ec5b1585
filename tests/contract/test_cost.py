"""What one request costs, in calls of our own functions: time says little on a machine with other work, calls are the same everywhere."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.contract.conftest import Api, fake_api, login
from tests.costs import Cost, calls_of, comes_to_take_at_most, least_extra_bytes_of
from tests.fakes import FakeGateway

# Of a `local` request to two minions, and of each further minion: what it takes now, and a twentieth more.
MOST_CALLS, MOST_CALLS_A_MINION = 439, 41
PING = {"client": "local", "tgt": "*", "fun": "test.ping"}


def with_minions(api: Api, minions: int) -> None:
    """Let the master have so many."""
    assert isinstance(api.process.gateway, FakeGateway)
    master = api.process.gateway.master
    master.minions = [f"minion-{number}" for number in range(minions)]
    master.keys = set(master.minions)


def calls_of_a_ping(api: Api, minions: int) -> int:
    """Return how many of our functions one `local` request calls, once all that is remembered has been worked out."""
    with_minions(api, minions)
    low = {**PING, **api.demo}
    api.caller.post(low)
    answers = []
    calls = calls_of(lambda: answers.append(api.caller.post(low)))
    assert len(answers[0].json()["return"][0]) == minions
    return calls


def test_a_request_to_minions_is_hardly_more_work_than_it_was(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    two, twelve = calls_of_a_ping(api, 2), calls_of_a_ping(api, 12)

    assert two <= MOST_CALLS
    assert twelve - two <= 10 * MOST_CALLS_A_MINION


@pytest.mark.slow
def test_a_return_is_the_same_work_with_a_hundred_minions_and_with_ten_thousand(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    hundred, thousand, ten_thousand = (calls_of_a_ping(api, minions) for minions in (100, 1000, 10_000))
    few, many = (thousand - hundred) / 900, (ten_thousand - thousand) / 9000

    assert 0.8 * few <= many <= 1.2 * few


PAGES = ("/v1/minions", "/v1/minions?seen=1", "/v1/minions?seen=1&limit=100", "/keys")


def costs_of_a_page(api: Api, path: str, minions: int) -> Cost:
    """Return what a page costs for each minion of the fleet; all were heard of."""
    with_minions(api, minions)
    token = login(api, api.demo)
    ask = functools.partial(api.caller.get, path, x_auth_token=token)
    assert ask().status == 200
    return Cost(calls_of(ask) / minions, least_extra_bytes_of(ask) / minions)


@pytest.mark.costly
def test_what_a_page_costs_for_each_minion_does_not_grow_with_the_fleet(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    for minion in range(1000):
        api.process.follower.fleet.heard(f"minion-{minion}", highstate=True)
    few, many = ({path: costs_of_a_page(api, path, minions) for path in PAGES} for minions in (100, 1000))

    assert [path for path in PAGES if not many[path].is_about(few[path], slack_bytes=200)] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", [*PAGES, "/minions"])
def test_a_page_of_ten_thousand_minions_takes_ten_times_that_of_a_thousand(tmp_path: Path, path: str) -> None:
    api = fake_api(tmp_path)
    for minion in range(10_000):
        api.process.follower.fleet.heard(f"minion-{minion}", highstate=True)

    assert costs_of_a_page(api, path, 10_000).is_about(costs_of_a_page(api, path, 1000), slack_bytes=200)


@pytest.mark.costly
def test_a_status_costs_the_same_however_many_minions_a_job_has(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_JOBS_STORE=f"sqlite://{tmp_path}/jobs.db")
    token = login(api, api.demo)
    calls, most_bytes = [], 10**9
    for minions in (10, 1000):
        with_minions(api, minions)
        started = api.caller.post({"fun": "test.ping", "tgt": "*"}, "/v1/jobs?wait=60", x_auth_token=token).json()
        assert (started["status"], started["counts"]) == ("succeeded", {"ok": minions})
        ask = functools.partial(api.caller.get, f"/v1/jobs/{started['jid']}?fields=status", x_auth_token=token)
        assert ask().json() == {"jid": started["jid"], "status": "succeeded"}
        calls.append(calls_of(ask))
        assert comes_to_take_at_most(most_bytes, ask)
        most_bytes = least_extra_bytes_of(ask) + 20_000

    assert 0 < calls[1] <= 1.1 * calls[0]
