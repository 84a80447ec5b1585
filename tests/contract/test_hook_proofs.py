"""Webhooks that somebody else made: sent again, sent elsewhere, spelled otherwise, or with a token of another path."""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidConfiguration
from service.wiring.configuration import read_configuration
from tests.caller import Response
from tests.contract.conftest import LENIENT, MASTER_CONFIG, Api, fake_api, read_once
from tests.fakes import FakeGateway

BODY = b'{"action": "opened"}'
SECRETS = {"github": b"CANARY github", "deploy": b"CANARY deploy", "strict": b"CANARY strict", "gitlab": b"CANARY-gitlab", "alerts": b"CANARY-alerts"}
TIMED = {"timestamp_header": "X-Time"}


def guarded(folder: Path, endpoints: dict[str, Any] | None = None, **environ: str) -> Api:
    """Make an application with a path for each way to guard one, or with *endpoints*; login is off, so that what no rule keeps out gets in."""
    for name, secret in SECRETS.items():
        (folder / name).write_bytes(secret + b"\n")
    usual = {
        "github": {"secret_file": str(folder / "github")},
        "deploy": {"secret_file": str(folder / "deploy"), **TIMED},
        "strict": {"secret_file": str(folder / "strict"), **TIMED, "sign_path": True},
        "gitlab": {"token_file": str(folder / "gitlab"), "token_header": "X-Gitlab-Token"},
        "alerts": {"token_file": str(folder / "alerts")},
        "lan": {"networks": ["10.0.0.0/8"]},
        "githubs/open": {},
    }
    (folder / "own.yaml").write_text(json.dumps({"hook": {"require_login": False, "endpoints": usual if endpoints is None else endpoints}}))
    return fake_api(folder, **{"SIDECAR_CONFIG": str(folder / "own.yaml"), **LENIENT, **environ})


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Api:
    """An application with the usual paths, for calls that leave nothing behind."""
    return guarded(tmp_path_factory.mktemp("usual"))


def signature(name: str, signed: bytes) -> str:
    return "sha256=" + hmac.digest(SECRETS[name], signed, hashlib.sha256).hex()


def timed(name: str, path: str | None = None, at: float = 0.0) -> dict[str, str]:
    """Return the headers of a call that was signed *at* seconds from now. path: is signed too."""
    stamp = str(int(time.time() + at))
    signed = stamp.encode() + b"." + (f"{path}\n".encode() if path else b"") + BODY
    return {"x_time": stamp, "x_hub_signature_256": signature(name, signed)}


def send(api: Api, path: str, headers: Mapping[str, str] | None = None, body: bytes = BODY) -> Response:
    return api.caller.request("POST", path, body, **(headers or {}))


def refused(answer: Response, word: str) -> bool:
    assert b"CANARY" not in answer.body
    return answer.status == 401 and word in answer.json()["return"]


def tags(api: Api) -> list[str]:
    """Return the list to which the tags of events will be added."""
    seen: list[str] = []
    assert isinstance(api.process.gateway, FakeGateway)
    api.process.gateway.hub.subscribe(lambda event: seen.append(event.tag))
    return seen


# Sent again.


def test_a_call_with_a_time_counts_once_however_its_signature_is_written(tmp_path: Path) -> None:
    api = guarded(tmp_path)
    seen = tags(api)
    headers = timed("deploy")
    loud = {**headers, "x_hub_signature_256": headers["x_hub_signature_256"].upper()}

    assert send(api, "/hook/deploy", headers).status == 200
    assert refused(send(api, "/hook/deploy", headers), "used already")
    assert refused(send(api, "/hook/deploy/", loud), "used already")
    assert refused(send(api, "/hook/deploy/prod", headers), "another path")
    assert seen == ["salt/netapi/hook/deploy"]
    assert send(api, "/hook/deploy", timed("deploy", at=1)).status == 200


def test_what_failed_may_be_sent_again(tmp_path: Path) -> None:
    api = guarded(tmp_path)
    headers = timed("deploy")
    too_long = "/hook/deploy/" + "x" * 600

    assert [send(api, too_long, headers).status for _ in range(2)] == [400, 400]
    assert send(api, "/hook/deploy", headers).status == 200


def test_without_a_time_a_call_may_be_repeated_where_it_was_made_for(tmp_path: Path) -> None:
    api = guarded(tmp_path)
    headers = {"x_hub_signature_256": signature("github", BODY)}

    assert [send(api, "/hook/github/push", headers).status for _ in range(2)] == [200, 200]
    assert refused(send(api, "/hook/github/deploy", headers), "another path")


# Sent elsewhere.


def test_a_signature_is_good_on_no_path_but_its_own(tmp_path: Path) -> None:
    made = {
        "/hook/github": {"x_hub_signature_256": signature("github", BODY)},
        "/hook/deploy": timed("deploy"),
        "/hook/strict/web": timed("strict", "strict/web"),
    }
    api = guarded(tmp_path)
    others = ["/hook/strict", "/hook/strict/db", "/hook/strict/web/x", "/hook/gitlab", "/hook/alerts", "/hook/lan"]
    for path, headers in made.items():
        for other in {*made, *others} - {path}:
            assert send(api, other, headers).status == 401, (path, other)

    assert [send(api, path, headers).status for path, headers in made.items()] == [200, 200, 200]


