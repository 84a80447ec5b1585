"""The cases in which the sidecar must give what NetapiClient.run gives, and the few differences we want."""

from __future__ import annotations

import dataclasses
import math
import re
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

from service.clients import CLIENTS
from service.demo.embedded import PATIENCE_SECONDS
from service.errors import BadRequest, Fault, JobTimeout, Unauthenticated, UnknownFunction
from service.gateway.clients.local import Request
from service.gateway.low import parse_lowstate
from service.wiring.master import MasterSide
from tests.contract.reference import Reference

Outcome = tuple[str, Any]
# No machine is so slow that a living minion needs longer; a case waits twice for both times.
LONGEST_SECONDS = 30
# Between two pings of the living minion while a case runs: a master that has nothing else to do takes a tenth of a second for two.
PAUSE_SECONDS = 0.2
# Which of our faults stands for which of Salt's exceptions.
FAULTS: tuple[tuple[type[Fault], frozenset[str]], ...] = (
    (Unauthenticated, frozenset({"EauthAuthenticationError", "AuthenticationError", "AuthorizationError", "TokenAuthenticationError"})),
    (UnknownFunction, frozenset({"CommandExecutionError"})),
    (JobTimeout, frozenset({"SaltClientTimeout"})),
    (BadRequest, frozenset({"SaltInvocationError", "TypeError", "KeyError", "UnboundLocalError", "AttributeError"})),
)
_JID = re.compile(r"\b20\d{18}\b")
# What differs from run to run whoever asks.
_VOLATILE = frozenset({"_stamp", "pid", "duration", "start_time", "metadata"})


@dataclasses.dataclass(frozen=True)
class Case:
    """
    One low, run both ways.

    differs: why the answers are not the same, when they are not meant to be; agree says what they must have in common then.
    timed: a minion is silent or slow, so that the waiting times decide what comes out; `seconds_for` says how long those are.
    """

    name: str
    low: dict[str, Any]
    differs: str | None = None
    agree: Callable[[Any, Any], bool] = lambda _theirs, _ours: True
    timed: bool = False


def local(name: str, fun: Any, *arg: Any, tgt: Any = "*", **more: Any) -> Case:
    return Case(name, {"client": "local", "tgt": tgt, "fun": fun, "arg": list(arg), **more})


TARGETS = {
    "glob": "minion-*",
    "pcre": "minion-[12]",
    "list": "minion-1,minion-2",
    "grain": "role:web",
    "grain_pcre": "role:w.b",
    "compound": "G@role:db or L@minion-1",
    "nodegroup": "web",
    "ipcidr": "127.0.0.0/8",
    "pillar": "nope:nope",
    "pillar_pcre": "nope:no.e",
    "pillar_exact": "nope:nope",
    "range": "minion-1",
}


def _same_minions(theirs: Any, ours: Any) -> bool:
    return sorted(theirs) == sorted(ours)


REQUEST_ID = "our jobs carry the request's id in their metadata, which their events show"


def _same_events(theirs: Any, ours: Any) -> bool:
    """Say whether the events of two jobs are the same but for their times, their jid and our metadata."""
    own = {"_stamp", "ts", "jid", "metadata"}
    seen = [
        [(one["data"]["id"], one["tag"].split("/")[3:], {key: part for key, part in one["data"].items() if key not in own}) for one in side]
        for side in (theirs, ours)
    ]
    return sorted(seen[0], key=str) == sorted(seen[1], key=str)


