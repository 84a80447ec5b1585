"""The policy: which rule of `policy.rules` decides about a call, and why."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from service.auth.minion_globs import Fit, MinionGlobs
from service.clients import Kind
from service.errors import Forbidden
from service.gateway.low import MAX_NAME_CHARACTERS, Low
from service.http.addresses import UNKNOWN, Networks, clean
from service.settings.policy_settings import PolicyRule

# What writes files of the master's. Source: salt/wheel/{file_roots,pillar_roots,config}.py of Salt 3006 to 3008.
MASTER_WRITES = PolicyRule(action="refuse", clients=("wheel",), functions=("file_roots.write", "pillar_roots.write", "config.apply", "config.update_config"))
MASTER_WRITES_NAME = "policy.refuse_master_writes"
RULES_NAME = "policy.rules"
# Marks on other letters, and characters that are not shown.
_UNSEEN = frozenset({"Mn", "Cc", "Cf"})


@dataclasses.dataclass(frozen=True)
class KnownCaller:
    """Who calls, as far as it is known; what is None cannot be known."""

    user: str | None
    eauth: str | None
    groups: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class PolicyCall:
    """
    What somebody asks for.

    kind, functions, tgt, tgt_type: of the low; tgt is None for runners and wheels, whose targets are arguments, if they have any.
    caller: who asks; called only by a rule that wants to know.
    """

    kind: Kind
    functions: tuple[str, ...]
    tgt: str | Sequence[str] | None
    tgt_type: str
    address: str
    caller: Callable[[], KnownCaller]

    @functools.cached_property
    def known(self) -> KnownCaller:
        """Return what is known of who asks."""
        return self.caller()

    @classmethod
    def of(cls, low: Low, address: str, caller: Callable[[], KnownCaller]) -> PolicyCall:
        """Return what a low asks for: everything that it does, each once."""
        targeted = low.is_targeted
        functions = tuple(dict.fromkeys(fun for fun, _, _ in low.doings))
        return cls(low.client.kind, functions, low.fields["tgt"] if targeted else None, low.fields["tgt_type"] if targeted else "", address, caller)


@dataclasses.dataclass(frozen=True)
class Ruling:
    """
    What the policy says of one function of a call.

    rule: the one that decides, None if none does. steps: each rule that was looked at, with how its fields fit, up to the one that settled it.
    """

    function: str
    allowed: bool
    rule: str | None
    steps: tuple[tuple[str, Mapping[str, Fit]], ...]


Condition = Callable[[PolicyCall, str], Fit]


class CallPolicy:
    """
    The rules in their order; the first that fits decides, and where none does the master.

    What cannot be known counts against the call: a rule that refuses fits if it may, one that allows only if it certainly does.
    on_refused(rule, asked) hears of each call that is refused. Called from request threads.
    """

    def __init__(self, rules: Sequence[PolicyRule], *, refuse_master_writes: bool, on_refused: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._on_refused = on_refused
        self.adjust(rules, refuse_master_writes)

    def adjust(self, rules: Sequence[PolicyRule], refuse_master_writes: bool) -> None:
        """Take other rules, in a running process."""
        first = [_CallRule(MASTER_WRITES_NAME, MASTER_WRITES)] if refuse_master_writes else []
        self._rules = first + [_CallRule(f"{RULES_NAME}.{number}", rule) for number, rule in enumerate(rules)]
        self._kinds = {kind for rule in ([MASTER_WRITES] if refuse_master_writes else []) + list(rules) for kind in rule.clients or get_args(Kind)}

    def concerns(self, low: Low) -> bool:
        """Say whether there is a rule for calls of this kind; most sidecars have none but the one about the master's files."""
        return low.client.kind in self._kinds

    def check(self, call: PolicyCall, asked: Mapping[str, Any]) -> None:
        """Raise Forbidden if any function of a call is refused. asked: what the log says of the call."""
        for ruling in self.rulings(call):
            if not ruling.allowed:
                self._on_refused(str(ruling.rule), {**asked, "salt.fun": ruling.function[:200]})
                raise Forbidden(f"the policy of this sidecar refuses {ruling.function} here; the master was not asked")

    def rulings(self, call: PolicyCall) -> Iterator[Ruling]:
        """Judge each function of a call by itself."""
        rules = self._rules
        return (_ruling(rules, call, function) for function in call.functions)


