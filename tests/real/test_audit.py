"""The audit trail as an operator has it: two sinks, a real master, a renamed file, a restart, a disk that is gone, and the commands that read it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.sidecar import JSON, Answer, Sidecar, ask

pytestmark = [pytest.mark.master, pytest.mark.slow]
KEY = "a key of more than sixteen bytes"
RULES = '[{"level": "none", "functions": ["test.ping"]}, {"level": "request"}]'

# Stage, action, function, user, decision.
STORY = [
    ("start", "process", None, None, None),
    ("request_received", "login", None, "demo", None),
    ("response_complete", "login", None, "demo", "allow"),
    ("request_received", "run", "test.arg", "demo", None),
    ("response_complete", "run", "test.arg", "demo", "allow"),
    ("request_received", "run", "test.arg", "pinger", None),
    ("response_complete", "run", "test.arg", "pinger", "deny"),
    ("response_complete", "refused", None, None, "deny"),
    ("request_received", "logout", None, "demo", None),
    ("response_complete", "logout", None, "demo", "allow"),
    ("reload", "process", None, None, None),
    ("stop", "process", None, None, None),
    ("start", "process", None, None, None),
    ("stop", "process", None, None, None),
]


def command(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "service", *argv], input=stdin, capture_output=True, text=True, timeout=180, check=False)


def records(*paths: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def stages(path: Path) -> list[str]:
    return [record["stage"] for record in records(path)] if path.exists() else []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "audit"
    folder.mkdir()
    (folder / "key").write_text(KEY)
    return folder / "audit.jsonl"


def make(make_sidecar: MakeSidecar, salt: EmbeddedSalt, path: Path, **settings: object) -> Sidecar:
    file = {"AUDIT_FILE": path, "AUDIT_HMAC_KEY_FILE": path.with_name("key"), "AUDIT_RULES": RULES, "AUDIT_MODE": "strict", "AUDIT_WRITE_SECONDS": 30}
    return make_sidecar(salt.master_config, **{"AUDIT_SINKS": "file", **file, **settings})


def play(sidecar: Sidecar, salt: EmbeddedSalt, path: Path) -> list[Answer]:
    """Log in, run, be denied, log out."""

    def written(answer: Answer, records: int) -> Answer:
        # The last record of a request is written when its answer is out: the next request's first may come before it.
        sidecar.wait(lambda: len(stages(path)) == records, f"{records} records written")
        return answer

    ping = {"client": "local", "tgt": "*", "fun": "test.ping"}
    needle = {"client": "local", "tgt": "minion-1", "fun": "test.arg", "arg": ["needle"], "kwarg": {"password": "hay"}}
    denied = {**salt.credentials_of("pinger"), "client": "local", "tgt": "*", "fun": "test.arg"}
    login = written(ask(sidecar.api_port, "POST", "/login", json.dumps(salt.credentials).encode(), JSON), 3)
    session = {"X-Auth-Token": login.json()["return"][0]["token"]}
    return [
        login,
        written(sidecar.post(ping, needle, headers=session), 5),
        written(sidecar.post(denied), 7),
        written(sidecar.get("/minions", {"X-Auth-Token": "ab" * 32}), 8),
        written(ask(sidecar.api_port, "POST", "/logout", b"", session), 10),
    ]


def test_the_trail_tells_the_story_and_can_be_searched_and_verified(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar, path: Path) -> None:
    with make(make_sidecar, salt_master, path, AUDIT_SINKS="file,stdout", AUDIT_FSYNC="always") as sidecar:
        answers = play(sidecar, salt_master, path)
        old = path.rename(path.with_name("audit.jsonl.1"))
        sidecar.signal(signal.SIGHUP)
        sidecar.wait(lambda: stages(path) == ["reload"], "renamed and written anew")
        assert sidecar.stop() == 0
    with make(make_sidecar, salt_master, path) as again:
        assert again.stop() == 0
    found = records(old, path)

    assert [answer.status for answer in answers] == [200, 200, 401, 401, 200]
    shown = [(one["stage"], one["action"], one.get("salt.fun"), one.get("user.name"), one.get("decision")) for one in found]
    assert shown == STORY
    ran = found[4]
    assert ran["request_id"] == answers[1].headers["x-request-id"]
    assert (ran["minions_expected"], ran["minions_returned"], ran["minions_failed"], ran["status_code"], ran["tgt"]) == (1, 1, 0, 200, "minion-1")
    hashed = command("audit-hash", "-", "--key-file", str(path.with_name("key")), stdin="needle\n").stdout.strip()
    assert [one["stage"] for one in found if hashed in json.dumps(one)] == ["request_received", "response_complete"]
    assert "needle" not in old.read_text()
    whole = command("audit-verify", str(old), str(path))
    assert (whole.returncode, whole.stdout.split(",")[0]) == (0, "14 lines")
    path.write_text(path.read_text().replace('"stop"', '"none"', 1))
    assert command("audit-verify", str(old), str(path)).returncode == 1
    on_stdout = sidecar.lines("audit")
    assert {line["log.type"] for line in on_stdout} == {"audit"}
    assert [line["stage"] for line in on_stdout] == [one["stage"] for one in found[:12]]
    assert not [line for line in sidecar.lines() if "log.type" in line and line["event"] != "audit"]


def test_strict_refuses_while_the_folder_is_gone_and_goes_on_when_it_is_back(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar, path: Path) -> None:
    low = {**salt_master.credentials, "client": "local", "tgt": "minion-1", "fun": "test.arg"}
    with make(make_sidecar, salt_master, path) as sidecar:
        assert sidecar.post(low).status == 200
        sidecar.wait(lambda: len(stages(path)) == 3, "all of it written")
        shutil.rmtree(path.parent)
        refused = sidecar.post(low)
        sidecar.wait_not_ready(30)
        assert sidecar.post({**low, "fun": "test.ping"}).status == 200  # the rules want no record of it
        checks = sidecar.ops("/readyz").json()["checks"]
        sidecar.wait(lambda: sidecar.metric("salt_api_audit_events_total", result="failed") == 2, "the last record failed too")
        path.parent.mkdir()
        sidecar.wait_ready()
        again = sidecar.post(low)
        rejected, failed = sidecar.metric("salt_api_audit_rejected_requests_total"), sidecar.metric("salt_api_audit_events_total", result="failed")
        assert sidecar.stop() == 0

    assert (refused.status, refused.json()["error"], again.status) == (503, "AuditUnavailable", 200)
    assert "jid" not in refused.body.decode()
    assert checks["audit"]["ok"] is False
    assert "file" in checks["audit"]["reason"]
    assert (rejected, failed) == (1, 2)
    (line,) = sidecar.lines("audit.write.failed")
    assert (line["level"], line["sink"], line["error.type"], line["mode"]) == ("error", "file", "ENOENT", "strict")
    first, *others = records(path)
    assert (first["stage"], first["lost"]) == ("resumed", 2)
    assert [one["stage"] for one in others] == ["request_received", "response_complete", "stop"]
