"""The listener against real sockets: bad input, impatience, bulkheads."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from waitress.server import TcpWSGIServer

from service.errors import InvalidConfiguration
from service.http.accept import exposition_format
from service.http.app import ErrorBody
from service.observe.metrics.metrics import Metrics
from service.server.intake import Patience
from service.server.listener import Listener
from tests.meanwhile import eventually

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Listen = Callable[..., Listener]
Call = Callable[[Listener], Any]

pytestmark = pytest.mark.slow


def test_a_request_is_answered_on_the_port_the_system_chose(listen: Listen, call: Call) -> None:
    listener = listen()

    status, headers, body = call(listener).get("/?5").answer()

    assert (status, body) == (200, b"xxxxx")
    assert headers["server"] == "waitress"
    assert "connection" not in headers
    assert listener.alive()


def test_the_wait_for_a_thread_is_told_to_the_application_and_the_observer(listen: Listen, call: Call, gate: Any) -> None:
    waits: list[float] = []
    listener = listen(on_queue_wait=waits.append)

    call(listener).get().answer()

    assert waits == [gate.environ["sidecar.queue_wait_seconds"]]


@pytest.mark.parametrize(
    ("request_text", "status", "reason"),
    [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n", 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + "9" * 5000 + "\r\n\r\n", 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n\r\n", 413, "body_too_large"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n", 413, "body_too_large"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "malformed"),
        ("GET / HTTP/1.1\r\nX: " + "y" * 300_000 + "\r\n\r\n", 431, "header_too_large"),
        ("GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
        ("what is this\r\n\r\n", 400, "malformed"),
        ("get / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400, "malformed"),
    ],
)
def test_what_is_no_request_is_refused_in_json(listen: Listen, call: Call, gate: Any, rejected: list[str], request_text: str, status: int, reason: str) -> None:
    caller = call(listen())

    fault = caller.send(request_text).fault()

    assert fault["status"] == status
    assert rejected == [reason]
    assert gate.paths == []
    assert caller.rest() == b""


def test_the_answer_to_a_body_over_the_limit_is_read_by_who_is_still_sending(listen: Listen, gate: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", listen().port, timeout=60)

    connection.request("POST", "/", body=b"x" * 20_000_000)
    answer = connection.getresponse()

    assert answer.status == 413
    assert b"10000 bytes (api.body_limit_bytes)" in answer.read()
    assert gate.paths == []
    connection.close()


def test_a_body_of_exactly_the_limit_is_taken(listen: Listen, call: Call, gate: Any) -> None:
    call(listen()).send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n" + "x" * 10_000).answer()

    assert gate.bodies == [b"x" * 10_000]


def test_a_chunked_body_is_taken(listen: Listen, call: Call, gate: Any) -> None:
    caller = call(listen()).send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")

    caller.send("3\r\nabc\r\n").send("2;note=1\r\nde\r\n0\r\n\r\n")

    assert caller.answer()[0] == 200
    assert gate.bodies == [b"abcde"]


def test_a_chunked_body_over_the_limit_is_refused(listen: Listen, call: Call) -> None:
    caller = call(listen()).send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")

    caller.send("4000\r\n" + "x" * 0x4000 + "\r\n")

    assert caller.fault()["status"] == 413


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_caller_who_expects_100_is_answered(listen: Listen, call: Call, gate: Any, method: str) -> None:
    length = 5 if method == "POST" else 0
    caller = call(listen()).send(f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n")

    if method == "POST":
        assert caller.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.send("hello")

    assert caller.answer()[0] == 200
    assert gate.bodies == [b"hello"[:length]]


def test_a_slow_sender_is_cut(listen: Listen, call: Call, gate: Any, rejected: list[str]) -> None:
    caller = call(listen(patience=Patience(0.2))).send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this")

    assert caller.rest() == b""
    assert rejected == ["slow_body"]
    assert gate.paths == []


def test_a_caller_who_promises_more_than_it_sends_is_dropped_when_it_ends(listen: Listen, call: Call, gate: Any) -> None:
    listener = listen()
    caller = call(listener).send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this")

    caller.socket.shutdown(socket.SHUT_WR)

    assert caller.rest() == b""
    assert eventually(lambda: listener.connections() == 0)
    assert gate.paths == []


def test_a_caller_who_sends_more_than_it_promises_gets_its_answer_and_a_refusal(listen: Listen, call: Call, gate: Any) -> None:
    caller = call(listen()).send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[] and more\r\n\r\n")

    assert caller.answer()[0] == 200
    assert caller.fault()["status"] == 400
    assert gate.bodies == [b"[]"]


def test_a_half_closed_connection_still_gets_its_answers(listen: Listen, call: Call, gate: Any) -> None:
    caller = call(listen()).get("/wait?5")
    assert gate.entered.acquire(timeout=60)

    caller.socket.shutdown(socket.SHUT_WR)
    assert eventually(gate.environ["waitress.client_disconnected"])
    gate.opened.set()

    assert caller.answer()[2] == b"xxxxx"
    assert caller.rest() == b""


def test_a_half_closed_connection_gets_the_answers_to_all_it_sent(listen: Listen, call: Call) -> None:
    caller = call(listen()).get("/?1").get("/?2").get("/?3")

    caller.socket.shutdown(socket.SHUT_WR)

    assert [len(caller.answer()[2]) for _ in range(3)] == [1, 2, 3]
    assert caller.rest() == b""


def test_the_application_can_learn_that_its_caller_hung_up(listen: Listen, call: Call, gate: Any) -> None:
    listener = listen()
    caller = call(listener).get("/wait?5000000")
    assert gate.entered.acquire(timeout=60)

    caller.close()
    assert eventually(gate.environ["waitress.client_disconnected"])
    gate.opened.set()

    assert eventually(lambda: listener.connections() == 0 and listener.busy_threads() == 0)
    assert gate.gone == [True]


def test_pipelined_requests_are_answered_in_order(listen: Listen, call: Call) -> None:
    caller = call(listen())

    for size in (1, 2, 3):
        caller.get(f"/?{size}")

    assert [len(caller.answer()[2]) for _ in range(3)] == [1, 2, 3]


def test_the_loop_is_woken_only_when_something_changed_for_it(listen: Listen, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[None] = []

    def pull_trigger(server: TcpWSGIServer) -> None:
        woken.append(None)
        server.trigger.pull_trigger()

    monkeypatch.setattr(TcpWSGIServer, "pull_trigger", pull_trigger)
    listener = listen()
    caller = call(listener)

    for _ in range(20):
        assert len(caller.get("/?5").answer()[2]) == 5
    while_alike = len(woken)
    assert len(caller.get("/?9000000").answer()[2]) == 9_000_000
    assert caller.get("/?5", "Connection: close").answer()[0] == 200

    assert caller.rest() == b""
    assert while_alike <= 3  # a header may just be on its way when the loop asks
    assert len(woken) > while_alike


def test_an_oserror_of_the_application_is_an_answer_and_a_log_line(listen: Listen, call: Call, caplog: pytest.LogCaptureFixture) -> None:
    fault = call(listen()).get("/broken").fault()

    assert fault["status"] == 500
    assert "to somebody else" not in fault["return"]
    assert [record.getMessage() for record in caplog.records] == ["Exception while serving /broken"]
    caplog.clear()


def test_proxy_headers_change_nothing_here_and_are_left_to_the_application(listen: Listen, call: Call, gate: Any) -> None:
    call(listen()).get("/", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https").answer()

    assert gate.environ["HTTP_X_FORWARDED_FOR"] == "10.0.0.1"
    assert (gate.environ["REMOTE_ADDR"], gate.environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")


def test_the_ops_listener_answers_while_every_api_thread_is_busy(listen: Listen, call: Call, gate: Any) -> None:
    metrics = Metrics(environ={})
    api = listen(threads=2)
    metrics.watch_pool(api)

    def scrape(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        content_type, body = metrics.exposition(exposition_format(environ.get("HTTP_ACCEPT", "")))
        start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
        return [body]

    ops = listen(app=scrape, name="ops")
    callers = [call(api).get("/wait") for _ in range(3)]
    assert gate.entered.acquire(timeout=60)
    assert gate.entered.acquire(timeout=60)
    assert eventually(lambda: api.queue_depth() == 1)

    # The API's threads wait for the gate, and so would an answer that needed one of them.
    _, _, body = call(ops).get("/metrics").answer()

    assert b'salt_api_worker_threads{state="busy"} 2.0' in body
    assert b'salt_api_worker_threads{state="idle"} 0.0' in body
    assert b"salt_api_worker_queue_depth 1.0" in body
    assert b"salt_api_connections_open 3.0" in body
    gate.opened.set()
    assert [caller.answer()[0] for caller in callers] == [200] * 3
    assert eventually(lambda: api.busy_threads() == 0)
    assert api.busy_seconds() > 0


def test_a_port_in_use_is_a_fault_that_names_port_and_option(listen: Listen, gate: Any) -> None:
    taken = listen()

    with pytest.raises(InvalidConfiguration, match=rf"port {taken.port} on 127\.0\.0\.1 is taken.*api\.port \(SIDECAR_API_PORT, --port\)"):
        listen(port=taken.port, flag="--port")


def test_an_address_that_is_not_ours_is_a_fault_that_names_the_option(listen: Listen) -> None:
    with pytest.raises(InvalidConfiguration, match=r"cannot listen on 192\.0\.2\.1 .*ops\.host \(SIDECAR_OPS_HOST\)"):
        listen(host="192.0.2.1", name="ops")


def test_connections_over_the_limit_wait_for_their_turn(listen: Listen, call: Call, caplog: pytest.LogCaptureFixture) -> None:
    listener = listen(connection_limit=10)
    first = [call(listener) for _ in range(10)]
    assert eventually(lambda: listener.connections() == 10)

    waiting = call(listener).get()
    for caller in first:
        caller.close()

    assert waiting.answer()[0] == 200
    assert "reached the connection limit" in caplog.text
    caplog.clear()


def test_stop_cuts_what_is_left(listen: Listen, call: Call, gate: Any, caplog: pytest.LogCaptureFixture) -> None:
    listener = listen()
    caller = call(listener).get("/wait")
    assert gate.entered.acquire(timeout=60)

    listener.stop(0.2)

    assert caller.rest() == b""
    assert not listener.alive()
    assert caplog.text.count("thread(s) still running") == 1
    caplog.clear()


def test_a_listener_that_never_started_gives_its_port_back(gate: Any) -> None:
    options: dict[str, Any] = {"name": "ops", "host": "127.0.0.1", "threads": 1, "connection_limit": 10, "body_limit_bytes": 10, "patience": Patience(1)}
    first = Listener(gate, port=0, **options)

    first.stop()

    second = Listener(gate, port=first.port, **options)
    second.stop()


def test_a_request_that_never_reaches_the_application_gets_the_errors_of_its_path(listen: Listen, call: Call) -> None:
    listener = listen(renderer_of=lambda path: lambda fault, known: ErrorBody({"at": path, "kind": fault.kind, **known}, "application/problem+json"))

    status, headers, body = call(listener).send("POST /v1/jobs?x HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n").answer()

    assert (status, headers["content-type"], json.loads(body)) == (413, "application/problem+json", {"at": "/v1/jobs", "kind": "TooLarge"})
