"""`/ws`, `/all_events`, `/formatted_events`: messages, who gets a websocket, who sees what, limits, how they end, and no secrets."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import websocket
from structlog.testing import capture_logs

from service.demo.embedded import PATIENCE_SECONDS, until
from service.sockets.socket_listener import ACTORS, JUDGES, LOOKERS, SocketListener
from tests.contract.conftest import Api, a_store, fake_api, login, requests_of
from tests.contract.test_events import fire
from tests.listening import Listening
from tests.websockets import RECEIVED, Socket, listening_sockets

FRIEND = "http://gui.example.org"
Made = tuple[Api, SocketListener]
Line = MutableMapping[str, Any]


def wait_for(holds: Callable[[], object]) -> None:
    for _ in until(PATIENCE_SECONDS):
        if holds():
            return
    raise AssertionError("it does not come to hold")


def subscribed(api: Api, count: int = 1) -> None:
    """Wait until so many websockets read the bus."""
    wait_for(lambda: api.process.streams.subscribers("websocket") == count)


def metrics(api: Api) -> str:
    return api.process.metrics.exposition()[1].decode()


@pytest.fixture(scope="module")
def sockets(api: Api) -> Iterator[SocketListener]:
    with listening_sockets(api.process) as listener:
        yield listener


@pytest.fixture
def open_sockets(tmp_path: Path) -> Iterator[Callable[..., Made]]:
    """Make applications over the fake master, with websockets. Takes settings, and `listener`, parameters of the listener."""
    with contextlib.ExitStack() as stack:

        def make(listener: dict[str, Any] | None = None, **environ: str) -> Made:
            made = fake_api(tmp_path, **environ)
            stack.callback(made.process.stop)
            return made, stack.enter_context(listening_sockets(made.process, **(listener or {})))

        yield make


def with_id(lines: Sequence[Line], request_id: str) -> list[Line]:
    """Return a request's lines, in their order."""
    return [line for line in lines if line.get("request_id") == request_id]


def pinged(api: Api) -> str:
    """Have a minion pinged; return the job's id."""
    return str(api.value(client="local_async", tgt="minion-1", fun="test.ping")["jid"])


