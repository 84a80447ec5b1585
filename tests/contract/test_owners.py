"""Whose jobs a caller sees in a stream: those of the same user of the same eauth module; and that nobody can use another's jid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict
from service.gateway.transport.event_writer import packed
from service.routes import API_TEMPLATES
from service.streaming.sse import CONTENT_TYPE
from tests.contract.conftest import Api, fake_api, login
from tests.fakes import EAUTHS, SECRET, FakeGateway
from tests.listening import Listening

RIGHTS = "{ann: [test.ping, '@runner'], bob: [test.ping, '@runner'], demo: ['.*']}"
BOTH = f"external_auth: {{sharedsecret: {RIGHTS}, file: {RIGHTS}}}\n"
ONE = f"external_auth: {{file: {RIGHTS}}}\n"
USERS = [(eauth, user) for eauth in EAUTHS for user in ("ann", "bob")]
STREAMS = ["/events", "/events/", "/events?ids=1", "/events?tag=*"]
JID = "20251231000000000000"


def credentials(who: tuple[str, str]) -> dict[str, str]:
    return {"eauth": who[0], "username": who[1], "password": SECRET}


def gateway_of(api: Api) -> FakeGateway:
    assert isinstance(api.process.gateway, FakeGateway)
    return api.process.gateway


def fire(api: Api, tag: str, **data: Any) -> None:
    gateway_of(api).hub.deliver(packed(tag, data, 2**20))


def inline(api: Api, who: tuple[str, str], low: dict[str, Any]) -> None:
    assert api.caller.post([{**credentials(who), **low}]).status == 200


def by_token(api: Api, who: tuple[str, str], low: dict[str, Any]) -> None:
    # One that nobody has looked up here.
    token = gateway_of(api).master.send({"cmd": "mk_token", **credentials(who)})["token"]
    assert api.caller.post([{"token": token, **low}], "/run").status == 200


def in_session(api: Api, who: tuple[str, str], low: dict[str, Any]) -> None:
    assert api.caller.post([low], x_auth_token=login(api, credentials(who))).status == 200


WAYS = [inline, by_token, in_session]
LOWS: list[dict[str, Any]] = [
    {"client": "local", "tgt": "*", "fun": "test.ping"},
    {"client": "local", "tgt": "*", "fun": "test.ping", "jid": "20251231000000000001"},
    {"client": "local_async", "tgt": "minion-1", "fun": "test.ping"},
    {"client": "local_batch", "tgt": "*", "fun": "test.ping", "batch": 1},
    {"client": "runner", "fun": "test.arg"},
    {"client": "runner_async", "fun": "test.arg"},
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    """Make the application over a master with two eauth modules that have the same users."""
    return fake_api(tmp_path_factory.mktemp("both"), external_auth=BOTH)


@pytest.fixture
def listening(api: Api, request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], Listening]]:
    """Let every user listen at a URL."""
    path, _, query = str(request.param).partition("?")
    streams = {who: Listening(api.process.api, login(api, credentials(who)), query, path) for who in USERS}
    yield streams
    for stream in streams.values():
        stream.close()


def seen(api: Api, streams: dict[tuple[str, str], Listening]) -> dict[tuple[str, str], set[str]]:
    """Return the jids of which each has seen events, when each has seen a job of its own at the end."""
    found = {}
    for who, stream in streams.items():
        api.caller.post([{**credentials(who), "client": "local", "tgt": "minion-2", "fun": "test.ping"}])
        (last,) = [jid for jid, load in list(gateway_of(api).master.published.items())[-1:] if load]
        found[who] = {event.data["jid"] for event in stream.until(f"{last}/ret/minion-2")} - {last}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("listening", STREAMS, indirect=True)
@pytest.mark.parametrize("way", WAYS)
def test_each_user_of_each_module_sees_its_own_jobs_and_no_others(api: Api, listening: dict[tuple[str, str], Listening], way: Any) -> None:
    started: dict[tuple[str, str], set[str]] = {}
    master = gateway_of(api).master
    for who in USERS:
        jids: set[str] = set()
        master.meanwhile = jids.add
        for number, low in enumerate(LOWS):
            fresh = {"jid": f"{JID[:-4]}{len(master.published) % 1000:03d}{number}"} if "jid" in low else {}
            way(api, who, {**low, **fresh})
        started[who] = jids
    master.meanwhile = lambda _jid: None

    assert all(len(jids) > len(LOWS) for jids in started.values())
    # An event of another row's job, of which the owner was not known at once, may still come.
    ours = set().union(*started.values())
    assert {who: jids & ours for who, jids in seen(api, listening).items()} == started


@pytest.mark.parametrize("template", API_TEMPLATES)
def test_no_other_url_streams(api: Api, template: str) -> None:
    with Listening(api.process.api, login(api, credentials(USERS[0])), path=re.sub("{.*?}", "x", template)) as stream:
        assert (stream.headers["content-type"] == CONTENT_TYPE) is (template == "/events")


def announced_elsewhere(api: Api, who: tuple[str, str], user: str) -> bool:
    """Let another API publish a job; say whether a user of ours sees its return."""
    fire(api, f"salt/job/{JID}/new", jid=JID, user=user, minions=["minion-1"], missing=[], fun="test.ping")
    with Listening(api.process.api, login(api, credentials(who))) as stream:
        stream.chunk()
        fire(api, f"salt/job/{JID}/ret/minion-1", jid=JID, id="minion-1", fun="test.ping", **{"return": True})
        return JID in seen(api, {who: stream})[who]


@pytest.mark.parametrize("who", USERS)
@pytest.mark.slow
def test_a_job_that_another_api_published_is_nobodys_where_two_modules_have_its_user(tmp_path: Path, who: tuple[str, str]) -> None:
    assert not announced_elsewhere(fake_api(tmp_path, external_auth=BOTH), who, "ann")


@pytest.mark.parametrize(
    ("user", "options", "sees"),
    [
        ("ann", "", True),
        ("bob", "", False),
        ("root", "", False),
        ("ann", "publisher_acl: {ann: [test.ping]}\n", False),
        ("ann", "user: ann\n", False),
        ("ann", "order_masters: true\nsyndic_wait: 0\n", False),
        ("ann", "syndic_master: upper\n", False),
    ],
)
@pytest.mark.slow
def test_with_one_module_its_name_tells_whose_the_job_is_unless_it_may_be_a_local_users(tmp_path: Path, user: str, options: str, sees: bool) -> None:
    api = fake_api(tmp_path, external_auth=ONE, master=options)

    assert announced_elsewhere(api, ("file", "ann"), user) is sees


@pytest.mark.parametrize("path", ["/", "/run"])
@pytest.mark.parametrize("client", ["local", "local_async", "local_batch", "local_subset"])
@pytest.mark.parametrize("who", USERS)
@pytest.mark.slow
def test_a_jid_of_anothers_job_is_refused_before_anything_runs(tmp_path: Path, who: tuple[str, str], client: str, path: str) -> None:
    api = fake_api(tmp_path, external_auth=BOTH)
    low = {"client": client, "tgt": "*", "fun": "test.ping", "jid": JID}
    inline(api, ("file", "ann"), {**low, "client": "local_async"})
    published = dict(gateway_of(api).master.published)
    answer = api.caller.post([{**credentials(who), **low}], path)

    assert answer.status == (200 if who == ("file", "ann") else Conflict.status)
    if answer.status != 200:
        assert JID in str(answer.json()["return"])
        assert gateway_of(api).master.published == published


@pytest.mark.parametrize("tag", [f"salt/job/{JID}/new", f"salt/job/{JID}/ret/minion-1", f"syndic/lower/salt/job/{JID}/ret/minion-1"])
def test_a_jid_of_a_job_that_others_published_is_refused(tmp_path: Path, tag: str) -> None:
    api = fake_api(tmp_path, external_auth=BOTH)
    fire(api, tag, jid=JID, user="ann", minions=["minion-1"])

    assert api.caller.post([{**credentials(("file", "ann")), "client": "local", "tgt": "*", "fun": "test.ping", "jid": JID}]).status == 409


@pytest.mark.parametrize("who", USERS)
@pytest.mark.parametrize("credential", [{"password": "wrong"}, {"token": "ab" * 32}])
def test_who_has_not_proven_who_they_are_is_told_nothing_of_a_jid(tmp_path: Path, who: tuple[str, str], credential: dict[str, str]) -> None:
    api = fake_api(tmp_path, external_auth=BOTH, SIDECAR_LIMITS_AUTH_FAILURES_BURST="5")
    low = {"client": "local", "tgt": "*", "fun": "test.ping", "jid": JID}
    inline(api, ("file", "ann"), {**low, "client": "local_async"})
    answers = [api.caller.post([{**credentials(who), **credential, **low}]).status for _ in range(8)]

    # Each is a failed login, and braked as one.
    assert answers == [401] * 5 + [429] * 3


def test_a_jid_that_a_refused_low_named_is_still_free(api: Api) -> None:
    low = {"client": "local", "tgt": "*", "fun": "test.ping", "jid": "20251231000000000777"}

    assert api.caller.post([{**credentials(("file", "ann")), **low, "password": "wrong"}]).status == 401
    assert api.caller.post([{**credentials(("file", "bob")), **low}]).status == 200
