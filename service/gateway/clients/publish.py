"""Publishing a job: the load, the master's reply, and what its errors mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import salt.utils.args
import salt.utils.minions
import salt.utils.user

from service.errors import BadRequest, Fault, Forbidden, MasterRefused, Unauthenticated
from service.gateway.low import Low
from service.gateway.master.options import MasterOptions

# What LocalClient.cmd takes by name; everything else of a low travels in the load's `kwargs`.
# `metadata` is a job's own and does not belong to the questions we ask about it.
_NAMED = frozenset({"tgt", "fun", "arg", "timeout", "tgt_type", "ret", "jid", "full_return", "kwarg", "metadata"})


class UnclearRefusal(Unauthenticated):
    """
    The master refused bad credentials or a missing right, and says the same of both.

    Stays between the gateway and the guard, which finds out; callers see Unauthenticated or Forbidden.
    """


class Sender(Protocol):
    """Sends loads to the master."""

    def send(self, load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        """Return the master's answer."""


class Target(NamedTuple):
    """Which minions: an expression and its type."""

    tgt: str | list[str]
    tgt_type: str


class Job(NamedTuple):
    """A published job. minions: ids the master expects to answer; unknown: targets without a key."""

    jid: str
    minions: list[str]
    unknown: list[str]


class Ledger(Protocol):
    """Keeps account of the jobs we publish; see follower.py."""

    def publishing(self) -> AbstractContextManager[None]:
        """A publish is under way inside the block."""

    def published(self, jid: str, fun: str, minions: int, missing: int, seconds: float) -> None:
        """The master took a job of ours; the publish took *seconds*."""

    def waits(self, jid: str, seconds: float) -> None:
        """A request waits for the job, for at most *seconds*."""

    def ended(self, jid: str) -> None:
        """The request waits no longer."""


