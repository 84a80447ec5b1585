"""The table of Salt's clients that are served; whatever checks, counts or documents clients reads it."""

from __future__ import annotations

import enum
from typing import Literal

Kind = Literal["local", "runner", "wheel", "ssh"]
Slot = Literal["sync_jobs", "quick_calls"]


class Client(str, enum.Enum):
    """
    A client that a low may name; `service/gateway/gateway.py` says what runs it.

    Written out and not taken from salt.netapi.CLIENTS, which also lists `destroy`.
    kind: which of Salt's LocalClient, RunnerClient, WheelClient and SSHClient takes the fields of its low.
    slot: which of `limits` its request counts against: `sync_jobs` waits for minions or a runner, `quick_calls` for the master only.
    summary: its line in docs/http.md.
    """

    kind: Kind
    slot: Slot
    summary: str

    def __new__(cls, name: str, kind: Kind, slot: Slot, summary: str) -> Client:  # noqa: PYI034 - Python 3.10 has no Self
        """Make a member that equals its name, as those of http.HTTPStatus equal their numbers."""
        client = str.__new__(cls, name)
        client._value_ = name
        client.kind, client.slot, client.summary = kind, slot, summary
        return client

    LOCAL = "local", "local", "sync_jobs", "Runs on minions and waits: `{minion: return}`."
    LOCAL_ASYNC = "local_async", "local", "quick_calls", "Starts a job on minions: `{jid, minions}`."
    LOCAL_SUBSET = "local_subset", "local", "sync_jobs", "Runs on a few random minions that have the function: `{minion: return}`."
    LOCAL_BATCH = "local_batch", "local", "sync_jobs", "Runs on a few minions at a time: one `{minion: return}` for each."
    RUNNER = "runner", "runner", "sync_jobs", "Runs a runner of the master's and waits: what it returned."
    RUNNER_ASYNC = "runner_async", "runner", "quick_calls", "Starts a runner: `{tag, jid}`."
    WHEEL = "wheel", "wheel", "quick_calls", "Runs a wheel function, which the master does before it answers: `{tag, data}`."
    WHEEL_ASYNC = "wheel_async", "wheel", "quick_calls", "Starts a wheel function: `{tag, jid}`."
    SSH = (
        "ssh",
        "ssh",
        "sync_jobs",
        "Runs on hosts of the master's roster, by the master's salt-ssh, and waits: `{host: return}`. Off unless `clients.ssh` is set.",
    )

    __str__ = str.__str__  # in messages, logs and labels it is its name


CLIENTS = tuple(str(client) for client in Client)
# Served only where a setting of the section `clients` says so too.
OPT_IN = (Client.SSH,)
BY_DEFAULT = tuple(client for client in CLIENTS if client not in OPT_IN)
# Kinds of clients whose lows have a target.
TARGETED: tuple[Kind, ...] = ("local", "ssh")
