"""What stands before every URL: its forms, media, CORS, access lists, proxies; and what never reaches a log."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs

from service.errors import InvalidConfiguration
from service.routes import API_TEMPLATES
from tests.contract.conftest import Api, fake_api, requests_of

PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}
PONG = {"return": [{"minion-1": True}]}
FORM = "application/x-www-form-urlencoded"
GUI = "https://gui.example.org"
# A stream never ends by itself.
URLS = sorted({template.replace("{mid}", "minion-1").replace("{jid}", "20260101000000000000") for template in API_TEMPLATES} - {"/events"})


@pytest.fixture(scope="module")
def with_cors(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Api]:
    """Make an application for some origins, once."""
    return functools.cache(lambda origins: fake_api(tmp_path_factory.mktemp("cors"), SIDECAR_CORS_ORIGINS=origins))


def login(api: Api) -> str:
    return api.caller.post(api.demo, "/login").headers["x-auth-token"]


def form_of(**fields: str) -> bytes:
    return "&".join(f"{name}={value}" for name, value in fields.items()).encode()


def test_a_form_runs_a_command(api: Api) -> None:
    body = form_of(**api.demo, client="local", tgt="minion-1", fun="test.arg") + b"&arg=1234&arg=a b&arg=true&kwarg={x: 1}"

    answer = api.caller.request("POST", "/", body, content_type=f"{FORM};charset=utf-8")

    assert answer.status == 200, answer.body
    returned = answer.json()["return"][0]["minion-1"]
    assert list(returned["args"]) == [1234, "a b", True]
    assert {name: value for name, value in returned["kwargs"].items() if not name.startswith("__")} == {"x": 1}


def test_yaml_runs_a_command_and_comes_back(api: Api) -> None:
    answer = api.caller.request("POST", "/", yaml.safe_dump([{**api.demo, **PING}]).encode(), content_type="application/x-yaml", accept="application/x-yaml")

    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-yaml")
    assert yaml.safe_load(answer.body) == PONG


@pytest.mark.parametrize(
    "body", [b"1: 2", b"? !!set {a}\n: 1", b"!!binary YQ==", b"- 1", b"client: !!set {a}", b"client: local\n1: x\ntgt: '*'\nfun: test.ping", b"~"]
)
def test_yaml_that_is_no_lowstate_is_a_bad_request(api: Api, body: bytes) -> None:
    answer = api.caller.request("POST", "/run", body, content_type="application/x-yaml")

    assert answer.status in {400, 401}, answer.body


def test_saltguis_traffic_works(api: Api) -> None:
    """Fetch without a Content-Type sends text/plain; the header of the last session comes along, empty or stale."""
    headers = {"content_type": "text/plain;charset=UTF-8", "accept": "application/json", "cache_control": "no-cache"}
    session = api.caller.post(api.demo, "/login", **headers, x_auth_token="")

    answer = api.caller.post(PING, "/", **headers, x_auth_token=session.json()["return"][0]["token"])

    assert (answer.status, answer.json()) == (200, PONG)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("url", URLS)
def test_every_url_has_its_forms(api: Api, url: str) -> None:
    forms = (url, f"{url}/", f"/{url}", f"/{url}//", f"{url}?timeout=1&unknown=")

    statuses = {api.caller.get(form, x_auth_token=login(api)).status for form in forms}

    assert len(statuses) == 1
    assert max(statuses) < 500 or statuses == {501}


@pytest.mark.parametrize("url", [*URLS, "/events", "/nowhere", "/hook/a/b"])
def test_every_url_answers_a_preflight_alike(with_cors: Callable[[str], Api], url: str) -> None:
    caller = with_cors(GUI).caller

    preflight = {"access_control_request_method": "POST", "access_control_request_headers": "content-type,x-auth-token"}
    allowed = caller.request("OPTIONS", url, b"", origin=GUI, **preflight)
    denied = caller.request("OPTIONS", url, b"", origin="https://evil.example.org", **preflight)

    assert (allowed.status, denied.status) == (200, 200)
    assert allowed.headers["access-control-allow-origin"] == GUI
    assert "access-control-allow-origin" not in denied.headers


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT"])
def test_every_url_is_closed_to_a_foreign_network(tmp_path: Path, method: str) -> None:
    api = fake_api(tmp_path, SIDECAR_ACCESS_NETWORKS="10.0.0.0/8")
    pretended = {"x_forwarded_for": "10.0.0.1", "forwarded": "for=10.0.0.1", "x_real_ip": "10.0.0.1"}

    for url in (*URLS, "/events", "/nowhere", "/app", "/static/x", "/hook/a/b"):
        assert api.caller.request(method, url, b"{}", content_type="application/json", **pretended).status == 403, url


def test_the_address_behind_a_trusted_proxy_counts(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_ACCESS_NETWORKS="10.0.0.0/8", SIDECAR_ACCESS_TRUSTED_PROXIES="192.0.2.1")

    assert api.caller.get("/", x_forwarded_for="10.0.0.1").status == 200
    assert api.caller.get("/", x_forwarded_for="10.0.0.1, 6.6.6.6").status == 403
    assert api.caller.get("/", forwarded="for=10.0.0.1").status == 403


@pytest.mark.parametrize("path", ["/", "/run", "/login", "/token"])
def test_a_user_from_the_wrong_address_is_unauthenticated_at_every_door(tmp_path: Path, path: str) -> None:
    api = fake_api(tmp_path, master="\nrest_cherrypy: {api_acl: {users: {demo: [10.0.0.1], '*': ['*']}}}\n")

    refused = api.caller.post({**api.demo, **PING}, path)
    api.caller.address = "10.0.0.1"
    allowed = api.caller.post({**api.demo, **PING}, path)

    assert (refused.status, allowed.status) == (401, 200)


@pytest.mark.parametrize("path", ["/", "/run", "/minions", "/jobs", "/keys", "/stats"])
def test_a_session_is_worth_nothing_from_the_wrong_address(tmp_path: Path, path: str) -> None:
    api = fake_api(tmp_path, SIDECAR_ACCESS_USERS="{demo: [10.0.0.1]}")
    api.caller.address = "10.0.0.1"
    token = login(api)
    api.caller.address = "10.0.0.2"

    answer = api.caller.post({**PING, "token": token}, path, x_auth_token=token) if path in {"/", "/run"} else api.caller.get(path, x_auth_token=token)

    assert answer.status == 401


def test_a_session_of_another_users_page_is_not_used(api: Api) -> None:
    token = login(api)

    answer = api.caller.post(PING, "/", content_type="text/plain", cookie=f"session_id={token}", origin="https://evil.example.org", sec_fetch_site="cross-site")

    assert answer.status == 401


@pytest.mark.parametrize("path", ["/login", "//login", "/login/"])
def test_everything_lives_below_the_prefix(tmp_path: Path, path: str) -> None:
    api = fake_api(tmp_path, SIDECAR_API_ROOT_PREFIX="/salt-api")

    assert api.caller.post(api.demo, f"/salt-api{path}").status == 200
    assert api.caller.post(api.demo, path).status == 404


def test_the_page_and_its_files_are_served_as_rest_cherrypy_mounts_them(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<html>")
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.js").write_text("1")
    site = f"\nrest_cherrypy: {{port: 8000, app: {tmp_path}/index.html, static: {tmp_path}/static}}\n"

    caller = fake_api(tmp_path, master=site).caller

    assert caller.get("/", accept="text/html,*/*;q=0.8").body == b"<html>"
    assert caller.get("/", accept="application/json").json()["return"]
    assert caller.get("/app/x").body == b"<html>"
    assert caller.get("/static/a.js").headers["content-type"] == "text/javascript"
    assert caller.get("/static/salt-auth.txt", accept="text/plain").status == 404
    assert caller.post({}, "/login", accept="text/html,*/*").headers["content-type"] == "application/json"


@pytest.mark.parametrize("setting", ["SIDECAR_SITE_APP_PATH", "SIDECAR_SITE_STATIC_PATH", "SIDECAR_HOOK_URL"])
@pytest.mark.parametrize("url", ["/login", "/minions", "/events"])
def test_a_url_that_is_taken_is_a_fault(tmp_path: Path, setting: str, url: str) -> None:
    with pytest.raises(InvalidConfiguration, match="is the URL of something else"):
        fake_api(tmp_path, **{setting: url})


def test_what_the_settings_move_leaves_its_url_free_and_may_not_meet(tmp_path: Path) -> None:
    fake_api(tmp_path, SIDECAR_SITE_APP_PATH="/hook", SIDECAR_HOOK_URL="/static/in", SIDECAR_SITE_STATIC_PATH="/files")

    with pytest.raises(InvalidConfiguration, match="is the URL of something else"):
        fake_api(tmp_path, SIDECAR_SITE_APP_PATH="/files", SIDECAR_SITE_STATIC_PATH="/files")


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "/", "//"])
def test_a_token_in_the_query_reaches_no_log(tmp_path: Path, prefix: str) -> None:
    api = fake_api(tmp_path)
    canary = "CANARY0123456789abcdef"

    with capture_logs() as lines:
        for method, url in itertools.product(("GET", "POST", "OPTIONS"), URLS):
            api.caller.request(
                method, f"{prefix}{url}?token={canary}&salt_token={canary}", b"{", content_type="application/json", referer=f"https://x/?token={canary}"
            )

    assert len(requests_of(lines)) == 3 * len(URLS)
    assert canary not in repr(lines)
    assert canary not in api.process.metrics.exposition()[1].decode()


@pytest.mark.parametrize("url", ["/ws/{}", "//ws/{}", "/all_events/{}", "/formatted_events/{}"])
def test_a_token_in_the_path_reaches_no_log(tmp_path: Path, url: str) -> None:
    api = fake_api(tmp_path)
    with capture_logs() as lines:
        token = login(api)
        api.caller.get(url.format(token))

    assert len(requests_of(lines)) == 2
    assert token not in repr(lines)


def break_out(text: str) -> dict[str, Any]:
    """Return a header that would end its line."""
    return dict.fromkeys(("origin", "x_request_id", "access_control_request_method", "x_auth_token", "cookie", "accept", "authorization"), text)


@pytest.mark.parametrize("url", [*URLS, "/nowhere"])
def test_no_header_of_a_request_comes_back_as_another_one(with_cors: Callable[[str], Api], url: str) -> None:
    api = with_cors("*")

    for method in ("GET", "POST", "OPTIONS"):
        answer = api.caller.request(method, url, b"{}", content_type="application/json", **break_out("x\r\nX-Evil: 1"))

        assert answer.status < 500 or answer.status == 501
        assert "x-evil" not in answer.headers
        assert not any("\r" in value or "\n" in value for value in answer.headers.values())
