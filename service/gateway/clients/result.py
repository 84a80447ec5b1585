"""The result of a low: the value for the caller, and the figures for logs and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Outcome = Literal["ok", "partial", "failed", "no_match"]


class LowResult(NamedTuple):
    """
    value: as NetapiClient.run returns it; for local_batch the list of what it yields.
    jid: the job's id where there is one. The counts are minions. reasons: how many returns failed for which `verdict.Reason`.
    """

    value: Any
    outcome: Outcome = "ok"
    jid: str | None = None
    expected: int = 0
    returned: int = 0
    failed: int = 0
    missing: int = 0
    reasons: Mapping[str, int] = MappingProxyType({})


def failed(data: Mapping[str, Any]) -> bool:
    """Say whether a minion's return says itself that it failed, which is what ends a batch with `failhard`."""
    retcode = data.get("retcode", 0)
    codes = retcode.values() if isinstance(retcode, dict) else retcode if isinstance(retcode, list) else [retcode]
    return any(codes) or data.get("success") is False


def outcome_of(expected: int, returned: int, failures: int) -> Outcome:
    """Sum up a job: nobody matched, all well, something failed, or some stayed silent."""
    if not expected:
        return "no_match"
    if returned < expected:
        return "partial"
    return "failed" if failures else "ok"


def no_return(jid: str, why: str, explanation: str) -> dict[str, Any]:
    """
    Return what stands for a minion that did not return, in LocalClient's shape and, for plain silence, in its words.

    Source: salt/client/__init__.py, LocalClient.get_cli_event_returns.
    """
    lookup = f"To look up the return data for this job later, run the following command:\n\nsalt-run jobs.lookup_jid {jid}"
    return {"out": "no_return", "ret": f"Minion did not return. [{why}]\n{explanation} {lookup}", "retcode": 1}


SILENT = ("No response", "The minions may not have all finished running and any remaining minions will return upon completion.")
UNHEARD = ("Unknown", "The event bus was interrupted while the job ran, so the minion may have returned without our hearing it.")
REFUSED = ("Refused", "The master refused the question whether the minion still runs the job, perhaps because the token has expired; the job may go on.")
UNASKED = ("Unknown", "The master could not be asked whether the minion still runs the job; the job may go on.")
OVERDUE = ("Deadline", "The job was still running when the deadline of this request passed; it goes on.")
