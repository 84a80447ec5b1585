"""The messages of our websockets are those of rest_cherrypy, with ws4py, and of rest_tornado: the same events of the same job, side by side."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

from service.demo import calls
from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt, until
from service.demo.ports import free_ports
from tests.compat import servers
from tests.compat.browser import browser
from tests.compat.servers import Server
from tests.server import nginx
from tests.websockets import RECEIVED, Socket

pytestmark = [pytest.mark.master, pytest.mark.slow]
Pair = tuple[Server, int]


@pytest.fixture(scope="module")
def sidecar(salt_master: EmbeddedSalt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A sidecar, and the port of its websockets."""
    (port,) = free_ports(1)
    server, ops_port = servers.sidecar(tmp_path_factory.mktemp("sockets"), salt_master.master_config, {"SIDECAR_WEBSOCKET_PORT": str(port)})
    servers.wait_ready(server, f"http://127.0.0.1:{ops_port}/readyz")
    yield server, port
    server.process.stop()


@pytest.fixture(scope="module", params=["rest_cherrypy", "rest_tornado"])
def upstream(request: pytest.FixtureRequest, salt_master: EmbeddedSalt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    start: Callable[[Path, Path, dict[str, Any]], Server] = {"rest_cherrypy": servers.rest_cherrypy, "rest_tornado": servers.rest_tornado}[request.param]
    server = start(tmp_path_factory.mktemp(request.param), salt_master.master_config, {"websockets": True})
    servers.wait_ready(server, f"http://127.0.0.1:{server.port}/")
    yield server
    server.process.stop()


def token(server: Server, salt: EmbeddedSalt) -> str:
    body = json.dumps(salt.credentials).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/login", body, {"Content-Type": "application/json", "Accept": "application/json"})
    with calls.OPENER.open(request, timeout=PATIENCE_SECONDS) as answer:
        return str(json.loads(answer.read())["return"][0]["token"])


def job(server: Server, salt: EmbeddedSalt) -> str:
    """Have a minion run something; return the job's id."""
    status, answer = calls.post(
        f"http://127.0.0.1:{server.port}/run", {"client": "local_async", "tgt": "minion-1", "fun": "test.echo", "arg": ["same"], **salt.credentials}
    )
    assert status == 200, answer
    return str(answer["return"][0]["jid"])


def await_events(caller: Socket, start: Callable[[], str]) -> None:
    """Wait until a caller hears the bus; start: makes a job for it to hear."""
    caller.inner.settimeout(2)
    for _ in until(PATIENCE_SECONDS):
        start()
        try:
            while caller.receive() == RECEIVED:
                pass
        except websocket.WebSocketTimeoutException:
            continue
        caller.inner.settimeout(PATIENCE_SECONDS)
        return
    raise AssertionError("it hears nothing")


def heard(messages: list[str], jid: str, formatted: bool) -> dict[str, Any]:
    """Return what messages say of a job: its events by their tags, or what the last one says it has come to."""
    said = [content(message) for message in messages]
    if formatted:
        return dict(said[-1].get("jobs", {}).get(jid, {})) if said else {}
    return {event["tag"]: event["data"] for event in said}


def is_over(told: dict[str, Any], jid: str, formatted: bool) -> bool:
    return told.get("state") == "complete" if formatted else {f"salt/job/{jid}/new", f"salt/job/{jid}/ret/minion-1"} <= set(told)


def about(caller: Socket, jid: str, formatted: bool, wanted: Collection[str] = ()) -> list[str]:
    """Return the messages of a caller that have a job in them, until they tell its end and all that is wanted."""
    found: list[str] = []
    while not (is_over(told := heard(found, jid, formatted), jid, formatted) and told.keys() >= set(wanted)):
        message = caller.receive()
        if jid in message:
            found.append(message)
    return found


def both(theirs: Socket, ours: Socket, start: Callable[[], str], formatted: bool) -> tuple[str, list[str], list[str]]:
    """
    Return a job, and what two callers have heard of it, the first one as much as the second.

    rest_tornado hears one event at a time, and none while it works on one: where it has missed some there is another job.
    """
    for _ in until(PATIENCE_SECONDS):
        jid = start()
        got = about(ours, jid, formatted)
        theirs.inner.settimeout(5)
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            return jid, about(theirs, jid, formatted, heard(got, jid, formatted).keys()), got
    raise AssertionError("it has missed something of every job")


def content(message: str) -> Any:
    return json.loads(message.removeprefix("data: "))


def framing(message: str) -> tuple[bool, int]:
    """Return what is around the JSON of a message."""
    return message.startswith("data: "), len(message) - len(message.rstrip("\n"))


@pytest.mark.parametrize("formatted", [False, True], ids=["events", "formatted"])
def test_a_job_gives_the_same_messages(upstream: Server, sidecar: Pair, salt_master: EmbeddedSalt, formatted: bool) -> None:
    own, port = sidecar
    path = {
        ("rest_cherrypy", False): "/ws/{}",
        ("rest_cherrypy", True): "/ws/{}?format_events",
        ("rest_tornado", False): "/all_events/{}",
        ("rest_tornado", True): "/formatted_events/{}",
    }[upstream.name, formatted]
    with Socket(upstream.port, path.format(token(upstream, salt_master))) as theirs, Socket(port, path.format(token(own, salt_master))) as ours:
        first = []
        for caller in (theirs, ours):
            caller.ready()
            if upstream.name == "rest_cherrypy":
                first.append(caller.receive())
            await_events(caller, lambda: job(own, salt_master))
        jid, wanted, got = both(theirs, ours, lambda: job(own, salt_master), formatted)

    assert first == [RECEIVED] * len(first)
    assert {framing(message) for message in got} == {framing(message) for message in wanted}
    assert heard(got, jid, formatted) == heard(wanted, jid, formatted)


# Gives what a websocket hears first, or that it is refused; what a page may know of that is no more.
HEAR = """async (url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send("websocket client ready");
    socket.onmessage = (message) => { resolve(message.data); socket.close(); };
    socket.onerror = () => resolve("refused");
})"""
LOG_IN = """async (credentials) =>
    (await fetch("/login", { method: "POST", headers: { Accept: "application/json" }, body: JSON.stringify(credentials) })).status"""


def test_a_browser_hears_by_its_cookie_on_our_page_and_on_no_other(
    sidecar: Pair, salt_master: EmbeddedSalt, page_port: int, program: Callable[[str, str], str], tmp_path: Path
) -> None:
    own, sockets = sidecar
    (port,) = free_ports(1)
    (tmp_path / "nginx.conf").write_text(nginx.compose_site(tmp_path, port, own.port, sockets=sockets))
    heard = []
    with (
        nginx.running(program("nginx", "nginx-light"), tmp_path, port),
        browser(program("chromedriver", "chromium-driver"), program("chromium", "chromium"), tmp_path) as window,
    ):
        window.open(f"http://127.0.0.1:{port}/ui/")
        assert window.call(LOG_IN, salt_master.credentials) == 200
        heard.append(window.call(HEAR, f"ws://127.0.0.1:{port}/ws"))
        # Another port is the same site to a browser, so it sends the cookie along.
        window.open(f"http://127.0.0.1:{page_port}/")
        heard.append(window.call(HEAR, f"ws://127.0.0.1:{port}/ws"))
        heard.append(window.call(HEAR, f"ws://127.0.0.1:{port}/ws/{token(own, salt_master)}"))

    assert heard == [RECEIVED, "refused", RECEIVED]


def test_neither_gives_a_stranger_one(upstream: Server, sidecar: Pair) -> None:
    path = "/ws/{}" if upstream.name == "rest_cherrypy" else "/all_events/{}"

    for port in (upstream.port, sidecar[1]):
        with pytest.raises(websocket.WebSocketBadStatusException) as refusal:
            Socket(port, path.format("ab" * 32))
        assert refusal.value.status_code == 401
