"""Bytes that are no proper request: the whole sidecar answers in JSON or hangs up, never with a 500, and lives on."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

TYPE = b"Content-Type: application/json\r\n"
BODY_LIMIT = 100_000
RECEIVE_SECONDS = 2.0


@pytest.fixture(scope="module")
def sidecar(salt_master: EmbeddedSalt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    folder = tmp_path_factory.mktemp("sidecar")
    with Sidecar(salt_master.master_config, folder, API_BODY_LIMIT_BYTES=BODY_LIMIT, API_RECEIVE_SECONDS=RECEIVE_SECONDS) as running:
        yield running
        assert running.stderr() == ""
        assert not [line for line in running.lines() if line["level"] in {"error", "critical"}]


@pytest.fixture(autouse=True)
def alive_afterwards(sidecar: Sidecar) -> Iterator[None]:
    yield
    assert sidecar.get().status == 200


@pytest.fixture
def ping(salt_master: EmbeddedSalt) -> bytes:
    return json.dumps({**salt_master.credentials, "client": "local", "tgt": "minion-1", "fun": "test.ping"}).encode()


def connect(sidecar: Sidecar) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sidecar.api_port), timeout=60)


def rest(caller: socket.socket) -> bytes:
    """Read to the end; a reset is an end too, anything later than the socket's timeout fails."""
    chunks = []
    try:
        while chunk := caller.recv(65536):
            chunks.append(chunk)
    except ConnectionResetError:
        pass
    return b"".join(chunks)


def send(sidecar: Sidecar, sent: bytes, *, close: bool = True) -> bytes:
    """Send bytes, end the sending side, and return all that comes back."""
    with connect(sidecar) as caller:
        caller.sendall(sent)
        if close:
            caller.shutdown(socket.SHUT_WR)
        return rest(caller)


def one(caller: socket.socket) -> int:
    """Read one answer, leave the connection open, and return the status."""
    received = b""
    while b"\r\n\r\n" not in received or not answers(received):
        chunk = caller.recv(65536)
        assert chunk, received
        received += chunk
    ((status, _body),) = answers(received)
    return status


