"""A cookie is not consent: browsers send it along with what any page asks for, so alone it counts for our own pages only; and which Host may be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.conftest import Api, fake_api

HOST = "salt.example.org:8001"
OWN = f"https://{HOST}"
GUI = "https://gui.example.org"
PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}
HOOKS = {"SIDECAR_HOOK_REQUIRE_LOGIN": "true"}
# All that changes something and takes a session.
URLS = ["/", "/minions", "/hook/x", "/logout"]

MEANT: list[dict[str, str]] = [
    {},
    {"user_agent": "curl/8.0"},
    {"origin": OWN},
    {"origin": f"http://{HOST}", "sec_fetch_site": "same-origin"},
    {"origin": OWN.upper()},
    {"referer": f"{OWN}/app?x=https://evil.example.org/"},
    {"referer": OWN, "sec_fetch_site": "same-origin"},
    {"origin": OWN, "referer": "https://evil.example.org/"},
    {"origin": "https://salt.example.org", "host": "salt.example.org"},
    {"origin": "https://salt.example.org", "host": "salt.example.org:443"},
    {"origin": "http://[::1]:8001", "host": "[::1]:8001"},
]
NOT_MEANT: list[dict[str, str]] = [
    {"origin": "https://evil.example.org"},
    {"origin": "https://evil.example.org", "sec_fetch_site": "same-site"},
    {"origin": "https://evil.example.org", "referer": OWN},
    {"origin": "https://sibling.salt.example.org:8001"},
    {"origin": "https://salt.example.org"},
    {"origin": "https://salt.example.org:8002"},
    {"origin": f"https://{HOST}.evil.example.org"},
    {"origin": f"https://evil.example.org@{HOST}"},
    {"origin": f"file://{HOST}"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": GUI},
    {"referer": "https://evil.example.org/?" + OWN},
    {"referer": "about:blank"},
    {"referer": ""},
    {"sec_fetch_site": "same-origin"},
    {"sec_fetch_site": "none"},
    {"sec_fetch_mode": "no-cors"},
    {"sec_fetch_dest": "document", "sec_fetch_user": "?1"},
    {"origin": "https://", "host": ""},
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    return fake_api(tmp_path_factory.mktemp("api"), **HOOKS)


@pytest.fixture(scope="module")
def for_hosts(tmp_path_factory: pytest.TempPathFactory) -> Api:
    return fake_api(tmp_path_factory.mktemp("hosts"), SIDECAR_API_HOSTS="salt.example.org, 10.0.0.1:9000 [::1]")


def token_of(api: Api) -> str:
    return api.caller.post(api.demo, "/login", host=HOST).headers["x-auth-token"]


def status(api: Api, url: str, **headers: str) -> int:
    return api.caller.post(PING, url, content_type="text/plain", **{"host": HOST, **headers}).status


@pytest.mark.parametrize("url", URLS)
def test_a_cookie_counts_for_our_own_pages_and_for_what_is_no_browser(api: Api, url: str) -> None:
    answers = [(headers, status(api, url, cookie=f"session_id={token_of(api)}", **headers)) for headers in MEANT]

    assert [(headers, code) for headers, code in answers if code not in {200, 202}] == []


@pytest.mark.parametrize("url", URLS)
def test_a_cookie_alone_counts_for_nobody_else(api: Api, url: str) -> None:
    token = token_of(api)

    answers = [(headers, status(api, url, cookie=f"session_id={token}", **headers)) for headers in NOT_MEANT]

    assert [(headers, code) for headers, code in answers if code != 401] == []
    assert status(api, "/", x_auth_token=token) == 200  # nobody was logged out


@pytest.mark.parametrize(("name", "value"), [("x_auth_token", "{}"), ("authorization", "Bearer {}")])
def test_a_token_that_a_page_must_know_counts_from_everywhere(api: Api, name: str, value: str) -> None:
    token = token_of(api)

    answers = [(headers, status(api, "/", cookie=f"session_id={token}", **{name: value.format(token)}, **headers)) for headers in NOT_MEANT]

    assert [(headers, code) for headers, code in answers if code != 200] == []


@pytest.mark.parametrize(("credentials", "expected"), [("true", 200), ("false", 401)])
def test_a_listed_origin_may_use_the_cookie_if_the_settings_say_so(tmp_path: Path, credentials: str, expected: int) -> None:
    api = fake_api(tmp_path, SIDECAR_CORS_ORIGINS=GUI, SIDECAR_CORS_CREDENTIALS=credentials)
    cookie = f"session_id={token_of(api)}"

    assert status(api, "/", cookie=cookie, origin=GUI, sec_fetch_site="same-site") == expected
    assert status(api, "/", cookie=cookie, origin="https://evil.example.org", sec_fetch_site="same-site") == 401


def test_a_cookie_that_is_no_session_does_not_matter(api: Api) -> None:
    low = {**api.demo, **PING}

    assert api.caller.post(low, "/", cookie="theme=dark", origin="https://evil.example.org").status == 200
    assert api.caller.post(low, "/run", cookie=f"session_id={token_of(api)}", origin="https://evil.example.org").status == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("salt.example.org", 200), ("SALT.example.org:8001", 200), ("10.0.0.1:9000", 200), ("[::1]:8001", 200), ("[::1]", 200),
        ("evil.example.org", 400), ("evil.example.org:8001", 400), ("10.0.0.1", 400), ("salt.example.org.evil.example.org", 400), ("", 400), ("::1", 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("url", ["/", "/login", "/nowhere"])
def test_only_listed_hosts_are_served_when_there_is_a_list(for_hosts: Api, url: str, host: str, expected: int) -> None:
    answer = for_hosts.caller.get(url, host=host)

    assert answer.status == (404 if expected == 200 and url == "/nowhere" else expected)
    assert expected == 200 or answer.json()["return"] == "400: this Host is not served (api.hosts)"


@pytest.mark.parametrize(
    ("method", "url"), [("GET", "/"), ("POST", "/"), ("GET", "/nowhere"), ("PUT", "/"), ("OPTIONS", "/run"), ("POST", "/login"), ("GET", "/minions")]
)
def test_no_answer_is_to_be_taken_for_what_it_does_not_say(api: Api, method: str, url: str) -> None:
    answer = api.caller.request(method, url)

    assert answer.headers["x-content-type-options"] == "nosniff"
