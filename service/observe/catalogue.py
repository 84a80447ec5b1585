"""The catalogue: every metric declared once; the objects, the initial series and docs/metrics.md derive from it."""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Stability = Literal["stable", "alpha"]

CLIENTS = ("local", "local_async", "local_subset", "local_batch", "runner", "runner_async", "wheel", "wheel_async", "invalid")
OUTCOMES = ("ok", "partial", "failed", "no_match", "authn_error", "authz_error", "invalid", "timeout", "master_unreachable", "overloaded", "error")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "_OTHER")
REJECTIONS = (
    "body_too_large",
    "header_too_large",
    "malformed",
    "slow_body",
    "unsupported_media_type",
    "rate_limited",
    "queue_full",
    "shutting_down",
    "client_disabled",
)
RPCS = ("publish", "runner", "wheel", "mk_token", "get_token", "ping", "other")
RPC_FAILURES = ("timeout", "refused", "protocol", "other")
AUTH_RESULTS = ("success", "bad_credentials", "expired_token", "forbidden", "throttled", "error")
EVENT_TYPES = (
    "job_new", "job_publish", "job_ret", "job_start", "job_prog", "job_sub_error", "job_error", "run_new", "run_ret", "wheel_ret",
    "batch_new", "batch_progress", "batch_complete", "batch_halted", "batch_recover", "auth", "key", "minion_start", "minion_refresh",
    "presence_change", "presence_present", "stats", "beacon", "fileserver", "syndic", "cluster", "custom", "other",
)  # fmt: skip
BUS_LOSSES = ("eof", "error", "stale", "slow_consumer")
CONSUMERS = ("jobs", "metrics", "stream", "audit")
TRANSPORTS = ("sse",)
STREAM_DROPS = ("slow_consumer", "replay_gap")
STREAM_ENDS = ("client", "slow_consumer", "token_expired", "shutdown", "error")
CHECKS = ("bus", "master")
LEVELS = ("debug", "info", "warning", "error", "critical")

# Bounds lie on Salt's own `timeout` (5 s) and `gather_job_timeout` (10 s); state runs take minutes.
_WORK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_CLIENT = (*_WORK, 600.0)
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_RPC = (*_FAST, 10.0, 30.0)
_LAG = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)


