"""What a scoped token is for: entries `KIND:FUNCTION`, or of the kinds local and ssh `KIND:FUNCTION@TARGET`, each with globs."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.auth.call_policy import CallPolicy, PolicyCall
from service.errors import Forbidden, Unprocessable
from service.settings.policy_settings import PolicyRule

MOST_ENTRIES = 50
MOST_CHARACTERS = 256
ENTRY_PATTERN = r"^((local|ssh):[^\s@,:]+(@[^\s,]+)?|(runner|wheel):[^\s@,:]+)$"
_FORM = "an entry is local:FUNCTION@TARGET, local:FUNCTION, runner:FUNCTION, wheel:FUNCTION, or ssh as local; FUNCTION and TARGET are globs"
Entry = Annotated[str, Field(pattern=ENTRY_PATTERN, max_length=MOST_CHARACTERS)]


class TokenRequest(BaseModel):
    """A scoped token. Unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    scope: Annotated[list[Entry], Field(min_length=1, max_length=MOST_ENTRIES)] = Field(
        description="What it is for, an entry each: `local:FUNCTION@TARGET`, `local:FUNCTION`, `runner:FUNCTION`, `wheel:FUNCTION`, or `ssh` as `local`; FUNCTION and TARGET are globs."
    )
    expires_in: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Seconds until it expires; never later than the session it is made from, which is the default."
    )
    max_uses: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(None, description="How often something may be run with it; default: any number.")


class TokenScope:
    """
    The scope of one token, for one request; a Scope.

    use(): counts a use, and says whether there was one left. revoke(): ends the token. on_refused(rule, asked): hears of each call that is refused.
    """

    def __init__(
        self, id_: str, entries: Sequence[str], *, use: Callable[[], bool], revoke: Callable[[], object], on_refused: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self.id, self.entries = id_, tuple(entries)
        self._use, self._revoke, self._on_refused = use, revoke, on_refused
        self._policy = _policy_of(self.entries)

    def check(self, call: PolicyCall, asked: Mapping[str, Any]) -> None:
        """See Scope. What cannot be known counts against the call, as in a policy."""
        for ruling in self._policy.rulings(call):
            if not ruling.allowed:
                self._on_refused(f"token {self.id}", {**asked, "salt.fun": ruling.function[:200]})
                raise Forbidden(f"the scope of this token does not cover {ruling.function} here; the master was not asked")

    def use(self) -> None:
        """See Scope."""
        if not self._use():
            raise Forbidden("this token has no use left")

    def revoke(self) -> None:
        """See Scope."""
        self._revoke()


@functools.lru_cache(maxsize=256)
def _policy_of(entries: tuple[str, ...]) -> CallPolicy:
    return CallPolicy([*rules_of(entries), PolicyRule(action="refuse")], refuse_master_writes=False, on_refused=lambda _rule, _asked: None)


def rules_of(entries: Iterable[str]) -> list[PolicyRule]:
    """Return what a scope allows. Raises Unprocessable, which names the entry."""
    return [_rule_of(entry, number) for number, entry in enumerate(entries)]


def _rule_of(entry: str, number: int) -> PolicyRule:
    if len(entry) > MOST_CHARACTERS or not re.fullmatch(ENTRY_PATTERN, entry):
        raise Unprocessable("the scope has an entry that says nothing", errors=[{"pointer": f"/scope/{number}", "detail": _FORM}])
    kind, _, rest = entry.partition(":")
    function, _, target = rest.partition("@")
    return PolicyRule.model_validate({"action": "allow", "clients": (kind,), "functions": (function,), "targets": (target,) if target else None})
