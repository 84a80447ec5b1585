"""`/hook`: what becomes an event, in which shape, and who may make one."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.errors import InvalidConfiguration
from service.wiring.configuration import read_configuration
from tests.caller import Response
from tests.contract.conftest import MASTER_CONFIG, Api, fake_api, listening, login
from tests.fakes import FakeGateway
from tests.listening import Received

KEY = b"hook key CANARY"
BODY = b'{"action": "opened"}'


def fired(api: Api, path: str, body: bytes, **headers: str) -> Received:
    """Send a webhook as demo and return its event."""
    headers.setdefault("x_auth_token", login(api, api.demo))
    with listening(api, query="tag=salt/netapi/hook*") as stream:
        answer = api.caller.request("POST", path, body, **headers)
        assert (answer.status, answer.json()) == (200, {"success": True})
        return next(stream.events())


def test_a_webhook_becomes_an_event_of_the_known_shape(api: Api) -> None:
    event = fired(api, "/hook/github/push", BODY, content_type="application/json", x_github_event="push", x_hub_signature_256="sha256=00")

    assert event.tag == "salt/netapi/hook/github/push"
    assert event.data["body"] == BODY.decode()
    assert event.data["post"] == {"action": "opened"}
    headers = event.data["headers"]
    assert headers["X-Github-Event"] == "push"
    assert headers["X-Hub-Signature-256"] == "sha256=00"
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Length"] == str(len(BODY))
    assert headers["Remote-Addr"] == "192.0.2.1"


def test_what_logs_in_here_does_not_get_onto_the_bus(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    raw: list[bytes] = []
    assert isinstance(api.process.gateway, FakeGateway)
    api.process.gateway.hub.subscribe(lambda event: raw.append(event.raw))
    token = login(api, api.demo)

    api.caller.request("POST", "/hook", x_auth_token=token, authorization=f"Bearer {token}", cookie=f"session_id={token}", x_my_secret_key="theirs")

    assert len(raw) == 1
    assert token.encode() not in raw[0]
    assert b"theirs" in raw[0]


@pytest.mark.parametrize(
    ("body", "content_type", "text", "post"),
    [
        (b"", "application/json", "", {}),
        (b"", "", "", {}),
        (b"{}", "application/json; charset=utf-8", "{}", {}),
        (b"a=1&b=x", "application/x-www-form-urlencoded", "a=1&b=x", {"a": "1", "b": "x"}),
        (b"<xml/>", "text/xml", "<xml/>", {}),
        (b"hello", "text/plain", "hello", "hello"),
        (b"\xff\x00", "application/octet-stream", "\\xff\x00", {}),
        ("schön".encode(), "text/plain", "schön", "schön"),
    ],
)
def test_any_body_will_do(tmp_path: Path, body: bytes, content_type: str, text: str, post: Any) -> None:
    event = fired(fake_api(tmp_path), "/hook", body, content_type=content_type)

    assert event.tag == "salt/netapi/hook"
    assert (event.data["body"], event.data["post"]) == (text, post)


@pytest.mark.parametrize(("path", "tag"), [("/hook/", "hook"), ("/hook/a/", "hook/a"), ("/hook//a//b", "hook/a/b"), ("/hook/%20x", "hook/%20x")])
def test_slashes_do_not_matter(tmp_path: Path, path: str, tag: str) -> None:
    assert fired(fake_api(tmp_path), path, b"").tag == f"salt/netapi/{tag}"


@pytest.mark.parametrize("path", ["/hook/a\n\nb", "/hook/a\nb", "/hook/\x7f", "/hook/" + "x" * 600])
def test_a_path_that_can_be_no_tag_is_a_bad_request(tmp_path: Path, path: str) -> None:
    api = fake_api(tmp_path)

    answer = api.caller.request("POST", path, x_auth_token=login(api, api.demo))

    assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[" * 600 + b"]" * 600, "application/json"),
        (b"d: 2026-01-01\nx: .nan\n? [1]\n: 2", "application/x-yaml"),
        (b"[" * 5000, "text/plain"),
    ],
)
def test_no_body_makes_an_internal_error(tmp_path: Path, body: bytes, content_type: str) -> None:
    api = fake_api(tmp_path)

    answer = api.caller.request("POST", "/hook", body, content_type=content_type, x_auth_token=login(api, api.demo))

    assert answer.status in {200, 400}


@pytest.mark.parametrize("token", [None, "", "junk", "ab" * 32])
def test_without_a_session_a_webhook_is_refused(api: Api, token: str | None) -> None:
    headers = {} if token is None else {"x_auth_token": token}

    assert api.caller.request("POST", "/hook/a", BODY, **headers).status == 401


def test_the_login_can_be_switched_off(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_HOOK_REQUIRE_LOGIN="false")

    assert api.caller.request("POST", "/hook/a", BODY).status == 200


@pytest.mark.costly
def test_the_url_can_be_another_and_the_tag_stays(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_HOOK_URL="/web/hooks")

    assert fired(api, "/web/hooks/a", b"").tag == "salt/netapi/hook/a"
    assert api.caller.request("POST", "/hook/a").status == 404
    assert api.process.metrics.value("salt_api_http_requests_total", method="POST", route="/hook", code="200") == 1


def test_only_post_makes_an_event(api: Api) -> None:
    assert api.caller.get("/hook/a").status == 405


def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_HOOK_BODY_LIMIT_BYTES="10")
    token = login(api, api.demo)

    assert api.caller.request("POST", "/hook", b"x" * 11, x_auth_token=token).status == 413
    assert api.caller.request("POST", "/hook", b"x" * 10, x_auth_token=token).status == 200


# Paths with rules of their own.


def guarded(tmp_path: Path, **rules: Any) -> Api:
    secret = tmp_path / "secret"
    secret.write_bytes(KEY + b"\n")
    settings = tmp_path / "own.yaml"
    endpoints = {"github": {"secret_file": str(secret), **rules}, "lan": {"networks": ["10.0.0.0/8"]}}
    settings.write_text(json.dumps({"hook": {"endpoints": endpoints}}))
    return fake_api(tmp_path, SIDECAR_CONFIG=str(settings))


def signed(body: bytes, key: bytes = KEY) -> str:
    return "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()


def send(api: Api, path: str = "/hook/github/push", body: bytes = BODY, **headers: str) -> Response:
    return api.caller.request("POST", path, body, **headers)


def test_a_good_signature_stands_for_a_login(tmp_path: Path) -> None:
    assert send(guarded(tmp_path), x_hub_signature_256=signed(BODY)).status == 200


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"x_hub_signature_256": ""}, "missing"),
        ({"x_hub_signature_256": "sha1=00"}, "does not begin"),
        ({"x_hub_signature_256": "sha256="}, "does not fit"),
        ({"x_hub_signature_256": "sha256=\xfc\xe9"}, "does not fit"),
        ({"x_hub_signature_256": signed(BODY + b" ")}, "does not fit"),
        ({"x_hub_signature_256": signed(BODY, b"")}, "does not fit"),
        ({"x_hub_signature_256": signed(BODY, KEY + b"\n")}, "does not fit"),
    ],
)
def test_a_bad_signature_is_refused_with_the_reason(tmp_path: Path, headers: dict[str, Any], reason: str) -> None:
    answer = send(guarded(tmp_path), **headers)

    assert answer.status == 401
    assert reason in answer.json()["return"]
    assert KEY not in answer.body


def test_a_login_is_no_substitute_for_a_signature(tmp_path: Path) -> None:
    api = guarded(tmp_path)

    assert send(api, x_auth_token=login(api, api.demo)).status == 401


@pytest.mark.parametrize("path", ["/hook/github", "/hook/github/", "/hook//github//x", "/hook/github/any/thing"])
def test_the_rules_of_a_path_hold_below_it(tmp_path: Path, path: str) -> None:
    api = guarded(tmp_path)

    assert send(api, path).status == 401
    assert send(api, path, x_hub_signature_256=signed(BODY)).status == 200


def test_other_paths_ask_for_a_login_still(tmp_path: Path) -> None:
    assert send(guarded(tmp_path), "/hook/githubs", x_hub_signature_256=signed(BODY)).status == 401


def test_with_a_timestamp_it_is_signed_too_and_has_to_be_recent(tmp_path: Path) -> None:
    api = guarded(tmp_path, timestamp_header="X-Time", tolerance_seconds=60)
    now, old, future = (str(int(time.time()) + shift) for shift in (0, -120, 120))

    statuses = {
        "good": send(api, x_time=now, x_hub_signature_256=signed(now.encode() + b"." + BODY)).status,
        "old": send(api, x_time=old, x_hub_signature_256=signed(old.encode() + b"." + BODY)).status,
        "future": send(api, x_time=future, x_hub_signature_256=signed(future.encode() + b"." + BODY)).status,
        "not signed": send(api, x_time=now, x_hub_signature_256=signed(BODY)).status,
        "none": send(api, x_hub_signature_256=signed(BODY)).status,
        "junk": send(api, x_time="²", x_hub_signature_256=signed(BODY)).status,
        "huge": send(api, x_time="9" * 400, x_hub_signature_256=signed(BODY)).status,
    }

    assert statuses == {"good": 200, **dict.fromkeys(("old", "future", "not signed", "none", "junk", "huge"), 401)}


def test_networks_keep_others_out_before_anything_else_is_looked_at(tmp_path: Path) -> None:
    api = guarded(tmp_path)

    answer = send(api, "/hook/lan/a", x_auth_token=login(api, api.demo))

    assert answer.status == 401
    assert "address" in answer.json()["return"]


def test_a_key_that_is_changed_in_its_file_counts_at_once_and_one_that_vanishes_stays(tmp_path: Path) -> None:
    api = guarded(tmp_path)

    (tmp_path / "secret").write_bytes(b"new")
    changed = send(api, x_hub_signature_256=signed(BODY, b"new")).status
    (tmp_path / "secret").unlink()
    with capture_logs() as lines:
        vanished = [send(api, x_hub_signature_256=signed(BODY, b"new")).status for _ in range(2)]

    assert (changed, vanished) == (200, [200, 200])
    assert [line["where"] for line in lines if line["event"] == "secret.unreadable"] == ["hook.endpoints.github.secret_file"]


def test_a_missing_or_empty_key_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "master").write_text(MASTER_CONFIG)
    endpoints = {"a": {"secret_file": str(tmp_path / "none")}, "b": {"secret_file": str(tmp_path / "empty")}}
    (tmp_path / "own.yaml").write_text(json.dumps({"hook": {"endpoints": endpoints}}))

    with pytest.raises(InvalidConfiguration) as caught:
        read_configuration({"SALT_MASTER_CONFIG": str(tmp_path / "master"), "SIDECAR_CONFIG": str(tmp_path / "own.yaml")})

    assert [fault.where for fault in caught.value.faults] == ["hook.endpoints.a.secret_file", "hook.endpoints.b.secret_file"]
