"""`/events`: framing, who sees what, filters, ids, limits, and no secrets."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from service.errors import MasterUnreachable
from service.gateway.transport.event_writer import packed
from tests.contract.conftest import Api, fake_api, listening, login
from tests.fakes import FakeGateway
from tests.listening import RETRY, Listening, Received, parse

CANARY = "CANARY-7f3a"


def fire(api: Api, tag: str, data: dict[str, object] | None = None) -> None:
    """Put an event on the fake master's bus."""
    assert isinstance(api.process.gateway, FakeGateway)
    api.process.gateway.hub.deliver(packed(tag, data or {}, 2**20))


def test_a_stream_begins_at_once_with_the_heartbeat_and_its_headers(api: Api) -> None:
    with Listening(api.process.api, login(api, api.demo)) as stream:
        first = stream.chunk()

    assert (stream.status, first) == (200, b"retry: 400\n")
    assert stream.headers["content-type"] == "text/event-stream;charset=utf-8"
    assert stream.headers["cache-control"] == "no-cache"


def test_the_events_of_a_job_come_in_the_form_that_every_parser_knows(api: Api) -> None:
    with listening(api) as stream:
        jid = api.value(client="local_async", tgt="minion-1", fun="test.ping")["jid"]
        # The master's workers send these two on connections of their own: their order is not promised, and jobs of others are on the bus too.
        wanted = {f"salt/job/{jid}/new", f"salt/job/{jid}/ret/minion-1"}
        job: dict[str, Received] = {}
        for event in stream.events():
            job |= {event.tag: event} if event.tag in wanted else {}
            if set(job) == wanted:
                break

    new, ret = (job[tag] for tag in sorted(wanted))
    assert new.data["minions"] == ["minion-1"]
    assert ret.data["return"] is True
    assert ret.id is None
    assert b"tag: " + ret.tag.encode() + b'\ndata: {"data":{' in stream.raw


@pytest.mark.parametrize("accept", ["application/json", "application/x-yaml", "text/event-stream", "text/html", "image/png"])
def test_any_accept_header_will_do(api: Api, accept: str) -> None:
    with listening(api, accept=accept) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")


def test_a_trailing_slash_and_unknown_parameters_do_not_matter(api: Api) -> None:
    with Listening(api.process.api, login(api, api.demo), "salt=1", "/events/") as stream:
        assert stream.status == 200


@pytest.mark.parametrize("token", [None, "", "junk", "../../etc/passwd", "ab" * 32])
def test_who_has_no_session_gets_401(api: Api, token: str | None) -> None:
    with Listening(api.process.api, token) as stream:
        assert stream.status == 401


def test_a_filter_lets_only_matching_tags_through(api: Api) -> None:
    with listening(api, query="tag=salt/job/*/ret/minion-2&tag=nothing/*") as stream:
        api.value(client="local", tgt="*", fun="test.ping")
        events = stream.until("/ret/minion-2")

    assert all(event.tag.endswith("/ret/minion-2") for event in events)


@pytest.mark.parametrize("query", ["&".join(["tag=x"] * 1 + [f"tag={n}" for n in range(60)]), "tag=" + "x" * 600])
def test_too_many_or_too_long_filters_are_a_bad_request(tmp_path: Path, query: str) -> None:
    api = fake_api(tmp_path)

    with Listening(api.process.api, login(api, api.demo), query) as stream:
        assert stream.status == 400


def test_a_caller_without_full_rights_sees_the_jobs_it_started_and_no_others(api: Api) -> None:
    with listening(api, api.pinger) as stream:
        api.value(client="local", tgt="minion-1", fun="test.ping")
        api.caller.post([{**api.pinger, "client": "local", "tgt": "minion-2", "fun": "test.ping"}])
        events = stream.until("/ret/minion-2")

    # Before Salt 3008 a master announces a job by its bare jid too, with nothing but the minions.
    assert {event.data.get("jid", event.tag) for event in events} == {events[-1].data["jid"]}
    assert [event.tag.rpartition("/")[2] for event in events if "/ret/" in event.tag] == ["minion-2"]


def test_a_caller_that_comes_after_starting_its_job_sees_the_returns(api: Api) -> None:
    api.caller.post([{**api.pinger, "client": "local", "tgt": "minion-1", "fun": "test.ping"}])
    assert api.process.streams.subscribers() == 0
    token = login(api, api.pinger)

    with Listening(api.process.api, token) as stream:
        stream.chunk()
        answer = api.caller.post([{"client": "local", "tgt": "minion-2", "fun": "test.ping"}], x_auth_token=token)
        events = stream.until("/ret/minion-2")

    assert answer.status == 200
    assert events[-1].data["return"] is True