@dataclasses.dataclass(frozen=True)
class Declaration:
    """
    One metric.

    values: per label the values known beforehand, whose series exist from the start; an empty tuple: known only at run time.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()
    stability: Stability = "alpha"


_HTTP = (
    Declaration(
        "salt_api_http_requests_total",
        "counter",
        "HTTP requests completed, by method, route template and status code.",
        ("method", "route", "code"),
        stability="stable",
    ),
    Declaration(
        "salt_api_http_request_duration_seconds",
        "histogram",
        "Time from the request's first line of code to the last body byte handed to the server; streams excluded.",
        ("method", "route"),
        buckets=_WORK,
        stability="stable",
    ),
    Declaration("salt_api_http_requests_in_flight", "gauge", "HTTP requests being served now; kind is unary or stream.", ("kind",), (("unary", "stream"),)),
    Declaration("salt_api_http_requests_rejected_total", "counter", "HTTP requests refused before they reached Salt, by reason.", ("reason",), (REJECTIONS,)),
)

_POOL = (
    Declaration(
        "salt_api_worker_threads",
        "gauge",
        "Threads of the API listener, by state; the sum is the pool's size.",
        ("state",),
        (("busy", "idle"),),
        stability="stable",
    ),
    Declaration("salt_api_worker_busy_seconds_total", "counter", "Seconds that the API listener's threads have spent on requests, summed over threads."),
    Declaration("salt_api_worker_queue_depth", "gauge", "Requests received and waiting for a thread.", stability="stable"),
    Declaration("salt_api_worker_queue_wait_seconds", "histogram", "Time a request waited for a thread.", buckets=_FAST, stability="stable"),
    Declaration("salt_api_connections_open", "gauge", "TCP connections open on the API listener."),
    Declaration("salt_api_connections_limit", "gauge", "Connections the API listener keeps open at most (api.connection_limit)."),
)

_CLIENTS = (
    Declaration(
        "salt_api_client_requests_total", "counter", "Lows run, by Salt client and outcome.", ("client", "outcome"), (CLIENTS, OUTCOMES), stability="stable"
    ),
    Declaration("salt_api_client_request_duration_seconds", "histogram", "Time one low took, by Salt client.", ("client",), (CLIENTS,), _CLIENT, "stable"),
    Declaration("salt_api_client_requests_in_flight", "gauge", "Lows being run now, by Salt client.", ("client",), (CLIENTS,)),
    Declaration(
        "salt_api_master_rpc_duration_seconds",
        "histogram",
        "Round trip of one request to the master's request port, by command.",
        ("cmd",),
        (RPCS,),
        _RPC,
        "stable",
    ),
    Declaration(
        "salt_api_master_rpc_failures_total",
        "counter",
        "Requests to the master's request port that failed, by command and reason.",
        ("cmd", "reason"),
        (RPCS, RPC_FAILURES),
    ),
    Declaration(
        "salt_api_auth_attempts_total", "counter", "Authentications, by eauth backend and result.", ("eauth", "result"), ((), AUTH_RESULTS), stability="stable"
    ),
)

_BUS = (
    Declaration("salt_event_bus_connected", "gauge", "1 while the subscription to the master's event bus is open.", stability="stable"),
    Declaration(
        "salt_event_bus_events_total", "counter", "Events received from the master's event bus, by class of tag.", ("type",), (EVENT_TYPES,), stability="stable"
    ),
    Declaration("salt_event_bus_received_bytes_total", "counter", "Bytes received from the master's event bus."),
    Declaration("salt_event_bus_lag_seconds", "histogram", "Time from an event's own stamp to its receipt.", buckets=_LAG, stability="stable"),
    Declaration("salt_event_bus_last_event_timestamp_seconds", "gauge", "Unix time of the last event received; 0 before the first."),
    Declaration(
        "salt_event_bus_reconnects_total",
        "counter",
        "Times the subscription was opened again, by the reason it had been lost for.",
        ("reason",),
        (BUS_LOSSES,),
        stability="stable",
    ),
    Declaration(
        "salt_event_bus_disconnected_seconds_total",
        "counter",
        "Seconds without a subscription; events of that time are lost to this process.",
        stability="stable",
    ),
    Declaration(
        "salt_event_bus_dropped_events_total", "counter", "Events thrown away because a queue or its memory was full, by consumer.", ("consumer",), (CONSUMERS,)
    ),
)

_MASTER = (
    Declaration("salt_master_up", "gauge", "1 if the last ping of the master's request port was answered.", stability="stable"),
    Declaration("salt_master_probe_duration_seconds", "histogram", "Round trip of an answered ping.", buckets=_FAST),
)

_STREAMS = (
    Declaration("salt_api_stream_subscribers", "gauge", "Event streams open now, by transport.", ("transport",), (TRANSPORTS,), stability="stable"),
    Declaration("salt_api_stream_subscribers_limit", "gauge", "Most event streams at one time (events.streams)."),
    Declaration("salt_api_stream_events_sent_total", "counter", "Events handed to streams, once for each stream."),
    Declaration(
        "salt_api_stream_events_dropped_total",
        "counter",
        "Events that a stream did not get; of a replay gap nobody knows how many, it counts as one.",
        ("reason",),
        (STREAM_DROPS,),
        stability="stable",
    ),
    Declaration("salt_api_stream_disconnects_total", "counter", "Event streams that ended, by reason.", ("reason",), (STREAM_ENDS,)),
    Declaration(
        "salt_api_stream_delivery_lag_seconds", "histogram", "Time from the receipt of an event to its handing over to a stream's connection.", buckets=_LAG
    ),
)

_SELF = (
    Declaration("salt_api_ready", "gauge", "1 if the check of /readyz passes, by check.", ("check",), (CHECKS,)),
    Declaration(
        "salt_api_build_info",
        "gauge",
        "Versions of this build, of Python and of the Salt library; always 1.",
        ("version", "python", "salt"),
        stability="stable",
    ),
    Declaration("salt_api_log_events_total", "counter", "Log lines written, by level.", ("level",), (LEVELS,)),
    Declaration("salt_api_log_dropped_total", "counter", "Log lines lost because standard output did not take them."),
)

CATALOGUE: tuple[Declaration, ...] = (*_HTTP, *_POOL, *_CLIENTS, *_BUS, *_MASTER, *_STREAMS, *_SELF)


def catalogue() -> list[Declaration]:
    """Return every metric of ours, in the order of the documentation."""
    return list(CATALOGUE)