def test_path_and_body_cannot_be_cut_apart_elsewhere(tmp_path: Path) -> None:
    api = guarded(tmp_path)
    headers = timed("strict", "strict/a\nb")

    assert send(api, "/hook/strict/a\nb", headers).status == 400
    assert refused(send(api, "/hook/strict/a", timed("strict", "strict/a/b"), b"b\n" + BODY), "does not fit")
    assert send(api, "/hook/strict//a/", timed("strict", "strict/a")).status == 200


@pytest.mark.parametrize("second", ["secret_file", "token_file"])
@pytest.mark.parametrize("same_file", [True, False])
def test_one_secret_for_two_paths_is_a_fault_of_the_configuration(tmp_path: Path, second: str, same_file: bool) -> None:
    (tmp_path / "one").write_bytes(b"CANARY\n")
    (tmp_path / "two").write_bytes(b"CANARY")
    endpoints = {"a": {"secret_file": str(tmp_path / "one")}, "b": {second: str(tmp_path / ("one" if same_file else "two"))}}

    assert faults(tmp_path, endpoints) == [f"hook.endpoints.b.{second}: has the same secret as hook.endpoints.a.secret_file"]


@pytest.mark.parametrize(
    ("endpoints", "fault"),
    [
        ({"a/b": {}, "/a//b/": {}}, "hook.endpoints./a//b/: is the same path as a/b"),
        ({"a/../b": {}}, "hook.endpoints.'a/../b': no webhook can have this path"),
        ({"a\nb": {}}, "hook.endpoints.'a\\nb': no webhook can have this path"),
        ({"a": {"sign_path": True}}, "hook.endpoints.a: sign_path needs secret_file"),
    ],
)
def test_paths_that_nobody_can_mean_are_faults_of_the_configuration(tmp_path: Path, endpoints: dict[str, Any], fault: str) -> None:
    assert faults(tmp_path, endpoints) == [fault]


def faults(folder: Path, endpoints: dict[str, Any]) -> list[str]:
    """Return what is wrong with endpoints, each up to the first comma."""
    (folder / "master").write_text(MASTER_CONFIG)
    (folder / "own.yaml").write_text(json.dumps({"hook": {"endpoints": endpoints}}))
    with pytest.raises(InvalidConfiguration) as caught:
        read_configuration({"SALT_MASTER_CONFIG": str(folder / "master"), "SIDECAR_CONFIG": str(folder / "own.yaml")}, read=read_once)
    assert "CANARY" not in str(caught.value)
    return [f"{fault.where}: {fault.problem}".split(",")[0] for fault in caught.value.faults]


# Spelled otherwise.


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/hook/github", 401),
        ("/hook/github/", 401),
        ("/hook//github", 401),
        ("//hook/github//", 401),
        ("/hook/github/x", 401),
        # A reactor's glob `salt/netapi/hook/github*` takes these for GitHub's.
        ("/hook/githubx", 401),
        ("/hook/github-x/y", 401),
        ("/hook/github;x=1", 401),
        ("/hook/github\\x", 401),
        ("/hook/github.json", 401),
        ("/hook/lanx", 401),
        ("/hook/./github", 400),
        ("/hook/x/../github", 400),
        ("/hook/github/..", 400),
        ("/hook/../hook/github", 400),
        ("/hook/github\t", 400),
        ("/HOOK/github", 404),
        ("/hookx/github", 404),
        ("/hook", 200),
        ("/hook/git", 200),
        ("/hook/x/github", 200),
        # Other paths to a reactor too; the percent sign is what a double encoding leaves.
        ("/hook/GitHub", 200),
        ("/hook/%67ithub", 200),
        ("/hook/githubs/open", 200),
    ],
)
def test_a_path_is_its_segments_however_it_is_spelled(usual: Api, path: str, status: int) -> None:
    assert send(usual, path).status == status


PIECES = st.sampled_from(["github", "lan", "/", "//", ".", "..", "x", "G", " ", "%2f", "%67ithub", ";", "\\", "\u00e9", "\u200b", "?", "#"])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Api, list[str]]:
    api = guarded(tmp_path_factory.mktemp("watched"))
    return api, tags(api)


@pytest.mark.costly
@given(spelled=st.lists(PIECES, max_size=8).map("".join))
def test_no_event_that_a_guarded_glob_takes_is_made_without_proof(watched: tuple[Api, list[str]], spelled: str) -> None:
    api, seen = watched
    seen.clear()

    status = send(api, f"/hook/{spelled}".encode().decode("latin-1")).status

    assert status in {200, 400, 401}
    assert [tag for tag in seen if fnmatch.fnmatch(tag, "salt/netapi/hook/github*") or fnmatch.fnmatch(tag, "salt/netapi/hook/lan*")] == []


