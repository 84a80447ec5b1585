"""`salt-sidecar policy test`: what the policy would say of a call, and which rule says so."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping

from service.auth.call_policy import CallPolicy, KnownCaller, PolicyCall, Ruling
from service.auth.minion_globs import Fit
from service.auth.rule_faults import policy_faults
from service.clients import CLIENTS
from service.errors import Fault, InvalidConfiguration
from service.gateway.low import Low, parse_lowstate
from service.settings.policy_settings import PolicySettings
from service.settings.sources import load

WORDS = {Fit.NO: "do not fit", Fit.UNSURE: "may fit", Fit.YES: "fit"}


def main(args: argparse.Namespace) -> int:
    """Print what is decided about each function and why; return 0 if all of the call is allowed, 1 if not, 64 for what is no call, 78 for settings with faults."""
    try:
        ours = _settings(args.environ)
        low = _low(args)
    except InvalidConfiguration as exc:
        for fault in exc.faults:
            print(f"FAULT  {fault}", file=sys.stderr)
        return os.EX_CONFIG
    except Fault as fault:
        print(fault.reason, file=sys.stderr)
        return os.EX_USAGE
    caller = KnownCaller(args.user, args.eauth, None if args.groups is None else tuple(filter(None, args.groups.split(","))))
    policy = CallPolicy(ours.rules, refuse_master_writes=ours.refuse_master_writes, on_refused=lambda _rule, _asked: None)
    rulings = list(policy.rulings(PolicyCall.of(low, args.address, lambda: caller)))
    for ruling in rulings:
        print("\n".join(_told(ruling)))
    return 0 if all(ruling.allowed for ruling in rulings) else 1


def _settings(environ: Mapping[str, str]) -> PolicySettings:
    ours = load(environ).policy
    faults = policy_faults(ours.rules)
    if faults:
        raise InvalidConfiguration(faults)
    return ours


def _low(args: argparse.Namespace) -> Low:
    """Return the low that the arguments stand for, read as a caller's is. Raises BadRequest."""
    functions = args.function.split(",")
    fun = {"fun": functions, "arg": [[] for _ in functions]} if len(functions) > 1 else {"fun": args.function}
    body = {"client": args.client, "tgt": args.target, "tgt_type": args.tgt_type, "eauth": args.eauth or "", **fun}
    return parse_lowstate(body, enabled=CLIENTS, most=1)[0]


def _told(ruling: Ruling) -> Iterator[str]:
    by = ruling.rule or "no rule fits, so the master decides"
    yield f"{'allowed' if ruling.allowed else 'refused'}  {ruling.function}: {by}"
    for name, fits in ruling.steps:
        said = ", ".join(f"{field} {WORDS[fit]}" for field, fit in fits.items()) or "it has no condition"
        yield f"         {name} {'decides' if name == ruling.rule else 'does not decide'}: {said}"
