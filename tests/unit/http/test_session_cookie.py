"""The session cookie's attributes, by settings and scheme."""

from __future__ import annotations

from typing import Literal

import falcon
import falcon.testing
import pytest

from service.api.login import SessionCookie

Secure = Literal["auto", "always", "never"]
Samesite = Literal["lax", "strict", "none"]


def header(cookie: SessionCookie, scheme: str, *, clear: bool = False, expire: float = 1_800_000_000.5) -> str:
    class Resource:
        def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
            if clear:
                cookie.clear(req, resp)
            else:
                cookie.set(req, resp, "ab" * 32, expire)

    app: falcon.App[falcon.Request, falcon.Response] = falcon.App()
    app.add_route("/", Resource())
    return str(falcon.testing.simulate_get(app, "/", protocol=scheme).headers["set-cookie"])


@pytest.mark.parametrize(
    ("secure", "scheme", "expected"),
    [("auto", "http", False), ("auto", "https", True), ("always", "http", True), ("never", "https", False)],
)
@pytest.mark.parametrize("clear", [False, True])
def test_secure_follows_the_scheme_unless_told(secure: Secure, scheme: str, expected: bool, clear: bool) -> None:
    assert ("Secure" in header(SessionCookie("session_id", "lax", secure), scheme, clear=clear)) is expected


@pytest.mark.parametrize(("samesite", "expected"), [("lax", "SameSite=Lax"), ("strict", "SameSite=Strict"), ("none", "SameSite=None")])
def test_samesite_is_as_set(samesite: Samesite, expected: str) -> None:
    assert expected in header(SessionCookie("session_id", samesite, "auto"), "http")


def test_it_is_named_as_set_for_every_path_and_for_http_alone() -> None:
    text = header(SessionCookie("sid", "lax", "auto"), "http")

    assert text.startswith("sid=" + "ab" * 32 + ";")
    assert "; Path=/" in text
    assert "; HttpOnly" in text


def test_it_expires_with_the_token_even_in_a_far_future() -> None:
    assert "expires=Fri, 15 Jan 2027 08:00:00 GMT" in header(SessionCookie("sid", "lax", "auto"), "http")
    assert "9999" in header(SessionCookie("sid", "lax", "auto"), "http", expire=1e18)


def test_clearing_it_sets_a_date_in_the_past() -> None:
    text = header(SessionCookie("sid", "lax", "auto"), "http", clear=True)

    assert "1970" in text
    assert "ab" * 32 not in text