CASES: list[Case] = [
    local("local", "test.ping"),
    local("local full_return", "test.ping", full_return=True),
    local("local with kwarg", "demo.echo", "a", 1, None, True, 1.5, [1], kwarg={"b": {"c": [2]}, "d": "e"}),
    local("local with k=v strings", "demo.echo", "a=1", "b"),
    local("local with a jid-like number", "demo.echo", 20_260_101_000_000_000_000),
    local("local with ret", "test.ping", ret="local"),
    local("local with timeout", "test.ping", timeout=30, gather_job_timeout=2),
    local("local with metadata", "test.ping", metadata={"who": "me"}, full_return=True),
    local("local with unknown fields", "test.ping", batch=None, id_="x", match="y"),
    *(local(f"target {kind}", "test.ping", tgt=tgt, tgt_type=kind) for kind, tgt in TARGETS.items()),
    local("target list of ids", "test.ping", tgt=["minion-1"], tgt_type="list"),
    local("target compound with nodegroup", "test.ping", tgt="N@web or minion-2", tgt_type="compound"),
    local("no match", "test.ping", tgt="nobody"),
    local("unknown minion in a list", "test.ping", tgt=["minion-1", "stranger"], tgt_type="list"),
    dataclasses.replace(local("unknown nodegroup", "test.ping", tgt="nope", tgt_type="nodegroup"), differs="both refuse; Salt's error is a general one, ours names the field"),
    local("unknown function", "nope.nope"),
    local("raising function", "demo.raises"),
    local("raising function full_return", "demo.raises", full_return=True),
    local("non-zero retcode", "demo.retcode", 3),
    local("non-zero retcode full_return", "demo.retcode", 3, full_return=True),
    local("shell exit code full_return", "cmd.run", "exit 3", full_return=True),
    local("state that fails", "state.apply", "failing"),
    local("state that fails full_return", "state.apply", "failing", full_return=True),
    # Seen once in some hundred runs: neither client heard of it. What Salt's own client lost too is no difference.
    dataclasses.replace(local("big return", "demo.big", 1_000_000, tgt="minion-1"), differs="Salt 3006 loses a return of this size now and then",
                        agree=lambda theirs, ours: theirs["minion-1"] is False or len(ours["minion-1"]) == 1_000_000),
    local("unicode", "demo.unicode"),
    local("bytes", "demo.blob"),
    dataclasses.replace(local("slow minion", "demo.sleep", 4), timed=True),
    local("compound functions", ["test.ping", "demo.echo"], [], ["x"]),
    local("compound functions full_return", ["test.ping", "demo.retcode"], [], [3], full_return=True),
    Case("local_async", {"client": "local_async", "tgt": "*", "fun": "test.ping"}),
    Case("local_async no match", {"client": "local_async", "tgt": "nobody", "fun": "test.ping"}),
    Case("local_subset", {"client": "local_subset", "tgt": "*", "fun": "test.ping", "subset": 2}),
    Case("local_subset sub", {"client": "local_subset", "tgt": "minion-1", "fun": "test.echo", "arg": ["x"], "sub": 1}),
    Case("local_subset full_return", {"client": "local_subset", "tgt": "minion-1", "fun": "test.ping", "full_return": True}),
    Case("local_subset no match", {"client": "local_subset", "tgt": "nobody", "fun": "test.ping"}),
    Case("local_batch number", {"client": "local_batch", "tgt": "*", "fun": "test.ping", "batch": "1"}),
    Case("local_batch percentage", {"client": "local_batch", "tgt": "*", "fun": "demo.echo", "arg": ["x"], "kwarg": {"y": 1}, "batch": "50%"}),
    Case("local_batch default", {"client": "local_batch", "tgt": "*", "fun": "test.ping"}),
    Case("local_batch wait", {"client": "local_batch", "tgt": "*", "fun": "test.ping", "batch": 1, "batch_wait": 1}),
    Case("local_batch raw", {"client": "local_batch", "tgt": "*", "fun": "demo.echo", "arg": ["x"], "batch": "50%", "raw": True}, differs=REQUEST_ID, agree=_same_events),
    Case("local_batch no match", {"client": "local_batch", "tgt": "nobody", "fun": "test.ping"}),
    Case("local_batch failhard", {"client": "local_batch", "tgt": "*", "fun": "demo.retcode", "arg": [3], "batch": "1", "failhard": True},
         "which minion is first is a matter of chance", lambda theirs, ours: len(theirs) == len(ours) == 1),
    Case("runner", {"client": "runner", "fun": "test.arg", "arg": ["a", 1], "kwarg": {"b": 2}}),
    Case("runner old style", {"client": "runner", "fun": "test.arg", "b": "c"}),
    Case("runner k=v strings", {"client": "runner", "fun": "test.arg", "arg": ["a=1", "b"]}),
    Case("runner stray fields", {"client": "runner", "fun": "manage.up", "match": "x", "tgt_nope": "y"}),
    Case("runner full_return", {"client": "runner", "fun": "test.arg", "full_return": True}),
    Case("runner missing argument", {"client": "runner", "fun": "jobs.lookup_jid"}),
    Case("runner unknown", {"client": "runner", "fun": "nope.nope"}),
    Case("runner timeout", {"client": "runner", "fun": "test.sleep", "arg": [5], "timeout": 1}),
    Case("runner_async", {"client": "runner_async", "fun": "test.arg"}),
    Case("runner_async unknown", {"client": "runner_async", "fun": "nope.nope"},
         "Salt looks the function up in the API's process; we never wait for it and leave it to the master"),
    Case("wheel", {"client": "wheel", "fun": "key.list_all"}),
    Case("wheel with argument", {"client": "wheel", "fun": "key.finger", "match": "minion-1"}),
    Case("wheel with arg list", {"client": "wheel", "fun": "key.finger", "arg": ["minion-1"], "kwarg": {}}),
    Case("wheel empty arg", {"client": "wheel", "fun": "key.list_all", "arg": []},
         "Salt answers UnboundLocalError to an empty arg, we drop it", lambda _theirs, ours: ours["data"]["success"] is True),
    Case("wheel stray field", {"client": "wheel", "fun": "key.list_all", "tgt": "*"},
         "Salt answers UnboundLocalError to a field the function does not take, we drop it", lambda _theirs, ours: ours["data"]["success"] is True),
    Case("wheel unknown", {"client": "wheel", "fun": "nope.nope"}),
    Case("wheel missing argument", {"client": "wheel", "fun": "key.finger"}),
    Case("wheel_async", {"client": "wheel_async", "fun": "key.list_all"}),
    dataclasses.replace(local("expr_form", "test.ping", tgt="minion-1,minion-2", expr_form="list"), timed=True,
                        differs="Salt ignores expr_form and targets by glob, we take it for tgt_type", agree=lambda _theirs, ours: ours == {"minion-1": True, "minion-2": True}),
    *(Case(f"wrong password: {client}", {"client": client, "tgt": "*", "fun": "test.ping", "password": "wrong"}) for client in CLIENTS if client.startswith("local")),
    *(Case(f"wrong password: {client}", {"client": client, "fun": "test.arg", "password": "wrong"}) for client in ("runner", "runner_async")),
    Case("wrong password: wheel", {"client": "wheel", "fun": "key.list_all", "password": "wrong"}),
    Case("wrong password: wheel_async", {"client": "wheel_async", "fun": "key.list_all", "password": "wrong"},
         "upstream hands out a jid to anybody and logs the refusal (CVE-2021-25281 was the worse form of it)"),
    Case("unknown client", {"client": "nope", "tgt": "*", "fun": "test.ping"}),
    Case("no credentials", {"client": "local", "tgt": "*", "fun": "test.ping", "eauth": None}),
    Case("no target", {"client": "local", "fun": "test.ping"}),
    Case("no function", {"client": "local", "tgt": "*"}),
]  # fmt: skip

