"""Addresses: only a trusted proxy is believed, and only what it wrote itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.addresses import Networks, Proxies, clean
from tests.unit.http.conftest import Application

PROXIES = ("10.0.0.0/8", "2001:db8::/32")


def environ(peer: str, **headers: str) -> dict[str, Any]:
    return {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", **{f"HTTP_{name.upper()}": value for name, value in headers.items()}}


@pytest.mark.parametrize(
    ("listed", "address", "inside"),
    [
        (["10.0.0.0/8"], "10.1.2.3", True), (["10.0.0.0/8"], "11.1.2.3", False), (["10.0.0.1"], "10.0.0.1", True), (["10.0.0.9/8"], "10.1.1.1", True),
        (["::1"], "::1", True), (["10.0.0.0/8"], "::1", False), (["*"], "anything", True), ([], "10.0.0.1", False), (["10.0.0.0/8"], "unknown", False),
        (["10.0.0.0/8"], "", False), (["10.0.0.0/8"], "::ffff:10.1.2.3", True), (["10.0.0.0/8"], "::ffff:11.1.2.3", False),
        (["::ffff:10.0.0.1"], "10.0.0.1", True), (["::ffff:10.0.0.1"], "::ffff:10.0.0.1", True), (["::ffff:10.0.0.1"], "10.0.0.2", False),
        (["::ffff:10.0.0.0/104"], "10.1.2.3", True), (["::ffff:10.0.0.0/104"], "11.1.2.3", False), (["::ffff:0:0/96"], "192.0.2.1", True),
        (["::/0"], "10.0.0.1", False), (["::/0"], "::ffff:10.0.0.1", False), (["::ffff:0:0/95"], "10.0.0.1", False), (["::/0"], "2001:db8::1", True),
        (["0.0.0.0/0"], "::ffff:10.0.0.1", True), (["0.0.0.0/0"], "::10.0.0.1", False), (["0.0.0.0/0"], "64:ff9b::10.0.0.1", False),
    ],
)  # fmt: skip
def test_a_network_holds_its_addresses(listed: list[str], address: str, inside: bool) -> None:
    assert (address in Networks(listed)) == inside


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("192.0.2.1", "192.0.2.1"), (" 192.0.2.1 ", "192.0.2.1"), ("192.0.2.1:4711", "192.0.2.1"), ("[2001:DB8::1]:80", "2001:db8::1"), ('"[::1]"', "::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1"), ("unknown", "unknown"), ("_hidden", "unknown"), ("localhost", "unknown"),
        ("192.0.2.1, 10.0.0.1", "unknown"), ("192.0.2.256", "unknown"), ("", ""), ("[", ""), ("\r\n", ""), ("1" * 10_000, "unknown"),
    ],
)  # fmt: skip
def test_an_address_is_read_in_every_dress(written: str, address: str) -> None:
    assert clean(written) == address


@given(st.text())
def test_what_is_no_address_is_unknown(text: str) -> None:
    assert clean(text) in {"", "unknown"} or clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("192.0.2.9", "1.1.1.1", "192.0.2.9"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", "10.6.6.6, 1.1.1.1, 2001:db8::5", "1.1.1.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "1.1.1.1, garbage", "unknown"),
        ("10.0.0.1", "garbage, 1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", ",".join(["6.6.6.6"] * 5000 + ["10.0.0.2"] * 60), "10.0.0.2"),
    ],
)  # fmt: skip
def test_the_caller_is_the_nearest_address_that_is_no_proxy(peer: str, forwarded_for: str, address: str) -> None:
    found, _ = Proxies(PROXIES).origin(environ(peer, x_forwarded_for=forwarded_for))

    assert found == address


@pytest.mark.parametrize(
    ("forwarded", "address", "scheme"),
    [
        ("for=1.1.1.1;proto=https", "1.1.1.1", "https"),
        ('For="[2001:db9::1]:4711"; Proto=HTTPS; by=10.0.0.1', "2001:db9::1", "https"),
        ("for=6.6.6.6;proto=http, for=1.1.1.1;proto=https, for=10.0.0.2", "1.1.1.1", "https"),
        ('for="6.6.6.6, for=7.7.7.7", for=1.1.1.1', "1.1.1.1", "http"),
        ("for=unknown", "unknown", "http"),
        ("proto=https", "unknown", "https"),
        ("for=1.1.1.1;proto=gopher", "1.1.1.1", "http"),
        ('for="', "unknown", "http"),
    ],
)
def test_the_standard_header_is_read_when_it_is_the_one_declared(forwarded: str, address: str, scheme: str) -> None:
    found = Proxies(PROXIES, "forwarded").origin(environ("10.0.0.1", forwarded=forwarded, x_forwarded_for="6.6.6.6", x_forwarded_proto="http"))

    assert found == (address, scheme)


def test_the_other_headers_are_not_read() -> None:
    sent = environ("10.0.0.1", forwarded="for=6.6.6.6;proto=https", x_real_ip="7.7.7.7", x_forwarded_for="1.1.1.1")

    assert Proxies(PROXIES).origin(sent) == ("1.1.1.1", "http")
    assert Proxies(PROXIES, "x-real-ip").origin(sent) == ("7.7.7.7", "http")


def test_the_scheme_is_believed_from_a_proxy_only() -> None:
    assert Proxies(PROXIES).origin(environ("10.0.0.1", x_forwarded_for="1.1.1.1", x_forwarded_proto="https")) == ("1.1.1.1", "https")
    assert Proxies(PROXIES).origin(environ("192.0.2.9", x_forwarded_for="1.1.1.1", x_forwarded_proto="https")) == ("192.0.2.9", "http")


@given(st.text(alphabet='0123456789.:,;="[] forpt', max_size=60), st.sampled_from(["x-forwarded-for", "forwarded", "x-real-ip"]))
def test_no_header_of_a_proxy_is_too_odd(text: str, header: Any) -> None:
    address, scheme = Proxies(PROXIES, header).origin(environ("10.0.0.1", forwarded=text, x_forwarded_for=text, x_real_ip=text))

    assert address
    assert scheme in {"http", "https"}


def test_everything_behind_sees_the_callers_own_address_and_scheme(application: Callable[..., Application]) -> None:
    app = application(proxies=Proxies(["192.0.2.1"]))

    answer = app.caller.get("/echo", x_forwarded_for="1.1.1.1", x_forwarded_proto="https")

    assert answer.json()["return"][0] == {"address": "1.1.1.1", "scheme": "https", "cookie": None}
    assert app.accounts[0].address == "1.1.1.1"


@pytest.mark.parametrize(("trusted", "believed"), [((), True), (("192.0.2.1",), True), (("10.0.0.0/8",), False)])
def test_a_request_id_is_believed_from_anybody_until_proxies_are_declared(
    application: Callable[..., Application], trusted: tuple[str, ...], believed: bool
) -> None:
    answer = application(proxies=Proxies(trusted)).caller.get("/echo", x_request_id="theirs")

    assert (answer.headers["x-request-id"] == "theirs") == believed


@pytest.mark.parametrize("given_id", ["a\r\nSet-Cookie: x=y", "a b", "ä", "x" * 200, "<script>"])
def test_a_request_id_that_could_break_a_header_is_replaced(application: Callable[..., Application], given_id: str) -> None:
    answer = application().caller.get("/echo", x_request_id=given_id)

    assert answer.headers["x-request-id"] != given_id
    assert "set-cookie" not in answer.headers