def test_everybody_sees_everything_when_the_settings_say_so(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_EVENTS_VISIBILITY="everybody")

    with listening(api, api.pinger) as stream:
        fire(api, "my/event")

        assert stream.until("my/event")


def test_a_user_named_in_the_settings_sees_everything(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_EVENTS_SEE_ALL="pinger")

    with listening(api, api.pinger) as stream:
        fire(api, "my/event")

        assert stream.until("my/event")


def test_no_secret_of_a_call_good_or_bad_reaches_a_stream(api: Api) -> None:
    arguments = {"password": CANARY, "nested": {"api_key": CANARY, "list": [{"token": CANARY}]}}
    with listening(api) as stream:
        api.caller.post([{**api.demo, "password": CANARY, "client": "local", "tgt": "*", "fun": "test.ping"}])
        api.run(client="local", tgt="*", fun="test.arg", arg=[f"password={CANARY}"], kwarg=arguments)
        api.run(client="runner", fun="test.arg", arg=[f"secret={CANARY}"], kwarg=arguments)
        api.run(client="wheel", fun="key.list_all")
        stream.until("/ret/minion-1")
        api.value(client="local", tgt="minion-2", fun="test.ping")
        stream.until("/ret/minion-2")
        events = parse(stream.raw.replace(RETRY, b""))

    assert CANARY.encode() not in stream.raw
    assert api.demo["password"].encode() not in stream.raw
    refused = [event for event in events if event.tag.endswith("/error")]
    assert all(set(event.data) <= {"jid", "fun", "tgt_type", "user", "error", "_stamp"} for event in refused)
    assert [event.data["error"] for event in refused] == ["Authentication error occurred."] * len(refused)


def test_a_caller_that_asks_for_ids_and_comes_back_gets_what_it_missed(api: Api) -> None:
    with listening(api, query="ids=1") as stream:
        api.value(client="local", tgt="minion-1", fun="test.ping")
        last = stream.until("/ret/minion-1")[-1]
    assert last.id
    missed = api.value(client="local_async", tgt="minion-2", fun="test.ping")["jid"]

    with listening(api, query="ids=1", last_event_id=last.id) as stream:
        events = stream.until(f"/{missed}/ret/minion-2")

    assert all(event.id for event in events)


