"""`salt-sidecar policy test`: what it says, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.cli import main

RULES: list[dict[str, Any]] = [
    {"action": "allow", "functions": ["test.*"]},
    {"action": "refuse", "groups": ["dev"], "targets": ["db*"]},
    {"action": "refuse", "users": ["anna"], "eauth": ["ldap"], "networks": ["192.0.2.0/24"], "clients": ["local"]},
]


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SALT_MASTER_CONFIG", str(tmp_path / "master"))
    monkeypatch.setenv("SIDECAR_POLICY_RULES", json.dumps(RULES))


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("bert test.ping db1", 0, "allowed  test.ping: policy.rules.0"),
        ("bert cmd.run db1 --groups dev,ops", 1, "refused  cmd.run: policy.rules.1"),
        ("bert cmd.run db1 --groups=", 0, "allowed  cmd.run: no rule fits, so the master decides"),
        ("bert cmd.run db1", 1, "policy.rules.1 decides: targets fit, groups may fit"),
        ("bert cmd.run web1", 0, "policy.rules.1 does not decide: targets do not fit"),
        ("bert cmd.run", 1, "targets may fit"),
        ("bert cmd.run web1 --tgt-type compound", 1, "targets may fit"),
        ("anna cmd.run web1 --eauth ldap --address 192.0.2.7", 1, "refused  cmd.run: policy.rules.2"),
        ("anna cmd.run web1 --eauth pam --address 192.0.2.7", 0, "eauth do not fit"),
        ("anna cmd.run web1 --address 192.0.2.7", 1, "eauth may fit"),
        ("anna cmd.run web1 --address 192.0.2.7 --client local_batch", 1, "refused  cmd.run: policy.rules.2"),
        ("anna test.ping,cmd.run db1 --groups dev", 1, "allowed  test.ping"),
        ("anna file_roots.write --client wheel_async", 1, "refused  file_roots.write: policy.refuse_master_writes"),
    ],
)
def test_it_says_which_rule_decides_and_why(arguments: str, status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", *arguments.split()]) == status
    assert said in capsys.readouterr().out


@pytest.mark.costly
@pytest.mark.parametrize(
    ("arguments", "said"), [(["a", "cmd run"], "fun must be a function name"), (["a", "cmd.run", "*", "--client", "scp"], "Invalid client specified: 'scp'")]
)
def test_what_is_no_call_is_a_mistake_of_its_own(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "test", *arguments]) == 64
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("rules", [[{"action": "deny"}], [{"action": "refuse", "functions": ["cmd"]}]])
def test_rules_with_faults_decide_nothing(rules: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SIDECAR_POLICY_RULES", json.dumps(rules))

    assert main(["policy", "test", "a", "cmd.run"]) == 78
    assert "policy.rules.0" in capsys.readouterr().err