def answers(received: bytes) -> list[tuple[int, dict[str, object]]]:
    """Take received bytes apart: the status and the decoded body of each answer; all of it must be JSON."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        assert b"Content-Type: application/json" in head, head
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None, head
        size = int(length[1])
        if len(received) < size:
            return []
        found.append((int(head.split()[1]), json.loads(received[:size])))
        received = received[size:]
    return found


def post(body: bytes, *headers: bytes, version: bytes = b"1.1", length: bytes | None = None) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"POST / HTTP/%s\r\nHost: x\r\n%s%sContent-Length: %s\r\n\r\n%s" % (version, TYPE, lines, length or b"%d" % len(body), body)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"", []),
        (b"\r\n\r\n", []),
        (b"GET", []),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
        (b"\x16\x03\x01\r\n\r\n", [400]),
        (b"garbage\r\n\r\n", [400]),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", [400]),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", [200, 400, 505]),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
        (b"GET /%00%ff%zz HTTP/1.1\r\nHost: x\r\n\r\n", [400, 404]),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", [404, 414]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 300_000 + b"\r\n\r\n", [431]),
        (b"PATCH / HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
        (b"NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n", [400, 405]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", [400]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", [400]),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", [400, 501]),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", [400]),
        (post(b"", length=b"-5"), [400]),
        (post(b"", length=b"+5"), [400]),
        (post(b"", length=b"five"), [400]),
        (post(b"", length=b"9" * 5000), [400, 413]),
        (post(b"", length=b"99999999999"), [413]),
        (post(b"[1", length=b"50"), []),
        (post(b"[" * 20, b"Content-Length: 3"), [400]),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else "",
)
def test_bytes_that_are_no_proper_request_are_refused_in_json_or_dropped(sidecar: Sidecar, sent: bytes, statuses: list[int]) -> None:
    received = answers(send(sidecar, sent))

    assert len(received) <= 1
    assert {status for status, _ in received} <= set(statuses)
    assert bool(received) == bool(statuses)
    for status, body in received:
        assert status == 200 or str(body["return"]).startswith(f"{status}: ")


def test_a_body_over_the_limit_is_answered_413_though_it_is_still_being_sent(sidecar: Sidecar) -> None:
    with connect(sidecar) as caller:
        caller.sendall(post(b"", length=b"%d" % (40 * BODY_LIMIT)))
        for _ in range(40):
            caller.sendall(b"x" * BODY_LIMIT)
        ((status, body),) = answers(rest(caller))

    assert status == 413
    assert str(BODY_LIMIT) in str(body["return"])


def test_a_chunked_body_works(sidecar: Sidecar, ping: bytes) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (ping[:7], ping[7:50], ping[50:]))
    sent = b"POST / HTTP/1.1\r\nHost: x\r\n" + TYPE + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"

    assert answers(send(sidecar, sent)) == [(200, {"return": [{"minion-1": True}]})]


def test_a_body_that_trickles_is_cut(sidecar: Sidecar, ping: bytes) -> None:
    began = time.monotonic()
    received = send(sidecar, post(ping)[:-10], close=False)

    assert received == b""
    assert time.monotonic() - began >= RECEIVE_SECONDS


def test_a_caller_that_has_ended_its_sending_side_still_gets_its_answer(sidecar: Sidecar, ping: bytes) -> None:
    ((status, _),) = answers(send(sidecar, post(ping)))

    assert status == 200


def test_pipelined_requests_are_answered_in_order_over_one_connection(sidecar: Sidecar, ping: bytes) -> None:
    welcome = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    received = answers(send(sidecar, post(ping) + welcome + post(b"nonsense") + post(ping)))

    assert [status for status, _ in received] == [200, 200, 400, 200]
    assert received[0] == received[3]


def test_a_connection_is_kept_for_the_next_request_also_after_an_error(sidecar: Sidecar, ping: bytes) -> None:
    with connect(sidecar) as caller:
        for sent, status in ((post(ping), 200), (post(b"nonsense"), 400), (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404), (post(ping), 200)):
            caller.sendall(sent)
            assert one(caller) == status


def test_http_1_0_is_answered_and_closed(sidecar: Sidecar, ping: bytes) -> None:
    with connect(sidecar) as caller:
        caller.sendall(post(ping, version=b"1.0"))
        ((status, _),) = answers(rest(caller))

    assert status == 200


def test_a_caller_that_expects_100_continue_is_asked_for_its_body(sidecar: Sidecar, ping: bytes) -> None:
    with connect(sidecar) as caller:
        caller.sendall(post(ping, b"Expect: 100-continue")[: -len(ping)])
        assert caller.recv(65536).startswith(b"HTTP/1.1 100 Continue\r\n")
        caller.sendall(ping)

        assert one(caller) == 200


@pytest.mark.parametrize("given", [b"a\rSet-Cookie: x=1", b"a\x00b", "ä".encode(), b"a b", b"x" * 129, b"", b"<script>", b"a,b"], ids=repr)
def test_an_odd_request_id_is_replaced(sidecar: Sidecar, given: bytes) -> None:
    received = send(sidecar, b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: " + given + b"\r\n\r\n")

    assert b"Set-Cookie" not in received
    assert received.split()[1] in {b"200", b"400"}
    if received.startswith(b"HTTP/1.1 200"):
        assert re.search(rb"\r\nX-Request-Id: [0-9a-f-]{36}\r\n", received)


def test_a_folded_header_brings_in_no_further_one(sidecar: Sidecar) -> None:
    received = send(sidecar, b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n Set-Cookie: x=1\r\n\r\n")

    assert b"Set-Cookie" not in received


def test_callers_who_hang_up_in_mid_request_leave_nothing_behind(sidecar: Sidecar, ping: bytes) -> None:
    for cut in range(1, len(post(ping)), 20):
        with connect(sidecar) as caller:
            caller.sendall(post(ping)[:cut])

    sidecar.wait(lambda: sidecar.metric("salt_api_connections_open") == 0, "empty")


def test_the_job_of_a_caller_who_hangs_up_is_accounted_for(sidecar: Sidecar, salt_master: EmbeddedSalt) -> None:
    low = {**salt_master.credentials, "client": "local", "tgt": "minion-1", "fun": "demo.sleep", "arg": [2]}
    with connect(sidecar) as caller:
        caller.sendall(post(json.dumps(low).encode(), b"X-Request-ID: hung-up"))
        sidecar.wait(lambda: sidecar.metric("salt_api_client_requests_in_flight", client="local") == 1, "running")

    sidecar.wait(lambda: sidecar.metric("salt_api_client_requests_in_flight", client="local") == 0, "over")
    sidecar.wait(lambda: any(line["request_id"] == "hung-up" for line in sidecar.lines("http.request")), "logged")
    (line,) = [line for line in sidecar.lines("http.request") if line["request_id"] == "hung-up"]
    assert line["salt.lows"][0]["minions_returned"] == 1
