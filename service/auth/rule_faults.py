"""Finds rules of the policy that are well-formed and yet cannot do what they seem to: an operator believes in a refusal that never comes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.auth.call_policy import RULES_NAME
from service.errors import ConfigFault
from service.settings.policy_settings import PolicyRule


class Trap(NamedTuple):
    """An entry that fits nothing, or not what it says. problem, fix: `{entry}` and the pattern's groups stand for what was written."""

    pattern: re.Pattern[str]
    problem: str
    fix: str


_EAUTH_IN_FRONT = Trap(
    re.compile(r"(?P<eauth>[a-z]+):(?P<name>.+)"), "`{entry}` has an eauth module in front", "write `users: [{name}]` and `eauth: [{eauth}]`"
)
_PERCENT = Trap(re.compile(r"(?P<name>.+)%"), "`{entry}` ends in the mark that groups have in external_auth", "write `{name}`")
_CLIENT_IN_FRONT = Trap(
    re.compile(r"(?P<kind>local|runner|wheel)\.(?P<name>.+)"), "`{entry}` has a client in front", "write `functions: [{name}]` and `clients: [{kind}]`"
)
_NO_DOT = Trap(re.compile(r"[A-Za-z0-9_]+"), "`{entry}` is a module and no function", "write `{entry}.*` for all functions of it")
_NO_FUNCTION = Trap(
    re.compile(r".*[^A-Za-z0-9_.*?\[\]!-].*", re.DOTALL), "no function is called like `{entry}`", "write a glob on function names, such as `cmd.*`"
)
_NO_ID = Trap(
    re.compile(r"[A-Z]@.*|.*[\s,:].*", re.DOTALL),
    "`{entry}` is no glob on minion ids",
    "write one glob for an entry, such as `web*`; other kinds of targets cannot be compared",
)


def policy_faults(rules: Sequence[PolicyRule]) -> list[ConfigFault]:
    """Return what is wrong, by rule and field."""
    faults = [fault for number, rule in enumerate(rules) for fault in _entry_faults(f"{RULES_NAME}.{number}", rule)]
    unconditional = next((number for number, rule in enumerate(rules) if not rule.model_dump(exclude={"action"}, exclude_none=True)), len(rules))
    return faults + [
        ConfigFault(
            f"{RULES_NAME}.{number}", f"is never reached: {RULES_NAME}.{unconditional} has no condition and decides about every call", "put it before that rule"
        )
        for number in range(unconditional + 1, len(rules))
    ]


def _entry_faults(name: str, rule: PolicyRule) -> Iterator[ConfigFault]:
    fields: dict[str, tuple[Sequence[str] | None, tuple[Trap, ...]]] = {
        "users": (rule.users, (_EAUTH_IN_FRONT,)),
        "groups": (rule.groups, (_PERCENT,)),
        "functions": (rule.functions, (_CLIENT_IN_FRONT, _NO_DOT, _NO_FUNCTION)),
        "targets": (rule.targets, (_NO_ID,)),
    }
    for field, (entries, traps) in fields.items():
        for entry in entries or ():
            for trap in traps:
                if found := trap.pattern.fullmatch(entry):
                    said = {"entry": entry[:64], **found.groupdict()}
                    yield ConfigFault(f"{name}.{field}", trap.problem.format(**said), trap.fix.format(**said))
                    break