def test_without_asking_there_are_no_ids_and_no_replay(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    with listening(api, query="ids=1") as stream:
        fire(api, "my/1")
        last = stream.until("my/1")[-1]

    with listening(api, last_event_id="0badcafe-1") as stream:
        fire(api, "my/2")
        (event,) = stream.until("my/2")

    assert last.id
    assert event.id is None


def test_an_id_that_is_no_longer_known_is_answered_by_an_event_that_says_so(tmp_path: Path) -> None:
    api = fake_api(tmp_path)

    with listening(api, query="ids=1", last_event_id="0badcafe-12") as stream:
        (event,) = stream.until("salt/sidecar/stream/gap")

    assert event.data["reason"]
    assert api.process.metrics.value("salt_api_stream_events_dropped_total", reason="replay_gap") == 1


def test_a_token_in_the_query_counts_only_where_it_is_allowed(tmp_path: Path) -> None:
    closed, opened = fake_api(tmp_path), fake_api(tmp_path, SIDECAR_EVENTS_QUERY_TOKEN="true")

    for name in ("token", "salt_token"):
        with Listening(closed.process.api, None, f"{name}={login(closed, closed.demo)}") as stream:
            assert stream.status == 401
        with Listening(opened.process.api, None, f"{name}={login(opened, opened.demo)}") as stream:
            assert stream.status == 200
        with Listening(opened.process.api, None, f"{name}=junk") as stream:
            assert stream.status == 401


@pytest.mark.costly
def test_over_the_limit_of_readers_the_answer_is_503_at_once(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_EVENTS_STREAMS="2")
    token = login(api, api.demo)

    with Listening(api.process.api, token), Listening(api.process.api, token), Listening(api.process.api, token) as third:
        pass

    assert third.status == 503
    assert third.headers["retry-after"] == "1"
    with Listening(api.process.api, token) as again:
        assert again.status == 200


def test_who_has_taken_all_streams_leaves_some_for_others(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_EVENTS_STREAMS="4")
    hog, other = login(api, api.pinger), login(api, api.demo)

    with contextlib.ExitStack() as open_ones:
        statuses = [open_ones.enter_context(Listening(api.process.api, token)).status for token in (*[hog] * 6, other, hog)]

    assert statuses == [200] * 4 + [503] * 2 + [200, 503]


@pytest.mark.costly
def test_a_stream_ends_when_its_token_dies(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_EVENTS_HEARTBEAT_SECONDS="0.05")
    token = login(api, api.demo)

    with Listening(api.process.api, token) as stream:
        stream.chunk()
        assert api.caller.post({}, "/logout", x_auth_token=token).status == 200

        list(stream.events())

    assert token.encode() not in stream.raw
    assert api.process.metrics.value("salt_api_stream_disconnects_total", reason="token_expired") == 1


def test_while_the_master_cannot_say_whether_a_token_lives_its_stream_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = fake_api(tmp_path, SIDECAR_EVENTS_HEARTBEAT_SECONDS="0.02")

    def nobody_knows(_environ: object) -> None:
        raise MasterUnreachable("down")

    with listening(api) as stream:
        monkeypatch.setattr(api.process.sessions, "of", nobody_knows)
        assert [stream.chunk() for _ in range(3)] == [RETRY] * 3


def test_a_stream_is_kept_alive_while_the_bus_is_silent(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_EVENTS_HEARTBEAT_SECONDS="0.02")

    with listening(api) as stream:
        assert [stream.chunk() for _ in range(3)] == [RETRY] * 3


def test_when_the_process_stops_streams_end_and_no_new_one_begins(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    token = login(api, api.demo)

    with Listening(api.process.api, token) as stream:
        stream.chunk()
        api.process.streams.end_all()
        assert list(stream.events()) == []
    with Listening(api.process.api, token) as late:
        assert late.status == 503

    assert api.process.metrics.value("salt_api_stream_disconnects_total", reason="shutdown") == 1


@pytest.mark.slow
def test_a_reader_that_is_too_slow_is_told_and_dropped(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_EVENTS_QUEUE_EVENTS="10")

    with listening(api) as slow, listening(api) as quick:
        for number in range(40):
            fire(api, f"my/{number}")
            quick.until(f"my/{number}")
        events = slow.until("salt/sidecar/stream/dropped")
        assert slow.chunk() == b""

    assert events[-1].data["dropped"] > 10
    assert api.process.metrics.value("salt_api_stream_events_dropped_total", reason="slow_consumer") == events[-1].data["dropped"]
    assert api.process.metrics.value("salt_api_stream_disconnects_total", reason="slow_consumer") == 1


@pytest.mark.costly
def test_streams_are_counted_while_they_last_and_kept_out_of_the_durations(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    metrics = api.process.metrics

    with listening(api) as stream:
        fire(api, "my/event")
        stream.until("my/event")
        open_now = [metrics.value("salt_api_stream_subscribers", transport="sse"), metrics.value("salt_api_http_requests_in_flight", kind="stream")]
        fire(api, "my/other")
        stream.until("my/other")

    assert open_now == [1, 1]
    assert metrics.value("salt_api_stream_subscribers", transport="sse") == 0
    assert metrics.value("salt_api_http_requests_in_flight", kind="stream") == 0
    assert metrics.value("salt_api_http_requests_in_flight", kind="unary") == 0
    assert metrics.value("salt_api_stream_events_sent_total") == 2
    assert metrics.value("salt_api_stream_disconnects_total", reason="client") == 1
    assert metrics.value("salt_api_http_requests_total", method="GET", route="/events", code="200") == 1
    assert metrics.value("salt_api_http_request_duration_seconds_count", method="GET", route="/events") == 0


def test_head_says_what_get_would_and_opens_nothing(tmp_path: Path) -> None:
    api = fake_api(tmp_path)

    answer = api.caller.request("HEAD", "/events", x_auth_token=login(api, api.demo))

    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream;charset=utf-8")
    assert api.process.streams.subscribers() == 0


@pytest.mark.parametrize("path", ["/ws", "/ws/0123abcd", "/all_events/0123abcd", "/formatted_events/0123abcd", "/formatted_events"])
def test_websockets_are_refused_with_the_way_to_the_events(api: Api, path: str) -> None:
    answer = api.caller.get(path, accept="text/html")

    assert answer.status == 501
    assert "/events" in answer.json()["return"]
    assert b"0123abcd" not in answer.body