NOT_CONNECTED = "Salt looks into the master's grains cache and TCP table to tell [Not connected] from [No response]; we read neither"
# With minion-2 stopped. Who answers is told from who does not by time alone, here and in Salt.
CASES_STOPPED: list[Case] = [
    dataclasses.replace(local("stopped minion", "test.ping"), timed=True, differs=NOT_CONNECTED, agree=_same_minions),
    dataclasses.replace(local("stopped minion full_return", "test.ping", full_return=True), timed=True, differs=NOT_CONNECTED, agree=_same_minions),
    Case("stopped minion async", {"client": "local_async", "tgt": "*", "fun": "test.ping"}),
    Case("stopped minion in a subset", {"client": "local_subset", "tgt": "*", "fun": "test.ping", "subset": 2}, timed=True),
    Case("stopped minion in a batch", {"client": "local_batch", "tgt": "*", "fun": "test.ping", "batch": "2"}, timed=True),
]


def seconds_for(ping: float) -> int:
    """
    Return how long to wait for minions where a ping took that many seconds: as short as possible, since each stopped minion costs it.

    It is ten pings. A function may take longer: then the minion says so when it is asked, which is as quick as a ping.
    """
    return min(max(1, math.ceil(10 * ping)), LONGEST_SECONDS)


def ping(credentials: dict[str, str], gateway: MasterSide) -> float:
    """Return the seconds that a ping of the living minion takes."""
    began = time.monotonic()
    patient = {"timeout": LONGEST_SECONDS, "gather_job_timeout": LONGEST_SECONDS}
    ours(local("ping", "test.ping", tgt="minion-1", **patient), credentials, gateway)
    return time.monotonic() - began


