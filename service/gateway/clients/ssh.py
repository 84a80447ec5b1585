"""The client ssh: the master's own salt-ssh, asked for by its runner `ssh.cmd`. Nothing of ssh is here: no program, no roster, no key."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from service.clients import Client
from service.errors import MasterRefused
from service.gateway.clients.local import Request
from service.gateway.clients.result import LowResult, outcome_of
from service.gateway.clients.runner_wheel import MasterFunctions
from service.gateway.clients.signatures import Signature
from service.gateway.clients.verdict import why_host_failed
from service.gateway.low import Low
from service.gateway.master.options import MasterOptions
from service.gateway.ssh_low import sent_target
from service.observe.redact import redact_text

RUNNER = "ssh.cmd"
# Source: salt/runners/ssh.py, the same in Salt 3006 to 3008. Written out, because to look at the module loads Salt's client for ssh.
SIGNATURE = Signature(frozenset({"tgt", "fun", "arg", "timeout", "tgt_type", "kwarg"}), any_keyword=False)
# What stands in an event for what made it longer than the master's `max_event_size`. Source: salt/utils/dicttrim.py.
TRIMMED = "VALUE_TRIMMED"
MOST_CHARACTERS = 300


class SshCalls:
    """Runs the client ssh. Called from request threads; keeps no state between requests."""

    def __init__(self, functions: MasterFunctions, options: MasterOptions) -> None:
        self._functions = functions
        self._nodegroups = options.raw.get("ssh_list_nodegroups") or {}

    def run(self, low: Low, request: Request) -> LowResult:
        """
        Run a function by salt-ssh and wait for it. Value: {host: what salt-ssh has of it}, empty where no host of the roster fits.

        Raises what a runner raises, and MasterRefused, with the jid, when salt-ssh itself failed.
        Source: salt/client/ssh/client.py, SSHClient.cmd_sync, which NetapiClient.ssh calls.
        """
        result = self._functions.runner(self._as_runner(low), request)
        value = result.value
        if not isinstance(value, dict):
            raise MasterRefused(f"salt-ssh failed at the master: {_last_line(value)}", jid=result.jid)
        reasons: Counter[str] = Counter(reason for ret in value.values() if (reason := why_host_failed(low.fun, ret)))
        hosts, failures = len(value), reasons.total()
        return LowResult(value, outcome_of(hosts, hosts, failures), result.jid, hosts, hosts, failures, 0, reasons)

    def start(self, low: Low, request: Request) -> LowResult:
        """Start it. Value: {"tag", "jid"} of the runner."""
        return self._functions.runner_async(self._as_runner(low), request)

    def _as_runner(self, low: Low) -> Low:
        """Return the low of the runner: of a low for ssh only what is named here goes to the master."""
        fields = low.fields
        tgt, tgt_type = sent_target(fields["tgt"], fields["tgt_type"], self._nodegroups)
        asked: dict[str, Any] = {"tgt": tgt, "tgt_type": tgt_type, "fun": low.fun, "arg": [*map(_word, fields["arg"])]}
        asked |= {name: fields[name] for name in ("kwarg", "timeout") if fields.get(name)}
        return Low(Client.RUNNER, RUNNER, {**low.credentials, "kwarg": asked})


def _word(argument: object) -> object:
    """
    Return a positional argument as salt-call on the host can have it: a text, which it reads as YAML.

    Salt takes an object for keyword arguments, and fails over a number. Source: salt/client/ssh/__init__.py, _convert_args; ssh_py_shim.py.
    """
    if isinstance(argument, str) or (isinstance(argument, dict) and argument.get("__kwarg__") is True):
        return argument
    return json.dumps(argument, ensure_ascii=False, default=str)


def _last_line(value: object) -> str:
    """Return what a runner says last when it fails: of a traceback the exception."""
    if value == TRIMMED:
        return "its answer is longer than the master's max_event_size"
    lines = [line.strip() for line in str(value).splitlines() if line.strip()]
    said = lines[0] if lines and lines[0].startswith("Passed invalid arguments") else (lines or ["nothing was said"])[-1]
    return redact_text(said[:MOST_CHARACTERS])