def _ruling(rules: Iterable[_CallRule], call: PolicyCall, function: str) -> Ruling:
    steps: list[tuple[str, Mapping[str, Fit]]] = []
    for rule in rules:
        fits = rule.fits(call, function)
        steps.append((rule.name, fits))
        if rule.decides(fits):
            return Ruling(function, not rule.refuses, rule.name, tuple(steps))
    return Ruling(function, allowed=True, rule=None, steps=tuple(steps))


class _CallRule:
    def __init__(self, name: str, rule: PolicyRule) -> None:
        self.name = name
        self.refuses = rule.action == "refuse"
        self._least = Fit.UNSURE if self.refuses else Fit.YES
        self._conditions = _conditions(rule)

    def fits(self, call: PolicyCall, function: str) -> dict[str, Fit]:
        """Say how each field fits, up to the first that settles that the rule does not decide."""
        found = {}
        for field, condition in self._conditions.items():
            found[field] = condition(call, function)
            if found[field] < self._least:
                break
        return found

    def decides(self, fits: Mapping[str, Fit]) -> bool:
        return all(fit >= self._least for fit in fits.values())


def _conditions(rule: PolicyRule) -> dict[str, Condition]:
    """Return what each field that is given asks for. Who calls comes last: to find out may cost a question to the master."""
    makers: dict[str, tuple[Sequence[str] | None, Callable[[Any], Condition]]] = {
        "clients": (rule.clients, _clients),
        "functions": (rule.functions, _functions),
        "targets": (rule.targets, _targets),
        "networks": (rule.networks, _networks),
        "eauth": (rule.eauth, lambda globs: _names(globs, lambda caller: (caller.eauth,))),
        "users": (rule.users, lambda globs: _names(globs, lambda caller: (caller.user,))),
        "groups": (rule.groups, lambda globs: _names(globs, lambda caller: (None,) if caller.groups is None else caller.groups)),
    }
    return {field: make(entries) for field, (entries, make) in makers.items() if entries is not None}


def _clients(kinds: Sequence[Kind]) -> Condition:
    return lambda call, _function: Fit.YES if call.kind in kinds else Fit.NO


def _functions(globs: Sequence[str]) -> Condition:
    fit = _pattern(globs)
    return lambda _call, function: fit(function)


def _targets(globs: Sequence[str]) -> Condition:
    minions = MinionGlobs(globs)
    # Of no type is the target that is an argument.
    return lambda call, _function: minions.fit(call.tgt or "", call.tgt_type)


def _networks(names: Sequence[str]) -> Condition:
    networks = Networks(names)

    def fit(call: PolicyCall, _function: str) -> Fit:
        if call.address in networks:
            return Fit.YES
        return Fit.UNSURE if clean(call.address) in {"", UNKNOWN} else Fit.NO

    return fit


def _names(globs: Sequence[str], names_of: Callable[[KnownCaller], Sequence[str | None]]) -> Condition:
    fit = _pattern(globs)
    return lambda call, _function: max(map(fit, names_of(call.known)), default=Fit.NO)


def _pattern(globs: Sequence[str]) -> Callable[[str | None], Fit]:
    """
    Return what compares a name with globs; None is one that is not known.

    A directory may take names for the same that are written in other ways: what differs as `_folded` says may be meant.
    """
    exactly, nearly = (re.compile("|".join(map(fnmatch.translate, some))).match for some in (globs, map(_folded, globs)))

    def fit(name: str | None) -> Fit:
        if name is None or len(name) > MAX_NAME_CHARACTERS:
            return Fit.UNSURE
        if exactly(name):
            return Fit.YES
        return Fit.UNSURE if nearly(_folded(name)) else Fit.NO

    return fit


def _folded(name: str) -> str:
    """Return what is left of a name without case, width, accents, invisible characters and idle blanks (RFC 4518, and further for Active Directory and MySQL); C ends it at a NUL."""
    if name.isascii() and name.isprintable():
        return " ".join(name.lower().split())
    spelled = unicodedata.normalize("NFKD", name.partition("\0")[0])
    seen = "".join(letter for letter in spelled if letter.isspace() or unicodedata.category(letter) not in _UNSEEN)
    return " ".join(seen.casefold().split())
