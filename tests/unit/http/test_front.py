"""What stands before the routes: access lists, the URL's form, CORS."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.errors import Unauthenticated
from service.http.access import Access
from service.http.app import Paths
from service.http.cors import Cors
from tests.unit.http.conftest import Application

GUI = "https://gui.example.org"
EVIL = "https://evil.example.org"


@pytest.mark.parametrize("path", ["/", "/echo", "/nowhere", "//echo", "/echo/"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
def test_a_stranger_gets_nowhere_and_learns_nothing(application: Callable[..., Application], method: str, path: str) -> None:
    app = application(middleware=(Access(["10.0.0.0/8"]), Paths(), Cors([GUI])))

    answer = app.caller.request(method, path, b"{}", content_type="application/json")

    assert answer.status == 403
    assert "allow" not in answer.headers


def test_a_listed_network_may_call(application: Callable[..., Application]) -> None:
    assert application(middleware=(Access(["192.0.2.0/24"]),)).caller.get("/echo").status == 200


@pytest.mark.parametrize(
    ("users", "user", "address", "allowed"),
    [
        ({}, "anybody", "1.1.1.1", True),
        ({"root": ["10.0.0.0/8"]}, "root", "10.0.0.1", True),
        ({"root": ["10.0.0.0/8"]}, "root", "1.1.1.1", False),
        ({"root": ["10.0.0.0/8"]}, "ROOT", "1.1.1.1", False),
        ({"root": ["10.0.0.0/8"]}, "other", "10.0.0.1", False),
        ({"root": ["10.0.0.0/8"], "*": ["*"]}, "other", "1.1.1.1", True),
        ({"root": ["10.0.0.0/8"], "*": ["*"]}, "root", "1.1.1.1", False),
        ({"root": [], "*": ["*"]}, "root", "1.1.1.1", False),
        ({"bar": ["*"]}, "bar", "unknown", True),
        ({"bar": ["10.0.0.0/8"]}, "bar", "unknown", False),
    ],
)
def test_a_user_may_call_from_the_networks_listed_for_it(users: dict[str, list[str]], user: str, address: str, allowed: bool) -> None:
    access = Access(users=users)

    if allowed:
        access.admit(address, user)
    else:
        with pytest.raises(Unauthenticated):
            access.admit(address, user)


def test_new_lists_hold_at_once() -> None:
    access = Access()

    access.adjust([], {"root": ["10.0.0.1"]}, [])

    with pytest.raises(Unauthenticated):
        access.admit("10.0.0.2", "root")


@pytest.mark.parametrize(
    ("prefix", "path", "status"),
    [
        ("", "/echo", 200), ("", "/echo/", 200), ("", "/echo//", 200), ("", "//echo", 200), ("", "///echo/", 200), ("", "/", 200), ("", "//", 200), ("", "", 200),
        ("", "/Echo", 404), ("", "/echo/x", 404), ("", "/x//echo", 404),
        ("/api", "/api/echo", 200), ("/api", "/api//echo/", 200), ("/api", "//api/echo", 200), ("/api", "/api", 200), ("/api", "/api/", 200),
        ("/api", "/echo", 404), ("/api", "/", 404), ("/api", "/apiecho", 404), ("/api", "/api/api/echo", 404), ("/a/b", "/a/b/echo", 200), ("/a/b", "/a/echo", 404),
    ],
)  # fmt: skip
def test_a_url_is_found_in_every_form_that_clients_send(application: Callable[..., Application], prefix: str, path: str, status: int) -> None:
    assert application(middleware=(Paths(prefix),)).caller.get(path).status == status


def test_a_query_string_that_nobody_knows_is_ignored(application: Callable[..., Application]) -> None:
    assert application().caller.get("/echo?timeout=1&x=%00&&=").status == 200


@pytest.mark.parametrize("path", ["/", "/echo", "/nowhere", "/echo/x/y"])
def test_a_preflight_is_answered_alike_at_every_url(application: Callable[..., Application], path: str) -> None:
    app = application(middleware=(Paths(), Cors([GUI], max_age_seconds=60)))

    answer = app.caller.request("OPTIONS", path, b"", origin=GUI, access_control_request_method="POST", access_control_request_headers="x-auth-token")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == GUI
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, POST, DELETE"
    allowed = "content-type x-auth-token x-requested-with cache-control accept authorization idempotency-key if-none-match prefer"
    assert set(allowed.split()) == {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert answer.headers["access-control-max-age"] == "60"
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", ["/echo", "/nowhere"])
@pytest.mark.parametrize("origin", [EVIL, "null", "https://gui.example.org.evil.org", "http://gui.example.org", GUI + "/", GUI + "\r\nX-Evil: 1", "*", ""])
def test_a_foreign_origin_is_told_nothing(application: Callable[..., Application], origin: str, path: str, method: str) -> None:
    app = application(middleware=(Cors([GUI], credentials=True),))

    answer = app.caller.request(method, path, b"", origin=origin, access_control_request_method="POST")

    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("path", ["/echo", "/nowhere"])
def test_an_allowed_page_may_read_answers_and_errors(application: Callable[..., Application], path: str) -> None:
    answer = application(middleware=(Cors([GUI], credentials=True),)).caller.get(path, origin=GUI)

    assert answer.headers["access-control-allow-origin"] == GUI
    shown = "X-Auth-Token, X-Request-ID, traceresponse, Retry-After, Location, ETag, Idempotency-Replayed"
    assert answer.headers["access-control-expose-headers"] == shown
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Accept, Accept-Encoding, Origin"


def test_every_origin_never_goes_with_credentials(application: Callable[..., Application]) -> None:
    answer = application(middleware=(Cors(["*"], credentials=True),)).caller.get("/echo", origin=EVIL)

    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_without_origins_options_is_answered_and_nobody_is_allowed(application: Callable[..., Application]) -> None:
    answer = application(middleware=(Cors(),)).caller.request("OPTIONS", "/echo", b"", origin=GUI, access_control_request_method="POST")

    assert (answer.status, answer.headers["allow"]) == (200, "GET, HEAD, POST, DELETE, OPTIONS")
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("origins", "credentials", "origin", "site", "kept"),
    [
        ([GUI], True, GUI, "cross-site", True),
        ([GUI], True, EVIL, "cross-site", False),
        ([GUI], False, GUI, "cross-site", False),
        (["*"], False, GUI, "cross-site", False),
        ([], False, EVIL, "cross-site", False),
        ([], False, GUI, "same-origin", True),
        ([], False, GUI, "same-site", True),
        ([], False, GUI, "none", True),
    ],
)
def test_the_cookie_counts_for_the_pages_that_may_use_it(
    application: Callable[..., Application], origins: list[str], credentials: bool, origin: str, site: str, kept: bool
) -> None:
    app = application(middleware=(Cors(origins, credentials=credentials),))

    answer = app.caller.get("/echo", origin=origin, sec_fetch_site=site, cookie="session_id=x")

    assert (answer.json()["return"][0]["cookie"] is not None) == kept
