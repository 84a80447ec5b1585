"""The whole API behind a real listener: URLs as they come over the wire, and bodies in pieces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.server.listener import Listener
from tests.contract.conftest import Api, fake_api
from tests.contract.test_hook_proofs import guarded

pytestmark = pytest.mark.slow


@pytest.fixture
def api(tmp_path: Path) -> Api:
    (tmp_path / "index.html").write_text("<html>")
    (tmp_path / "secret").write_text("SECRET")
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.js").write_text("export {};")
    return fake_api(tmp_path, SIDECAR_SITE_APP=str(tmp_path / "index.html"), SIDECAR_SITE_STATIC=str(tmp_path / "static"))


@pytest.fixture
def listener(api: Api, listen: Callable[..., Listener]) -> Listener:
    return listen(app=api.process.api)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/static/a.js", 200),
        ("//static/a.js", 200),
        ("/static/a%2ejs", 200),
        ("http://x/static/a.js", 200),
        ("//login", 200),
        ("/login/?timeout=1", 200),
        ("/static/../secret", 404),
        ("/static/..%2fsecret", 404),
        ("/static/%2e%2e%2fsecret", 404),
        ("/static/..%5csecret", 404),
        ("/static//secret", 404),
        ("/static/%2fetc%2fpasswd", 404),
        ("/static/a.js%00", 404),
        ("/static/%ff", 404),
        ("/%0d%0aX-Evil:%201", 404),
        ("/hook/%0d%0aX-Evil:%201", 405),
        ("/ws/%0d%0aX-Evil:%201", 501),
    ],
)
def test_a_url_over_the_wire_stays_where_it_belongs(listener: Listener, call: Callable[[Listener], Any], path: str, status: int) -> None:
    answered, headers, body = call(listener).get(path).answer()

    assert answered == status
    assert b"SECRET" not in body
    assert "x-evil" not in headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/hook/%67ithub", 401),
        ("/hook/github%2Fpush", 401),
        ("/hook%2fgithub", 401),
        ("http://x/hook/github", 401),
        ("/hook/github%78", 401),
        ("/hook/x/%2e%2e/github", 400),
        ("/hook/x%2f..%2fgithub", 400),
        ("/hook/github%00", 400),
        ("/hook/%2567ithub", 200),  # stays `%67ithub`, in the tag too
    ],
)
def test_a_webhooks_path_is_what_it_means_however_it_is_encoded(
    tmp_path: Path, listen: Callable[..., Listener], call: Callable[[Listener], Any], path: str, status: int
) -> None:
    caller = call(listen(app=guarded(tmp_path).process.api))

    caller.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")

    assert caller.answer()[0] == status


def test_a_trusted_proxys_word_on_its_caller_comes_through_the_server(tmp_path: Path, listen: Callable[..., Listener], call: Callable[[Listener], Any]) -> None:
    statuses = []
    for trusted in ("127.0.0.1", "192.0.2.1"):
        made = fake_api(tmp_path, SIDECAR_ACCESS_TRUSTED_PROXIES=trusted, SIDECAR_ACCESS_NETWORKS="203.0.113.9")
        caller = call(listen(app=made.process.api))
        caller.send("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
        statuses.append(caller.answer()[0])

    assert statuses == [200, 403]


def test_a_head_leaves_the_connection_usable(listener: Listener, call: Callable[[Listener], Any]) -> None:
    caller = call(listener)

    caller.send("HEAD /static/a.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    head, _, rest = caller.rest().partition(b"\r\n\r\n")
    assert b"Content-Length: 10" in head
    assert rest == b""


def test_a_browser_and_a_program_get_different_things_at_the_same_url(listener: Listener, call: Callable[[Listener], Any]) -> None:
    _, headers, page = call(listener).get("/", "Accept: text/html,*/*;q=0.8").answer()
    _, _, welcome = call(listener).get("/").answer()

    assert page == b"<html>"
    assert "accept" in headers["vary"].lower()
    assert json.loads(welcome)["return"]


@pytest.mark.parametrize("headers", ["Transfer-Encoding: chunked", "Expect: 100-continue"])
def test_a_login_may_come_in_chunks_or_ask_first(api: Api, listener: Listener, call: Callable[[Listener], Any], headers: str) -> None:
    caller = call(listener)
    body = json.dumps(api.demo)
    length, text = (
        (f"{headers}\r\n", f"{len(body):x}\r\n{body}\r\n0\r\n\r\n") if "chunked" in headers else (f"{headers}\r\nContent-Length: {len(body)}\r\n", body)
    )

    caller.send(f"POST /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain;charset=UTF-8\r\n{length}\r\n{text}")

    answer = caller.rest().removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["return"][0]["token"]


def test_a_get_with_a_body_leaves_the_connection_usable(listener: Listener, call: Callable[[Listener], Any]) -> None:
    caller = call(listener)

    first = caller.send("GET /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nnull").answer()
    second = caller.get("/login").answer()

    assert (first[0], second[0]) == (200, 200)
