"""Faults of the policy's rules: what looks like a refusal and is none is found before the start, and told with its fix."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.auth.rule_faults import policy_faults
from service.errors import InvalidConfiguration
from service.settings.policy_settings import PolicyRule
from service.settings.sources import load

GOOD: dict[str, Any] = {
    "action": "refuse",
    "users": ["anna", "svc-*", "EXAMPLE\\anna", "anna@example.org"],
    "groups": ["ops", "Domain Users"],
    "eauth": ["pam"],
    "networks": ["10.0.0.0/8", "::1"],
    "clients": ["local", "runner", "wheel"],
    "functions": ["cmd.*", "*", "state.apply", "*.write", "key.[!l]*", "napalm_*.?et"],
    "targets": ["web*", "db-1.example.org", "*"],
}


def told(*rules: dict[str, Any]) -> list[str]:
    """Return the faults that a start reports."""
    try:
        ours = load({"SALT_MASTER_CONFIG": "/nowhere/master", "SIDECAR_POLICY_RULES": json.dumps(rules)})
    except InvalidConfiguration as exc:
        return [str(fault) for fault in exc.faults]
    return [str(fault) for fault in policy_faults(ours.policy.rules)]


def test_rules_that_say_what_they_mean_have_no_faults() -> None:
    assert told(GOOD, {**GOOD, "action": "allow"}, {"action": "refuse"}) == []
    assert told() == []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"users": ["pam:anna"]}, "policy.rules.1.users: `pam:anna` has an eauth module in front. Fix: write `users: [anna]` and `eauth: [pam]`"),
        ({"groups": ["ops%"]}, "policy.rules.1.groups: `ops%` ends in the mark that groups have in external_auth. Fix: write `ops`"),
        (
            {"functions": ["wheel.key.*"]},
            "policy.rules.1.functions: `wheel.key.*` has a client in front. Fix: write `functions: [key.*]` and `clients: [wheel]`",
        ),
        ({"functions": ["cmd"]}, "policy.rules.1.functions: `cmd` is a module and no function. Fix: write `cmd.*` for all functions of it"),
        ({"functions": [["cmd.run"]]}, "policy.rules.1.functions.0: input should be a valid string"),
        ({"functions": ["cmd.run id"]}, "policy.rules.1.functions: no function is called like `cmd.run id`"),
        ({"targets": ["web1,web2"]}, "policy.rules.1.targets: `web1,web2` is no glob on minion ids"),
        ({"targets": ["G@os:Debian"]}, "policy.rules.1.targets: `G@os:Debian` is no glob on minion ids"),
        ({"clients": ["local_async"]}, "policy.rules.1.clients.0: input should be 'local', 'runner', 'wheel' or 'ssh'"),
        ({"networks": ["office"]}, "policy.rules.1.networks: an entry is neither an address nor a network"),
        ({"users": []}, "policy.rules.1.users: an empty list or entry fits nothing"),
        ({"users": [""]}, "policy.rules.1.users: an empty list or entry fits nothing"),
        ({"action": "deny"}, "policy.rules.1.action: input should be 'allow' or 'refuse'"),
        ({"function": ["cmd.run"]}, "no such option policy.rules.1.function. Fix: did you mean `functions`?"),
    ],
)
def test_a_fault_names_the_rule_and_its_fix(rule: dict[str, Any], said: str) -> None:
    faults = told(GOOD, {"action": "refuse", **rule})

    assert any(said in fault for fault in faults), faults
    assert all("Fix: " in fault for fault in faults)


def test_what_stands_behind_a_rule_without_conditions_is_a_fault() -> None:
    (fault,) = policy_faults([PolicyRule(action="allow"), PolicyRule(action="refuse", functions=("cmd.*",))])

    assert str(fault) == "policy.rules.1: is never reached: policy.rules.0 has no condition and decides about every call. Fix: put it before that rule"
