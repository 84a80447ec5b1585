"""A pipeline logs in by its id token: what it asks GitHub, and what it sends. The real exchange is in tests/real/test_identities.py."""

from __future__ import annotations

import http.server
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.ci.remote import Declined, Ended, Remote
from tests.certificates import Authority

ID_TOKEN = "head.claims.signature"
SALT_TOKEN = "ab" * 32


class Told:
    """What was asked of a server that is GitHub's and ours, and what it answers next to requests for id tokens."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.refusals: list[int] = []


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def url(told: Told) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append((self.path, self.headers.get("Authorization", ""), {}))
            if told.refusals:
                self._say(told.refusals.pop(0), {})
            else:
                self._say(200, {"value": ID_TOKEN})

        def do_POST(self) -> None:
            form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            told.asked.append((self.path, self.headers.get("Content-Type", ""), form))
            self._say(200, {"access_token": SALT_TOKEN, "token_type": "Bearer", "expires_in": 60})

        def _say(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def logged_in(url: str, patience: float = 0.0, **environ: str) -> str:
    return Remote(url, environ, lambda _line: None, patience).login(time.monotonic() + 30)


EXCHANGED = (
    "/v1/token",
    "application/x-www-form-urlencoded",
    {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "subject_token": ID_TOKEN,
    },
)


@pytest.mark.costly
def test_an_id_token_is_exchanged(told: Told, url: str) -> None:
    assert logged_in(url, SALT_ID_TOKEN=ID_TOKEN) == SALT_TOKEN
    assert told.asked == [EXCHANGED]


@pytest.mark.costly
def test_on_github_it_is_asked_for_with_the_audience(told: Told, url: str) -> None:
    github: dict[str, Any] = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{url}/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the runner"}

    assert logged_in(url, SALT_API_AUDIENCE="https://salt.example.org?a&b", **github) == SALT_TOKEN
    assert told.asked == [("/token?api-version=2.0&audience=https%3A%2F%2Fsalt.example.org%3Fa%26b", "Bearer of the runner", {}), EXCHANGED]


@pytest.mark.costly
def test_a_token_that_is_there_counts_before_others(told: Told, url: str) -> None:
    assert logged_in(url, SALT_TOKEN="cd" * 32, SALT_ID_TOKEN=ID_TOKEN) == "cd" * 32
    assert told.asked == []


@pytest.mark.costly
def test_a_job_that_may_not_ask_is_told_what_it_needs(url: str) -> None:
    with pytest.raises(Ended, match="id-token: write") as ended:
        logged_in(url, SALT_API_AUDIENCE="salt")
    assert ended.value.code == 64


@pytest.mark.costly
def test_what_github_refuses_is_said_without_its_secrets(told: Told, url: str) -> None:
    told.refusals = [403]
    with pytest.raises(Declined, match="GitHub gives no id token") as declined:
        logged_in(url, SALT_API_AUDIENCE="salt", ACTIONS_ID_TOKEN_REQUEST_URL=f"{url}/token?x=1", ACTIONS_ID_TOKEN_REQUEST_TOKEN="SECRET")
    assert "SECRET" not in str(declined.value)


@pytest.mark.slow  # it waits before it tries again
def test_what_github_fails_at_is_tried_again(told: Told, url: str) -> None:
    told.refusals = [500]

    assert (
        logged_in(url, SALT_API_AUDIENCE="salt", ACTIONS_ID_TOKEN_REQUEST_URL=f"{url}/token?x=1", ACTIONS_ID_TOKEN_REQUEST_TOKEN="SECRET", patience=60.0)
        == SALT_TOKEN
    )
    assert [path for path, *_ in told.asked] == ["/token?x=1&audience=salt"] * 2 + ["/v1/token"]


@pytest.mark.costly
def test_with_a_certificate_alone_the_proxy_says_who_it_is(told: Told, url: str, tmp_path: Path) -> None:
    certificate, key = Authority().sign("deploy").write(tmp_path, "deploy")

    assert logged_in(url, SALT_API_CERT=str(certificate), SALT_API_KEY=str(key)) == SALT_TOKEN
    assert told.asked == [("/v1/token", "application/x-www-form-urlencoded", {"grant_type": "client_credentials"})]