@contextmanager
def pinging(pinged: Callable[[], float]) -> Iterator[Callable[[], float]]:
    """Ping the living minion inside the block, again and again; the function that it gives returns, afterwards, the seconds of the longest."""
    over = Event()

    def longest() -> float:
        seconds = pinged()
        while not over.wait(PAUSE_SECONDS):
            seconds = max(seconds, pinged())
        return seconds

    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(longest)
        try:
            yield found.result
        finally:
            over.set()


def theirs(case: Case, credentials: dict[str, str], reference: Reference) -> Outcome:
    """Run a case through NetapiClient.run."""
    low = {name: value for name, value in {**credentials, **case.low}.items() if not (name == "eauth" and value is None)}
    return reference.run(low)


def ours(case: Case, credentials: dict[str, str], gateway: MasterSide) -> Outcome:
    """Run a case through the gateway."""
    try:
        (low,) = parse_lowstate([{**credentials, **case.low}], enabled=CLIENTS, most=1)
        return "value", gateway.runner.run(low, Request("equivalence", time.monotonic() + PATIENCE_SECONDS)).value
    except Fault as fault:
        return "raised", type(fault).__name__ if not isinstance(fault, tuple(kind for kind, _ in FAULTS)) else fault


def both(case: Case, credentials: dict[str, str], reference: Reference, gateway: MasterSide) -> tuple[Outcome, Outcome]:
    """Run a case both ways."""
    if not case.timed:
        return theirs(case, credentials, reference), ours(case, credentials, gateway)

    def run(seconds: int) -> tuple[Outcome, Outcome]:
        given = dataclasses.replace(case, low={**case.low, "timeout": seconds, "gather_job_timeout": seconds})
        return theirs(given, credentials, reference), ours(given, credentials, gateway)

    return in_good_time(case, run, lambda: ping(credentials, gateway))


def in_good_time(case: Case, run: Callable[[int], tuple[Outcome, Outcome]], pinged: Callable[[], float]) -> tuple[Outcome, Outcome]:
    """
    Run a case in which time decides who answers: a difference counts only if the living minion had its time.

    A machine that stood still meanwhile, so that a ping took longer than was allowed for, made the difference, not we: then the case waits for as
    long as that ping asks for.
    """
    # Of three: the first after a start takes longer than all later ones.
    seconds = seconds_for(statistics.median(pinged() for _ in range(3)))
    while True:
        with pinging(pinged) as longest:
            outcomes = run(seconds)
        needed = seconds_for(longest())
        if needed <= seconds or verdict(case, *outcomes) != "WRONG":
            return outcomes
        seconds = needed


def verdict(case: Case, reference: Outcome, sidecar: Outcome) -> str:
    """Return `equal`, `differs` when the difference is listed and both have in common what they must, else `WRONG`."""
    if _equal(case, reference, sidecar):
        return "equal"
    agreed = case.differs is not None and (reference[0] != "value" or sidecar[0] != "value" or case.agree(reference[1], sidecar[1]))
    return "differs" if agreed else "WRONG"


def _equal(case: Case, reference: Outcome, sidecar: Outcome) -> bool:
    if reference[0] != sidecar[0]:
        return False
    if reference[0] == "raised":
        return any(isinstance(sidecar[1], kind) and reference[1] in names for kind, names in FAULTS)
    return bool(_normal(case, reference[1]) == _normal(case, sidecar[1]))


def _normal(case: Case, value: Any) -> Any:
    """Take out what differs from run to run, and orders that mean nothing."""
    if isinstance(value, dict):
        return {_normal(case, key): "…" if key in _VOLATILE else _normal(case, one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_normal(case, one) for one in value]
        return sorted(parts, key=str) if case.low["client"] in {"local_batch", "local_async"} or case.low["client"].startswith("wheel") else parts
    return _JID.sub("JID", value) if isinstance(value, str) else value
