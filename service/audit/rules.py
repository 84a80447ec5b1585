"""Rules: how much of a request is recorded; the first rule that matches decides."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Sequence

from service.settings.audit_settings import AuditRule

NONE, METADATA, REQUEST, REQUEST_RESPONSE = range(4)
NAMES = ("none", "metadata", "request", "request_response")


@dataclasses.dataclass(frozen=True)
class Subject:
    """What rules look at. functions: more than one in a compound command, none where no function is run."""

    client: str = ""
    functions: tuple[str, ...] = ()
    user: str = ""
    groups: tuple[str, ...] = ()
    route: str = ""


class Rules:
    """The rules in their order. Where none fits, `metadata`: what nobody thought of is recorded."""

    def __init__(self, rules: Sequence[AuditRule]) -> None:
        self._rules = [_Rule(rule) for rule in rules]

    def level(self, subject: Subject) -> int:
        """Return the level; of a compound command's functions the one that asks for most counts, or a harmless one would hide the others."""
        return max(self._of(subject, function) for function in subject.functions or ("",))

    def _of(self, subject: Subject, function: str) -> int:
        return next((rule.level for rule in self._rules if rule.fits(subject, function)), METADATA)


class _Rule:
    def __init__(self, rule: AuditRule) -> None:
        self.level = NAMES.index(rule.level)
        self._client, self._function, self._user = _pattern(rule.clients), _pattern(rule.functions), _pattern(rule.users)
        self._group, self._route = _pattern(rule.groups), _pattern(rule.routes)

    def fits(self, subject: Subject, function: str) -> bool:
        """Say whether each list of the rule that is not empty has an entry that fits."""
        if self._client and not self._client(subject.client):
            return False
        if self._function and not self._function(function):
            return False
        if self._user and not self._user(subject.user):
            return False
        if self._route and not self._route(subject.route):
            return False
        return not self._group or any(map(self._group, subject.groups))


def _pattern(globs: Sequence[str]) -> Callable[[str], object] | None:
    return re.compile("|".join(map(fnmatch.translate, globs))).match if globs else None
