"""The audit trail over the whole application: what is recorded of every client, and that strict mode lets nothing by unrecorded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from service.audit.hashing import HmacKey
from service.clients import CLIENTS
from service.errors import InvalidConfiguration
from service.wiring.configuration import read_configuration
from tests.contract.conftest import MASTER_CONFIG, Api, a_store, fake_api, read_once
from tests.contract.test_v1_jobs import gateway_of, get, post, returned
from tests.fakes import FakeGateway, FakeMaster

pytestmark = pytest.mark.slow

CANARY = "CANARY"
ALL = '[{"level": "request_response"}]'
KEY = "an hmac key of tests CANARY-hmac"


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "key").write_text(KEY)
    return {
        "SIDECAR_AUDIT_SINKS": "file",
        "SIDECAR_AUDIT_FILE": str(tmp_path / "audit.jsonl"),
        "SIDECAR_AUDIT_HMAC_KEY_FILE": str(tmp_path / "key"),
        "SIDECAR_AUDIT_WRITE_SECONDS": "30",
    }


def master_of(api: Api) -> FakeMaster:
    assert isinstance(api.process.gateway, FakeGateway)
    return api.process.gateway.master


def records(api: Api, path: Path) -> list[dict[str, Any]]:
    """End the process and return what it recorded, without the end itself."""
    api.process.stop()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert found.pop()["stage"] == "stop"
    return found


def call(client: str) -> dict[str, Any]:
    if client == "ssh":
        return {"client": client, "tgt": "edge-1", "fun": "test.echo", "arg": ["one"]}
    if client.startswith("local"):
        return {"client": client, "tgt": "*", "fun": "test.arg", "arg": ["one"], "kwarg": {"name": "two"}}
    return {"client": client, "fun": "test.arg" if client.startswith("runner") else "key.finger", "match": "minion-1"}


def test_every_client_leaves_a_pair_of_records(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, SIDECAR_AUDIT_RULES=ALL, **settings)
    for client in CLIENTS:
        assert api.run(**call(client)).status == 200
    found = records(api, tmp_path / "audit.jsonl")

    assert [record["stage"] for record in found] == ["request_received", "response_complete"] * len(CLIENTS)
    for client, before, after in zip(CLIENTS, found[::2], found[1::2], strict=True):
        assert before["audit_id"] == after["audit_id"]
        assert before["request_id"] == after["request_id"]
        assert (before["salt.client"], before["user.name"], before["eauth"], before["client.address"]) == (client, "demo", "sharedsecret", "192.0.2.1")
        assert "decision" not in before
        assert (after["decision"], after["outcome"], after["status_code"]) == ("allow", "ok", 200)
        assert before["args"] == after["args"] != {}
        assert "returns" in after
        if client not in {"wheel_async", "runner_async"}:
            assert after["jid"]
    assert [record["seq"] for record in found] == list(range(1, 1 + len(found)))


def test_the_first_record_is_there_before_the_master_hears_anything(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, SIDECAR_AUDIT_MODE="strict", **settings)
    master = master_of(api)
    seen: list[tuple[str, int]] = []
    send = master.send

    def spying(load: dict[str, Any], **options: Any) -> Any:
        seen.append((load["cmd"], len((tmp_path / "audit.jsonl").read_text().splitlines())))
        return send(load, **options)

    master.send = spying  # type: ignore[method-assign]
    api.caller.post([{**api.demo, **call("local_async")}, {**api.demo, **call("runner_async")}])
    api.process.stop()

    assert seen == [("publish", 2), ("runner", 2)]


def test_a_key_that_is_replaced_counts_from_the_next_request_and_a_record_names_the_one_it_used(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, SIDECAR_AUDIT_RULES=ALL, **settings)
    master = master_of(api)
    send, keys = master.send, [HmacKey(KEY.encode()), HmacKey(b"another key of sixteen")]

    def rotating(load: dict[str, Any], **options: Any) -> Any:
        (tmp_path / "key").write_text("another key of sixteen")
        return send(load, **options)

    master.send = rotating  # type: ignore[method-assign]
    api.run(**call("runner_async"))
    api.run(**call("runner_async"))
    found = [record for record in records(api, tmp_path / "audit.jsonl") if record["stage"] == "response_complete"]

    assert [record["key_id"] for record in found] == [key.id for key in keys]
    for key, record in zip(keys, found, strict=True):
        assert record["returns"] == key.returns({"tag": f"salt/run/{record['jid']}", "jid": record["jid"]})


def test_strict_refuses_what_no_sink_takes_and_publishes_nothing(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, **{**settings, "SIDECAR_AUDIT_FILE": "/dev/full", "SIDECAR_AUDIT_MODE": "strict", "SIDECAR_AUDIT_RULES": ALL})
    login = {"username": "demo", "eauth": "sharedsecret", "password": api.demo["password"]}
    answers = [api.run(**call(client)) for client in CLIENTS]
    answers += [api.caller.post(login, path) for path in ("/login", "/token")]

    assert {answer.status for answer in answers} == {503}
    assert answers[0].json()["error"] == "AuditUnavailable"
    assert "audit.mode strict" in answers[0].json()["return"]
    assert answers[0].headers["retry-after"] == "5"
    assert master_of(api).loads == []
    assert api.process.metrics.value("salt_api_client_requests_total", client="local", outcome="error") == 1
    metrics = api.process.metrics
    assert metrics.value("salt_api_audit_rejected_requests_total") == len(answers)
    assert (metrics.value("salt_api_audit_events_total", result="failed") or 0) >= len(answers)
    assert api.process.health.report()["audit"].ok is False
    api.process.stop()


def test_best_effort_goes_on_counts_and_stays_ready(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, **{**settings, "SIDECAR_AUDIT_FILE": "/dev/full"})
    assert api.run(**call("local")).status == 200
    api.process.stop()

    assert (api.process.metrics.value("salt_api_audit_events_total", result="failed") or 0) >= 2
    assert api.process.metrics.value("salt_api_audit_rejected_requests_total") == 0
    assert api.process.health.report()["audit"].ok
    assert "file" in api.process.health.report()["audit"].reason
    assert [load["cmd"] for load in master_of(api).loads] == ["publish"]


def test_who_is_turned_away_is_recorded_whatever_the_rules_say(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, SIDECAR_AUDIT_RULES='[{"level": "none"}]', SIDECAR_ACCESS_USERS='{"demo": "192.0.2.0/24", "pinger": "192.0.2.1"}', **settings)
    api.run(**call("local"))
    api.caller.post([{**api.pinger, **call("local")}])
    api.caller.post([{**api.demo, **call("local"), "password": "wrong"}])
    api.caller.post([{"token": "ab" * 32, **call("local")}])
    api.caller.post({**api.demo, "password": "wrong"}, "/login")
    api.caller.get("/minions", x_auth_token="cd" * 32)
    api.caller.request("POST", "/hook/x")
    api.caller.address = "198.51.100.9"
    api.run(**call("local"))
    found = records(api, tmp_path / "audit.jsonl")

    assert [load["cmd"] for load in master_of(api).loads].count("get_token") == 2  # one for each dead token, and nothing else of it reaches the master
    shown = [(one["action"], one.get("user.name"), one["http.route"], one["status_code"]) for one in found]
    assert shown == [
        ("run", "pinger", "/", 401),
        ("run", "demo", "/", 401),
        ("run", None, "/", 401),
        ("login", "demo", "/login", 401),
        ("refused", None, "/minions", 401),
        ("refused", None, "/hook", 401),
        ("run", "demo", "/", 401),
    ]
    assert {(one["decision"], one["stage"], one["audit_level"]) for one in found} == {("deny", "response_complete", "metadata")}
    assert all(one["reason"] for one in found)


def test_what_cannot_be_understood_is_recorded_too_and_a_flood_of_it_is_counted(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, SIDECAR_AUDIT_RULES='[{"level": "none"}]', SIDECAR_AUDIT_REFUSED_PER_MINUTE="60", SIDECAR_CLIENTS_SSH="false", **settings)
    token = api.caller.post(api.demo, "/login").json()["return"][0]["token"]
    probe = {**api.demo, "client": "ssh", "tgt": "*", "fun": "cmd.run", "password": CANARY}
    api.caller.post([{"client": "ssh", "fun": "test.ping"}], "/minions", x_auth_token=token)
    api.caller.request("POST", "/run", b"{", content_type="application/json")
    api.caller.request("POST", "/login", b"<xml/>", content_type="text/xml")
    api.caller.request("DELETE", "/keys", x_auth_token=token)
    api.caller.get("/nothing-here")
    for _ in range(500):
        assert api.caller.post([probe], "/run").status == 400
    api.caller.address = "198.51.100.9"
    api.caller.post([probe])
    found = records(api, tmp_path / "audit.jsonl")

    *single, total = found
    assert [(one["http.route"], one["status_code"]) for one in single] == [
        ("/minions", 400), ("/run", 400), ("/login", 406), ("/keys", 405), ("/run", 400), ("/run", 400), ("/", 400),
    ]  # fmt: skip
    assert {(one["stage"], one["action"], one["outcome"], one["decision"]) for one in single} == {("response_complete", "refused", "invalid", "deny")}
    assert [one.get("user.name") for one in single] == ["demo", None, None, None, "demo", "demo", "demo"]
    assert "Client disabled: 'ssh'" in single[-1]["reason"]
    assert (total["stage"], total["action"], total["count"], total["addresses"]) == ("suppressed", "refused", 498, {"192.0.2.1": 498})
    assert CANARY not in (tmp_path / "audit.jsonl").read_text()


def test_logins_tokens_logouts_and_webhooks_are_recorded_with_their_users(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, **settings)
    login = {name: api.demo[name] for name in ("username", "eauth", "password")}
    token = api.caller.post(login, "/login").json()["return"][0]["token"]
    (made,) = api.caller.post(login, "/token").json()
    api.caller.request("POST", "/hook/deploy", b"body", x_auth_token=token)
    api.caller.post([{"mid": "new-minion", **login}], "/keys")
    api.caller.post([{"token": made["token"], **call("local")}], "/run")
    api.caller.post([call("local_async")], "/minions", x_auth_token=token)
    api.caller.request("POST", "/logout", x_auth_token=token)
    found = [one for one in records(api, tmp_path / "audit.jsonl") if one["stage"] == "response_complete"]

    assert [(one["action"], one["http.route"], one["status_code"]) for one in found] == [
        ("login", "/login", 200), ("token", "/token", 200), ("hook", "/hook", 200), ("run", "/keys", 200),
        ("run", "/run", 200), ("run", "/minions", 202), ("logout", "/logout", 200),
    ]  # fmt: skip
    assert {one["user.name"] for one in found} == {"demo"}
    assert (found[2]["salt.tag"], found[3]["salt.fun"]) == ("salt/netapi/hook/deploy", "key.gen_accept")


def test_what_crashed_and_what_was_never_begun_is_said(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, **settings)
    master = master_of(api)
    master.send = lambda load, **_options: 1 / 0  # type: ignore[method-assign]
    answer = api.caller.post([{**api.demo, **call("local")}, {**api.demo, **call("local")}])
    found = records(api, tmp_path / "audit.jsonl")

    assert answer.status == 500
    assert [(one["stage"], one.get("outcome")) for one in found] == [
        ("request_received", None), ("request_received", None), ("panic", "error"), ("response_complete", "not_run"),
    ]  # fmt: skip


def test_no_secret_of_any_field_gets_into_the_file(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, SIDECAR_AUDIT_RULES=ALL, **settings)
    secret = {"password": f"{CANARY}-1", "nested": [{"api_token": f"{CANARY}-2", "plain": f"{CANARY}-3", f"{CANARY} name": 1}]}
    for right in ({}, {"password": f"{CANARY}-4"}, {"eauth": f"no {CANARY[:3]}", "password": f"{CANARY}-5"}):
        for client in CLIENTS:
            low = {**api.demo, **call(client), **right}
            api.caller.post([{**low, "arg": [f"{CANARY}-6", secret], "kwarg": secret, "ret": f"{CANARY}-7", "other": f"{CANARY}-8", "metadata": secret}])
            api.caller.post([{**low, "tgt": f"pass:{CANARY}-9", "tgt_type": "pillar"}, {**low, "tgt": f"G@os:* and I@a:{CANARY}-10", "tgt_type": "compound"}])
    api.caller.post({**api.demo, "otp": f"{CANARY}-11"}, "/login")
    api.caller.post([{"token": f"{CANARY}-12", **call("local")}])
    api.caller.request("POST", f"/hook/x?token={CANARY}-13", CANARY.encode(), x_auth_token=f"{CANARY}-14")
    found = records(api, tmp_path / "audit.jsonl")

    assert len(found) > 2 * len(CLIENTS)
    assert CANARY not in (tmp_path / "audit.jsonl").read_text()
    assert oct((tmp_path / "audit.jsonl").stat().st_mode) == "0o100600"


def test_every_fault_of_the_files_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "master").write_text(MASTER_CONFIG)
    (tmp_path / "empty").touch()
    (tmp_path / "long").write_text("k" * 32)
    os.mkfifo(tmp_path / "pipe")

    def faults(file: str, key: str) -> list[str]:
        wanted = {"SIDECAR_AUDIT_SINKS": "file, stdout", "SIDECAR_AUDIT_FILE": f"{tmp_path}/{file}", "SIDECAR_AUDIT_HMAC_KEY_FILE": f"{tmp_path}/{key}"}
        with pytest.raises(InvalidConfiguration) as caught:
            read_configuration({"SALT_MASTER_CONFIG": str(tmp_path / "master"), **wanted}, read=read_once)
        assert all(fault.fix for fault in caught.value.faults)
        return [f"{fault.where}: {fault.problem.replace(str(tmp_path), '')}" for fault in caught.value.faults]

    assert faults("missing/audit", "empty") == ["audit.file: /missing is no folder", "audit.hmac_key_file: /empty: holds 0 bytes, a key has at least 16"]
    assert faults("pipe", "nothing") == ["audit.file: /pipe is no file", "audit.hmac_key_file: /nothing: No such file or directory"]
    assert faults("long/audit", "long") == ["audit.file: /long is no folder"]
    assert faults("", "long") == ["audit.file:  is no file"]


def test_rules_of_no_known_shape_are_faults_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "master").write_text(MASTER_CONFIG)
    for rules in ('[{"level": "all"}]', '[{"level": "none", "minions": "*"}]', "none", '[{"users": "a"}]', ALL):
        with pytest.raises(InvalidConfiguration) as caught:
            read_configuration({"SALT_MASTER_CONFIG": str(tmp_path / "master"), "SIDECAR_AUDIT_RULES": rules}, read=read_once)
        assert "audit" in caught.value.faults[0].where.lower()


def test_a_token_that_was_made_is_recorded_so_though_a_later_one_of_its_request_was_not(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, **settings)
    login = {name: api.demo[name] for name in ("username", "eauth", "password")}
    answer = api.caller.post([login, {**login, "password": "wrong"}], "/token")
    found = [one for one in records(api, tmp_path / "audit.jsonl") if one["stage"] == "response_complete"]

    assert answer.status == 401
    assert [(one["outcome"], one["decision"], "reason" in one) for one in found] == [("ok", "allow", False), ("denied", "deny", True)]


def test_a_foreign_return_is_recorded_once_a_minute(tmp_path: Path, settings: dict[str, str]) -> None:
    api = fake_api(tmp_path, **settings, **a_store(tmp_path))
    gateway_of(api).master.silent = {"minion-2"}
    jid = post(api, "").json()["jid"]
    for _ in range(3):
        gateway_of(api).hub.deliver(returned(jid, "minion-2", fun="cmd.run"))
    gateway_of(api).hub.deliver(returned(jid, "minion-2"))
    assert get(api, f"/{jid}?wait=30").json()["foreign_returns"] == 3
    (found,) = [record for record in records(api, tmp_path / "audit.jsonl") if record["stage"] == "foreign_return"]

    assert (found["action"], found["jid"], found["minion"], found["count"]) == ("job", jid, "minion-2", 1)