class TestMessages:
    def test_those_of_ws_are_rest_cherrypys(self, api: Api, sockets: SocketListener) -> None:
        with Socket(sockets.port, f"/ws/{login(api, api.demo)}") as caller:
            caller.ready()
            first = caller.receive()
            subscribed(api)
            jid = pinged(api)
            raw = caller.receive()
            events = [json.loads(raw.removeprefix("data: ")), *caller.until(f"{jid}/ret/minion-1")]

        assert first == RECEIVED
        assert raw.startswith("data: {")
        assert raw.endswith("}\n\n")
        assert events[-1]["data"]["return"] is True

    @pytest.mark.costly
    def test_those_of_all_events_are_rest_tornados(self, api: Api, sockets: SocketListener) -> None:
        with Socket(sockets.port, f"/all_events/{login(api, api.demo)}") as caller:
            caller.ready()
            subscribed(api)
            jid = pinged(api)
            raw = caller.receive()
            caller.until(f"{jid}/ret/minion-1")

        assert sorted(json.loads(raw)) == ["data", "tag"]
        assert raw.startswith("{")
        assert raw.endswith("}")

    @pytest.mark.parametrize(("path", "ending"), [("/ws/{}?format_events", ""), ("/formatted_events/{}", "\n\n")])
    def test_formatted_ones_tell_of_jobs(self, api: Api, sockets: SocketListener, path: str, ending: str) -> None:
        with Socket(sockets.port, path.format(login(api, api.demo))) as caller:
            caller.ready()
            if path.startswith("/ws"):
                assert caller.receive() == RECEIVED
            subscribed(api)
            jid = pinged(api)
            job: dict[str, Any] = {}
            while job.get("minions", {}).get("minion-1", {}).get("return") is not True:
                raw = caller.receive()
                job = json.loads(raw).get("jobs", {}).get(jid, {})

        assert job["minions"] == {"minion-1": {"return": True, "retcode": 0, "success": True}}
        assert job["state"] == "complete"
        assert raw == raw.rstrip() + ending

    def test_an_event_is_the_same_as_in_the_stream(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets()
        token = login(api, api.demo)
        with Listening(api.process.api, token) as stream, Socket(listener.port, f"/all_events/{token}") as caller:
            stream.chunk()
            caller.ready()
            subscribed(api)
            fire(api, "my/event", {"password": "hunter2", "text": "x\n\ndata: y", "umlaut": "ü\u2028"})
            (event,) = stream.until("my/event")
            (message,) = caller.until("my/event")

        assert message == {"tag": event.tag, "data": event.data}
        assert message["data"]["password"] != "hunter2"

    def test_nothing_comes_before_the_caller_is_ready_and_rest_cherrypys_acknowledges_all_it_hears(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets()
        with Socket(listener.port, f"/ws/{login(api, api.demo)}") as caller:
            caller.inner.send("hello")
            assert caller.receive() == RECEIVED
            fire(api, "too/early")
            caller.inner.send_binary(b"\xff")
            assert caller.receive() == RECEIVED
            caller.ready()
            assert caller.receive() == RECEIVED
            subscribed(api)
            fire(api, "in/time")

            assert [event["tag"] for event in caller.until("in/time")] == ["in/time"]

    def test_a_filter_lets_only_matching_tags_through(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets()
        with Socket(listener.port, f"/ws/{login(api, api.demo)}?tag=my/*&tag=her/*") as caller:
            caller.ready()
            subscribed(api)
            for tag in ("his/event", "my/event", "her/event"):
                fire(api, tag)

            assert [event["tag"] for event in caller.until("her/event")] == ["my/event", "her/event"]


class TestWhoGetsOne:
    @pytest.mark.parametrize("path", ["/ws", "/all_events", "/formatted_events"])
    @pytest.mark.parametrize("carry", ["header", "bearer", "cookie", "path", "path before header"])
    def test_who_has_a_token_wherever_it_is(self, api: Api, sockets: SocketListener, path: str, carry: str) -> None:
        token = login(api, api.demo)
        options: dict[str, dict[str, Any]] = {
            "header": {"header": {"X-Auth-Token": token}},
            "bearer": {"header": {"Authorization": f"Bearer {token}"}},
            "cookie": {"cookie": f"session_id={token}", "suppress_origin": True},
            "path": {},
            "path before header": {"header": {"X-Auth-Token": "ab" * 32}},
        }
        with Socket(sockets.port, f"{path}/{token}" if carry.startswith("path") else path, **options[carry]) as caller:
            assert caller.inner.connected

    @pytest.mark.parametrize("path", ["/ws", "/all_events", "/formatted_events"])
    @pytest.mark.parametrize("token", ["", "junk", "ab" * 32, "..%2f..%2fetc%2fpasswd", "a/b", "a" * 5000])
    def test_nobody_else_does(self, api: Api, sockets: SocketListener, path: str, token: str) -> None:
        with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
            Socket(sockets.port, f"{path}/{token}" if token else path)

        assert refusal.value.status_code == 401
        assert json.loads(refusal.value.resp_body or b"")["status"] == 401
        # Those of other tests go away.
        subscribed(api, 0)

    @pytest.mark.parametrize(
        ("origin", "allowed"),
        [("http://{}", True), (FRIEND, True), ("http://evil.example.org", False), ("null", False), ("https://127.0.0.1", False)],
    )
    def test_a_cookie_counts_for_our_pages_and_for_those_of_the_settings(self, open_sockets: Callable[..., Made], origin: str, allowed: bool) -> None:
        api, listener = open_sockets(SIDECAR_CORS_ORIGINS=FRIEND, SIDECAR_CORS_CREDENTIALS="true")
        options: dict[str, Any] = {"cookie": f"session_id={login(api, api.demo)}", "origin": origin.format(f"127.0.0.1:{listener.port}")}

        if allowed:
            Socket(listener.port, "/ws", **options).close()
            return
        with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
            Socket(listener.port, "/ws", **options)
        assert refusal.value.status_code == 401

    @pytest.mark.costly
    def test_a_token_in_the_path_counts_for_every_page(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets()

        with Socket(listener.port, f"/ws/{login(api, api.demo)}", origin="http://evil.example.org") as caller:
            assert caller.inner.connected

    @pytest.mark.costly
    def test_a_scoped_token_does_not_suffice(self, open_sockets: Callable[..., Made], tmp_path: Path) -> None:
        api, listener = open_sockets(**a_store(tmp_path))
        made = api.caller.post({"scope": ["local:test.ping@*"]}, "/v1/tokens", x_auth_token=login(api, api.demo))
        assert made.status == 201, made.body

        with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
            Socket(listener.port, f"/ws/{made.json()['token']}")
        assert refusal.value.status_code == 401

    def test_who_may_not_call_from_there_does_not(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets(SIDECAR_ACCESS_NETWORKS="192.0.2.0/24")

        with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
            Socket(listener.port, f"/ws/{login(api, api.demo)}")
        assert refusal.value.status_code == 403

    def test_a_caller_without_full_rights_sees_the_jobs_it_started_and_no_others(self, api: Api, sockets: SocketListener) -> None:
        with Socket(sockets.port, f"/all_events/{login(api, api.pinger)}") as caller:
            caller.ready()
            subscribed(api)
            api.value(client="local", tgt="minion-1", fun="test.ping")
            api.caller.post([{**api.pinger, "client": "local", "tgt": "minion-2", "fun": "test.ping"}])
            events = caller.until("/ret/minion-2")

        assert {event["data"].get("jid", event["tag"]) for event in events} == {events[-1]["data"]["jid"]}


class TestLimits:
    @pytest.mark.costly
    def test_a_user_has_as_many_as_of_streams_and_they_count_together(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets(SIDECAR_EVENTS_STREAMS="2")
        token = login(api, api.demo)
        with contextlib.ExitStack() as stack:
            stack.enter_context(Listening(api.process.api, token))
            stack.enter_context(Socket(listener.port, f"/ws/{token}"))
            with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
                Socket(listener.port, f"/ws/{token}")

        assert (refusal.value.status_code, (refusal.value.resp_headers or {})["retry-after"]) == (503, "1")
        # Both are given back.
        wait_for(lambda: 'salt_api_http_requests_in_flight{kind="websocket"} 0' in metrics(api))
        with Socket(listener.port, f"/ws/{token}"), Socket(listener.port, f"/ws/{token}"):
            assert 'salt_api_http_requests_in_flight{kind="websocket"} 2.0' in metrics(api)

    @pytest.mark.costly
    def test_an_address_has_so_many_connections_and_one_more_is_cut_and_counted(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets({"connections_per_address": 1})
        token = login(api, api.demo)
        with Socket(listener.port, f"/ws/{token}"), pytest.raises((OSError, websocket.WebSocketException)):
            Socket(listener.port, f"/ws/{token}")

        wait_for(lambda: 'salt_api_http_requests_rejected_total{reason="connections_full"} 1.0' in metrics(api))

    @pytest.mark.slow
    def test_a_reader_that_is_too_slow_is_told_to_come_back_and_counted(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets(SIDECAR_EVENTS_QUEUE_EVENTS="10")
        with Socket(listener.port, f"/ws/{login(api, api.demo)}", buffer_bytes=4096) as caller:
            caller.ready()
            subscribed(api)
            for _ in until(PATIENCE_SECONDS):
                fire(api, "much", {"text": "x" * 500_000})
                if api.process.streams.subscribers() == 0:
                    break

            # It is cut only after seconds, and counted a moment later.
            wait_for(lambda: not listener.connections())
            wait_for(lambda: 'salt_api_stream_disconnects_total{reason="slow_consumer"} 1.0' in metrics(api))
        assert 'salt_api_stream_events_dropped_total{reason="slow_consumer"} 0.0' not in metrics(api)

    def test_a_message_that_is_too_long_ends_the_websocket(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets()
        with Socket(listener.port, f"/ws/{login(api, api.demo)}") as caller:
            caller.inner.send("x" * 100_000)

            assert caller.closed()[0] == 1009


class TestEnds:
    @pytest.mark.costly
    def test_it_ends_with_the_session(self, open_sockets: Callable[..., Made]) -> None:
        api, listener = open_sockets(SIDECAR_EVENTS_HEARTBEAT_SECONDS="0.1")
        token = login(api, api.demo)
        with Socket(listener.port, f"/ws/{token}") as caller:
            caller.ready()
            subscribed(api)
            assert api.caller.post({}, "/logout", x_auth_token=token).status == 200

            assert caller.closed() == (1008, "the session is over: log in again")
        # A caller may hear of the end before it is counted.
        wait_for(lambda: 'salt_api_stream_disconnects_total{reason="token_expired"} 1.0' in metrics(api))

    @pytest.mark.costly
    @pytest.mark.parametrize("is_ready", [True, False])
    def test_it_ends_with_the_process(self, open_sockets: Callable[..., Made], is_ready: bool) -> None:
        api, listener = open_sockets()
        with Socket(listener.port, f"/all_events/{login(api, api.demo)}") as caller:
            if is_ready:
                caller.ready()
                subscribed(api)
            listener.close()

            assert caller.closed()[0] == 1001
        listener.stop()
        assert not listener.alive()
        assert 'salt_api_stream_disconnects_total{reason="shutdown"} 1.0' in metrics(api)

    @pytest.mark.costly
    def test_a_caller_that_leaves_has_a_line_and_leaves_nothing(self, open_sockets: Callable[..., Made]) -> None:
        with capture_logs() as lines:
            api, listener = open_sockets()
            token = login(api, api.demo)
            with Socket(listener.port, f"/ws/{token}?tag=x") as caller:
                caller.ready()
                subscribed(api)
            # Those of another test may still be coming in.
            (opened,) = (line for line in lines if line["event"] == "stream.opened" and line["filter"] == ["x"])
            wait_for(lambda: with_id(requests_of(lines), opened["request_id"]))

        (line,), (_, closed, _) = (with_id(some, opened["request_id"]) for some in (requests_of(lines), lines))
        assert (line["http.route"], line["url.path"], line["http.response.status_code"]) == ("/ws", "/ws/<redacted>", 101)
        assert (line["user.name"], line["aborted"]) == ("demo", False)
        assert (closed["event"], closed["reason"]) == ("stream.closed", "client")
        assert token not in repr(lines)
        wait_for(lambda: 'salt_api_http_requests_total{code="101",method="GET",route="/ws"} 1.0' in metrics(api))
        assert 'salt_api_stream_subscribers{transport="websocket"} 0.0' in metrics(api)
        assert token not in metrics(api)


@pytest.mark.slow
def test_two_hundred_get_the_same(open_sockets: Callable[..., Made]) -> None:
    api, listener = open_sockets()
    token = login(api, api.demo)
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        # All at once, as they come back when we start again.
        with ThreadPoolExecutor(200) as pool:
            callers = [stack.enter_context(caller) for caller in pool.map(lambda _: Socket(listener.port, f"/ws/{token}"), range(200))]
        for caller in callers:
            caller.ready()
        subscribed(api, 200)
        assert threading.active_count() - threads <= JUDGES + LOOKERS + ACTORS + 1
        for number in range(20):
            fire(api, f"my/event/{number}")
        received = [[event["tag"] for event in caller.until("/19")] for caller in callers]

    assert received == [[f"my/event/{number}" for number in range(20)]] * 200
    wait_for(lambda: not listener.connections())


def test_the_apis_port_names_that_of_websockets(tmp_path: Path) -> None:
    words = [fake_api(tmp_path, **environ).caller.get("/ws").json()["return"] for environ in ({"SIDECAR_WEBSOCKET_PORT": "8003"}, {})]

    assert "at port 8003 (websocket.port)" in words[0]
    assert "not offered (websocket.port)" in words[1]