# Tokens.


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/hook/gitlab/push", {"x_gitlab_token": "CANARY-gitlab"}, 200),
        ("/hook/gitlab", {}, 401),
        ("/hook/gitlab", {"x_gitlab_token": ""}, 401),
        ("/hook/gitlab", {"x_gitlab_token": "CANARY-gitlab, CANARY-gitlab"}, 401),
        ("/hook/gitlab", {"x_gitlab_token": "CANARY-alerts"}, 401),
        ("/hook/gitlab", {"x_gitlab_token": "canary-gitlab"}, 401),
        ("/hook/gitlab", {"x_gitlab_token": "CANARY-gitla\xff"}, 401),
        ("/hook/gitlab", {"authorization": "Bearer CANARY-gitlab"}, 401),
        ("/hook/gitlab?token=CANARY-gitlab", {}, 401),
        ("/hook/alerts", {"authorization": "Bearer CANARY-alerts"}, 200),
        ("/hook/alerts", {"authorization": "bearer  CANARY-alerts "}, 200),
        ("/hook/alerts", {"authorization": "CANARY-alerts"}, 401),
        ("/hook/alerts", {"authorization": "Basic CANARY-alerts"}, 401),
        ("/hook/alerts", {"authorization": "Bearer"}, 401),
        ("/hook/alerts", {"authorization": "Bearer CANARY-gitlab"}, 401),
    ],
)
def test_a_fixed_token_opens_its_own_path_in_its_own_header(usual: Api, path: str, headers: dict[str, str], status: int) -> None:
    answer = send(usual, path, headers)

    assert answer.status == status
    assert b"CANARY" not in answer.body


def test_a_token_is_masked_in_the_event(tmp_path: Path) -> None:
    api = guarded(tmp_path)
    raw: list[bytes] = []
    assert isinstance(api.process.gateway, FakeGateway)
    api.process.gateway.hub.subscribe(lambda event: raw.append(event.raw))

    send(api, "/hook/gitlab", {"x_gitlab_token": "CANARY-gitlab", "x_other": "theirs"})
    send(api, "/hook/alerts", {"authorization": "Bearer CANARY-alerts"})

    assert len(raw) == 2
    assert all(b"CANARY" not in event for event in raw)
    assert b"theirs" in raw[0]


def test_a_path_may_ask_for_a_token_and_a_signature(tmp_path: Path) -> None:
    files = {"secret_file": str(tmp_path / "github"), "token_file": str(tmp_path / "alerts")}
    api = guarded(tmp_path, {"both": files})
    token, signed = {"authorization": "Bearer CANARY-alerts"}, {"x_hub_signature_256": signature("github", BODY)}

    assert [send(api, "/hook/both", headers).status for headers in (token, signed, {**token, **signed})] == [401, 401, 200]


def test_a_webhook_that_proves_nothing_takes_no_slot_from_one_that_does(tmp_path: Path) -> None:
    api = guarded(tmp_path, SIDECAR_LIMITS_UNPROVEN_CALLS="1", SIDECAR_LIMITS_QUICK_CALLS="1", SIDECAR_LIMITS_SHARE="1")
    assert isinstance(api.process.gateway, FakeGateway)
    meanwhile: list[int] = []

    def call_others(_event: object) -> None:
        if not meanwhile:
            meanwhile.append(send(api, "/hook/open").status)
            meanwhile.append(send(api, "/hook/gitlab", {"x_gitlab_token": SECRETS["gitlab"].decode()}).status)

    api.process.gateway.hub.subscribe(call_others)

    assert send(api, "/hook/open").status == 200
    assert meanwhile == [429, 200]


def test_guessing_a_webhooks_secret_is_slowed_down_at_its_address_and_path_only(tmp_path: Path) -> None:
    api = guarded(tmp_path, SIDECAR_LIMITS_AUTH_FAILURES_BURST="3")
    token = {"x_gitlab_token": SECRETS["gitlab"].decode()}
    guesses = [send(api, f"/hook/gitlab/{number}", {"x_gitlab_token": f"guess-{number}"}) for number in range(5)]
    signed = [send(api, "/hook/github", {"x_hub_signature_256": signature("github", f"{number}".encode())}).status for number in range(5)]

    assert [guess.status for guess in guesses] == [401, 401, 401, 429, 429]
    assert guesses[-1].headers["retry-after"] == "10"
    assert signed == [401, 401, 401, 429, 429]
    assert send(api, "/hook/gitlab", token).status == 429
    assert send(api, "/hook/alerts", {"authorization": f"Bearer {SECRETS['alerts'].decode()}"}).status == 200
    assert api.caller.post({**api.demo}, "/login").status == 200
    api.caller.address = "198.51.100.7"
    assert [send(api, "/hook/gitlab", token).status for _ in range(20)] == [200] * 20
