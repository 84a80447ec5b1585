"""The values that labels of metrics may have: listed, or limited where others choose them; any other value counts as one of these."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal, get_args

from service import clients

CLIENTS = (*clients.CLIENTS, "invalid")
OUTCOMES = ("ok", "partial", "failed", "no_match", "authn_error", "authz_error", "invalid", "timeout", "master_unreachable", "overloaded", "error")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "_OTHER")
REJECTIONS = (
    "body_too_large",
    "header_too_large",
    "malformed",
    "slow_body",
    "bodies_full",
    "connections_full",
    "unsupported_media_type",
    "rate_limited",
    "queue_full",
    "share_taken",
    "shutting_down",
    "client_disabled",
)
RPCS = ("publish", "runner", "wheel", "mk_token", "get_token", "ping", "other")
RPC_FAILURES = ("timeout", "refused", "protocol", "queue_full", "other")
AUTH_RESULTS = ("success", "bad_credentials", "expired_token", "forbidden", "throttled", "error")
# What became of a low with a name and password, with limits.auth_reuse_seconds: the master judged them itself for the first time; a token was made for them;
# one was there; there was no room for one more; it could die before the low ends; the master refused the low with it; none was to be had.
Use = Literal["first", "miss", "hit", "full", "short", "refused", "failed"]
USES: tuple[Use, ...] = get_args(Use)
# Whether the master's copy of such a token went with ours, or stays until it expires.
Copy = Literal["removed", "left"]
COPIES: tuple[Copy, ...] = get_args(Copy)
EVENT_TYPES = (
    "job_new", "job_publish", "job_ret", "job_start", "job_prog", "job_sub_error", "job_error", "run_new", "run_ret", "wheel_ret",
    "batch_new", "batch_progress", "batch_complete", "batch_halted", "batch_recover", "auth", "key", "minion_start", "minion_refresh",
    "presence_change", "presence_present", "stats", "beacon", "fileserver", "syndic", "cluster", "custom", "other",
)  # fmt: skip
BUS_LOSSES = ("eof", "error", "stale")
# What may be odd about an event, which is then not believed: its tag is no job event of Salt's; it names another job or minion than its tag; a field of a
# type that it cannot have, or the lack of one; the return of a minion that the job was not sent to; one of another function than was sent.
Oddity = Literal["tag", "identity", "field", "unexpected", "function"]
ODDITIES: tuple[Oddity, ...] = get_args(Oddity)
# Who takes events from the bus thread: the inboxes of waiting requests, the job and fleet metrics, the event streams.
CONSUMERS = ("jobs", "metrics", "notify", "stream")
ANSWERS = ("unary", "stream", "websocket")
TRANSPORTS: tuple[Literal["sse", "websocket"], ...] = ("sse", "websocket")
STREAM_DROPS = ("slow_consumer", "replay_gap", "picture_full")
STREAM_ENDS = ("client", "slow_consumer", "token_expired", "shutdown", "over", "error")
CHECKS = ("process", "bus", "master", "audit")
TRACE_RESULTS = ("exported", "failed", "dropped")
LEVELS = ("debug", "info", "warning", "error", "critical")
RESULTS = ("success", "failure")
ORIGINS = ("api", "other")
RETURN_ORIGINS = ("published", "scheduled", "unsolicited")
MISSING = ("no_return", "not_connected")
JOB_KINDS = ("state", "exec")
# What runs a job of /v1, what it is in before it is over, and what it comes to.
JOB_CLIENTS = (*get_args(clients.Kind), "steps")
JOB_STATES = ("queued", "publishing", "in_doubt", "running")
JOB_ENDS = ("succeeded", "partial", "failed", "no_match", "timed_out", "cancelled", "unknown")
# What became of a wave of such a job (stopped: no other began after it), and why the turn of a minion never came.
WAVE_ENDS = ("ok", "failed", "stopped")
NOT_RUN = ("stopped_by_failures", "cancelled", "deadline", "needs_owner")
StateEventEnd = Literal["told", "repeated", "late", "dropped", "odd"]
STATE_EVENT_ENDS: tuple[StateEventEnd, ...] = get_args(StateEventEnd)
NOTICE_ENDS = ("sent", "failed", "dropped")
STATE_RESULTS = ("unchanged", "changed", "failed", "test")
EVICTIONS = ("capacity", "memory")
BATCH_ENDS = ("complete", "halted", "recovered")
KEY_STATES = ("accepted", "pending", "rejected", "denied")
PRESENCE = ("new", "lost")
SEEN_WINDOWS = {"5m": 300.0, "1h": 3600.0, "24h": 86_400.0}
HIGHSTATES = ("success", "failure", "unknown")
AUTH_ACTS = ("accept", "pend", "reject", "denied", "full", "error")
OTHER = "other"
# Where labels have a limit, and what is over it counts as `other`.
LIMITED = (
    "salt_jobs_started_total",
    "salt_job_targeted_minions_total",
    "salt_job_returns_total",
    "salt_job_missing_returns_total",
    "salt_runner_jobs_total",
    "salt_master_worker_requests_total",
    "salt_master_worker_busy_seconds_total",
    "salt_minion_last_seen_timestamp_seconds",
    "salt_minion_last_highstate_success",
)
# What functions and commands are called; anything else is an invention.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")


class Limiter:
    """
    Folds what is over the limit into `other`.

    limit: how many values besides `other`. listed: values that always have a place.
    on_overflow(metric, count): `count` samples became `other` because no place was left. For one thread.
    """

    def __init__(self, limit: int, on_overflow: Callable[[str, int], None], listed: Iterable[str] = ()) -> None:
        self._limit = limit
        self._on_overflow = on_overflow
        self._values = {value for value in listed if _NAME.fullmatch(value)}

    def admit(self, metric: str, value: str) -> str:
        """Return the label for a value, and give it a place if it has none yet and one is free."""
        if value not in self._values and _NAME.fullmatch(value) and len(self._values) < self._limit:
            self._values.add(value)
        return self.known(metric, value)

    def known(self, metric: str, value: str, count: int = 1) -> str:
        """Return the label for `count` samples with a value; one that has no place gets none."""
        if value in self._values:
            return value
        if len(self._values) >= self._limit and _NAME.fullmatch(value):
            self._on_overflow(metric, count)
        return OTHER