class Publisher:
    """
    Turns lows into publish loads, as LocalClient.pub does, and sends them.

    ledger: keeps account of the jobs.
    on_announced(seconds) is called after each publish: the master must have announced the job on its bus within the last *seconds*.
    """

    def __init__(self, channels: Sender, options: MasterOptions, ledger: Ledger, on_announced: Callable[[float], None] = lambda _seconds: None) -> None:
        self._channels = channels
        self._options = options
        self._on_announced = on_announced
        # The master looks at this list before it looks at the credentials, and words both refusals alike. Source: salt/master.py, ClearFuncs.publish.
        self._has_blacklist = bool(options.raw.get("publisher_acl_blacklist"))
        self._user = salt.utils.user.get_specific_user()
        self.ledger = ledger

    def publish_low(
        self, low: Low, *, metadata: Mapping[str, str], accepted: Callable[[], None], trace: Mapping[str, str] = MappingProxyType({})
    ) -> Job | None:
        """
        Publish what a low asks for.

        metadata: added to the job's own metadata. accepted: called when the master took the credentials.
        trace: the trace context that Salt 3008's own tracing continues. Returns None when no minion matched.
        Raises Unauthenticated, Forbidden, MasterRefused, MasterUnreachable or MasterTimeout.
        """
        fields = low.fields
        extra = extra_of(fields)
        if metadata or "metadata" in fields:
            extra["metadata"] = {**fields.get("metadata", {}), **metadata}
        job = self.publish(
            Target(fields["tgt"], fields["tgt_type"]),
            low.fun,
            arguments_of(fields),
            extra,
            ret=fields.get("ret", ""),
            jid=fields.get("jid", ""),
            timeout=fields.get("timeout"),
            trace=trace,
        )
        accepted()
        return job

    def publish(
        self,
        target: Target,
        fun: str | list[str],
        arg: list[Any],
        extra: Mapping[str, Any],
        *,
        ret: str = "",
        jid: str = "",
        timeout: float | None = None,
        trace: Mapping[str, str] = MappingProxyType({}),
    ) -> Job | None:
        """Publish a function; `extra` carries at least the credentials. Raises as publish_low."""
        resolved = self._resolve(target)
        load = {
            "cmd": "publish",
            "tgt": resolved.tgt,
            "tgt_type": resolved.tgt_type,
            "fun": fun,
            "arg": arg,
            "key": "",
            "ret": ",".join(filter(None, (ret, self._options.ext_job_cache))),
            "jid": jid,
            "kwargs": dict(extra),
            "user": self._user,
            # Where Salt 3008's master looks for it (salt/channel/server.py, handle_message); older masters do not look.
            **trace,
        }
        if self._options.order_masters:
            load["to"] = timeout or self._options.timeout
        return self._send(load, fun)

    def _send(self, load: dict[str, Any], fun: str | list[str]) -> Job | None:
        started = time.monotonic()
        with self.ledger.publishing():
            job = self._job_of(self._channels.send(load))
            if job is not None:
                seconds = time.monotonic() - started
                self.ledger.published(job.jid, fun if isinstance(fun, str) else ",".join(fun), len(job.minions), len(job.unknown), seconds)
                self._on_announced(seconds)
        return job

    def _resolve(self, target: Target) -> Target:
        """Spell out node groups, which minions do not know. Source: LocalClient._prep_pub."""
        if target.tgt_type == "nodegroup":
            return Target(" ".join(self._nodegroup(str(target.tgt))), "compound")
        if target.tgt_type != "compound":
            return target
        words = target.tgt.split() if isinstance(target.tgt, str) else target.tgt
        spelled: list[str] = []
        for word in words:
            spelled += self._nodegroup(word[2:]) if word.startswith("N@") and len(word) > 2 else [word]
        return Target(" ".join(spelled), "compound")

    def _nodegroup(self, name: str) -> list[str]:
        if name not in self._options.nodegroups:
            raise BadRequest(f"Node group {name} unavailable in the master configuration", field="tgt")
        words = salt.utils.minions.nodegroup_comp(name, self._options.nodegroups)
        return words.split() if isinstance(words, str) else list(words)

    def _job_of(self, reply: object) -> Job | None:
        try:
            raise_error_of(reply)
        except Forbidden as fault:
            raise UnclearRefusal(fault.reason) if self._has_blacklist else fault from None
        load = reply.get("load") if isinstance(reply, dict) else None
        if not isinstance(load, dict):
            raise MasterRefused("the master's answer to the publish is not one we know")
        if not load.get("jid"):
            return None
        if not load.get("minions") and not self._options.order_masters:
            return None
        minions, missing = load.get("minions") or [], load.get("missing") or []
        if not (isinstance(minions, list) and isinstance(missing, list) and set(map(type, minions + missing)) <= {str}):
            raise MasterRefused("the minions in the master's answer to the publish are no names")
        return Job(str(load["jid"]), list(minions), list(missing))


def arguments_of(fields: Mapping[str, Any]) -> list[Any]:
    """Return a low's arguments as the minions get them, and send them back in `fun_args`."""
    arguments: list[Any] = salt.utils.args.condition_input(fields["arg"], fields.get("kwarg"))
    return arguments


def extra_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what travels in a load's `kwargs`: credentials, whatever an eauth module may want, and unknown fields."""
    return {name: value for name, value in fields.items() if name not in _NAMED}


def raise_error_of(reply: object) -> None:
    """
    Raise the fault a master's answer stands for, if it stands for one.

    An empty answer is how a master says "not authenticated" in places. The master's own sentences are passed on: they
    name users and functions, never credentials. Source: salt/master.py, ClearFuncs.
    """
    if reply in ("", False, None):
        raise UnclearRefusal("Authentication error occurred.")
    if isinstance(reply, str):
        raise MasterRefused(f"the master answered: {reply[:200]}")
    error = reply.get("error") if isinstance(reply, dict) else None
    if error:
        raise _fault_of(error)


def _fault_of(error: object) -> Fault:
    if not isinstance(error, dict):
        return MasterRefused(str(error)[:500])
    name, message = str(error.get("name", "")), str(error.get("message", "")) or "Authentication error occurred."
    if name == "AuthorizationError":
        return Forbidden(message)
    if name == "AuthenticationError":  # of a publish
        return Unauthenticated(message)
    if "Authentication" in name:  # of a runner or wheel call, where a missing right has this name too
        return UnclearRefusal(message)
    return MasterRefused(f"{name}: {message}"[:500])
