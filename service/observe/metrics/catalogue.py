"""The catalogue: every metric declared once; the objects, the initial series and docs/metrics.md derive from it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from service.observe.metrics.domains import (
    ANSWERS,
    AUTH_ACTS,
    AUTH_RESULTS,
    BATCH_ENDS,
    BUS_LOSSES,
    CHECKS,
    CLIENTS,
    CONSUMERS,
    COPIES,
    EVENT_TYPES,
    EVICTIONS,
    HIGHSTATES,
    JOB_CLIENTS,
    JOB_ENDS,
    JOB_KINDS,
    JOB_STATES,
    KEY_STATES,
    LEVELS,
    LIMITED,
    MISSING,
    NOT_RUN,
    NOTICE_ENDS,
    ODDITIES,
    ORIGINS,
    OTHER,
    OUTCOMES,
    PRESENCE,
    REJECTIONS,
    RESULTS,
    RETURN_ORIGINS,
    RPC_FAILURES,
    RPCS,
    SEEN_WINDOWS,
    STATE_EVENT_ENDS,
    STATE_RESULTS,
    STREAM_DROPS,
    STREAM_ENDS,
    TRACE_RESULTS,
    TRANSPORTS,
    USES,
    WAVE_ENDS,
)

Kind = Literal["counter", "gauge", "histogram"]
Stability = Literal["stable", "alpha"]

# Bounds lie on Salt's own `timeout` (5 s) and `gather_job_timeout` (10 s); state runs take minutes.
_WORK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_CLIENT = (*_WORK, 600.0)
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_RPC = (*_FAST, 10.0, 30.0)
_JOB = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
# Coarse: there is one for each status, and all series of a sidecar are to stay below 2000.
_PIPELINE = (0.1, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
_SIZE = (256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 10_485_760.0)
_LAG = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)


@dataclasses.dataclass(frozen=True)
class Declaration:
    """
    One metric.

    values: per label the values known beforehand, whose series exist from the start; an empty tuple: known only at run time.
    optional: has no series until something is known; 0 would be a lie.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()
    stability: Stability = "alpha"
    optional: bool = False


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
    Declaration("salt_api_http_requests_in_flight", "gauge", "HTTP requests being served now, by the kind of their answer.", ("kind",), (ANSWERS,)),
    Declaration("salt_api_http_requests_rejected_total", "counter", "HTTP requests refused before they reached Salt, by reason.", ("reason",), (REJECTIONS,)),
    Declaration("salt_api_http_request_body_bytes", "histogram", "Size of request bodies, as announced by the caller.", buckets=_SIZE),
    Declaration("salt_api_http_response_body_bytes", "histogram", "Size of response bodies as sent; streams excluded.", buckets=_SIZE),
)

_POOL = (
    Declaration(
        "salt_api_worker_threads",
        "gauge",
        "Threads of the API listener, by state; the sum is the pool's size. An event stream holds one as long as it lasts.",
        ("state",),
        (("busy", "idle", "stream"),),
        stability="stable",
    ),
    Declaration("salt_api_worker_busy_seconds_total", "counter", "Seconds that the API listener's threads have spent on requests, summed over threads."),
    Declaration("salt_api_worker_queue_depth", "gauge", "Requests received and waiting for a thread.", stability="stable"),
    Declaration("salt_api_worker_queue_wait_seconds", "histogram", "Time a request waited for a thread.", buckets=_FAST, stability="stable"),
    Declaration("salt_api_connections_open", "gauge", "TCP connections open on the API listener."),
    Declaration("salt_api_body_buffer_bytes", "gauge", "Bytes of request bodies that have come and are not answered, in memory and in unlinked files."),
    Declaration("salt_api_connections_limit", "gauge", "Connections the API listener keeps open at most (api.connection_limit)."),
)

_CLIENTS = (
    Declaration(
        "salt_api_client_requests_total", "counter", "Lows run, by Salt client and outcome.", ("client", "outcome"), (CLIENTS, OUTCOMES), stability="stable"
    ),
    Declaration("salt_api_client_request_duration_seconds", "histogram", "Time one low took, by Salt client.", ("client",), (CLIENTS,), _CLIENT, "stable"),
    Declaration("salt_api_policy_refusals_total", "counter", "Lows that the policy (the options policy.*) refused, by Salt client.", ("client",), (CLIENTS,)),
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
    Declaration(
        "salt_api_auth_duration_seconds",
        "histogram",
        "Time from sending credentials to the master until it took or refused them; that of a wheel call includes its run.",
        ("eauth",),
        ((),),
        (*_FAST, 10.0),
    ),
    Declaration("salt_api_auth_reuse_total", "counter", "Lows with a password that limits.auth_reuse_seconds is for, by result.", ("result",), (USES,)),
    Declaration("salt_api_auth_reuse_logins", "gauge", "Logins under way or kept for limits.auth_reuse_seconds."),
    Declaration("salt_api_auth_reuse_ended_total", "counter", "Kept logins given up, by what became of the master's copy.", ("copy",), (COPIES,)),
    Declaration("salt_api_sessions_active", "gauge", "Tokens this process knows, that were alive when it last asked the master and have not expired."),
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
    Declaration("salt_event_bus_decode_failures_total", "counter", "Events of jobs, runners and minions whose payload could not be decoded."),
    Declaration(
        "salt_event_odd_total",
        "counter",
        "Events, or fields of them, that were not believed: no job event of Salt's (tag), about another job or minion than the tag says (identity), a field missing or of a wrong type (field), from a minion that was not asked (unexpected), or, of a job that a request waits for, of another function than was sent (function).",
        ("kind",),
        (ODDITIES,),
    ),
    Declaration("salt_event_bus_handler_failures_total", "counter", "Bugs met while an event was handled, by consumer.", ("consumer",), (CONSUMERS,)),
    Declaration("salt_event_bus_queue_depth", "gauge", "Events received that the metrics and the streams have not handled yet."),
    Declaration(
        "salt_event_bus_trimmed_events_total",
        "counter",
        "Returns and announcements of jobs that the master has cut because they were over its max_event_size.",
    ),
    Declaration(
        "salt_event_bus_dropped_events_total", "counter", "Events thrown away because a queue or its memory was full, by consumer.", ("consumer",), (CONSUMERS,)
    ),
)

_JOBS = (
    Declaration(
        "salt_jobs_started_total",
        "counter",
        "Jobs published to minions, by function and origin; api is this process. saltutil.find_job is not counted, here and below.",
        ("function", "origin"),
        ((OTHER,), ORIGINS),
        stability="stable",
    ),
    Declaration(
        "salt_job_targeted_minions_total", "counter", "Minions that published jobs were sent to, by function.", ("function",), ((OTHER,),), stability="stable"
    ),
    Declaration(
        "salt_job_returns_total",
        "counter",
        "Returns of minions, by function, result and origin; unsolicited ones belong to no job that was announced since the start.",
        ("function", "result", "origin"),
        ((OTHER,), RESULTS, RETURN_ORIGINS),
        stability="stable",
    ),
    Declaration(
        "salt_job_missing_returns_total",
        "counter",
        "Returns that had not come when the job's window closed (no_return), and targets that the master named missing (not_connected).",
        ("function", "reason"),
        ((OTHER,), MISSING),
        stability="stable",
    ),
    Declaration("salt_job_late_returns_total", "counter", "Returns that came after their job's window had closed."),
    Declaration("salt_jobs_in_progress", "gauge", "Jobs that still await a return."),
    Declaration("salt_job_returns_outstanding", "gauge", "Returns awaited, over all jobs."),
    Declaration(
        "salt_job_return_latency_seconds",
        "histogram",
        "Time from a job's announcement to a minion's return, for states and for other functions.",
        ("kind",),
        (JOB_KINDS,),
        _JOB,
        "stable",
    ),
    Declaration(
        "salt_job_completion_seconds",
        "histogram",
        "Time from a job's announcement to its last return (complete) or to the close of its window (incomplete).",
        ("outcome",),
        (("complete", "incomplete"),),
        _JOB,
    ),
    Declaration("salt_job_state_results_total", "counter", "States in returns of minions, by result.", ("result",), (STATE_RESULTS,)),
    Declaration("salt_job_state_run_seconds", "histogram", "Sum of the durations of the states in one return.", buckets=_JOB),
    Declaration(
        "salt_job_tracker_evictions_total",
        "counter",
        "Jobs no longer tracked before their end, because there were too many jobs (capacity) or too many awaited minions (memory).",
        ("reason",),
        (EVICTIONS,),
    ),
    Declaration("salt_runner_jobs_total", "counter", "Runner functions that ended, by function and result.", ("function", "result"), ((OTHER,), RESULTS)),
    Declaration("salt_runner_job_duration_seconds", "histogram", "Time from a runner's announcement to its return.", buckets=_JOB),
    Declaration("salt_batch_jobs_total", "counter", "Batches of the master that ended, by outcome.", ("outcome",), (BATCH_ENDS,)),
)

_FLEET = (
    Declaration(
        "salt_minion_keys",
        "gauge",
        "Keys of minions by state, read from the master's pki_dir; absent where we may not read it.",
        ("state",),
        (KEY_STATES,),
        stability="stable",
        optional=True,
    ),
    Declaration("salt_minions_connected", "gauge", "Minions the master calls connected; absent without its option presence_events.", optional=True),
    Declaration("salt_minion_presence_changes_total", "counter", "Minions that came or went (needs presence_events).", ("change",), (PRESENCE,)),
    Declaration(
        "salt_minions_seen",
        "gauge",
        "Minions heard of on the event bus within the window; after a start it takes as long to fill.",
        ("window",),
        (tuple(SEEN_WINDOWS),),
    ),
    Declaration(
        "salt_minions_state_status", "gauge", "Minions heard of within a day by the result of their last highstate, tests aside.", ("status",), (HIGHSTATES,)
    ),
    Declaration(
        "salt_minion_auth_events_total", "counter", "Authentications of minions, by act and result.", ("act", "result"), (AUTH_ACTS, ("true", "false"))
    ),
    Declaration("salt_minion_starts_total", "counter", "Starts of minions."),
    Declaration(
        "salt_minion_last_seen_timestamp_seconds",
        "gauge",
        "Unix time at which a minion was last heard of; only with metrics.per_minion.",
        ("minion",),
        ((),),
        optional=True,
    ),
    Declaration(
        "salt_minion_last_highstate_success",
        "gauge",
        "1 if the last highstate of a minion succeeded; only with metrics.per_minion.",
        ("minion",),
        ((),),
        optional=True,
    ),
)

_MASTER = (
    Declaration("salt_master_up", "gauge", "1 while the master's request port answers, if late; 0 while the master counts as down.", stability="stable"),
    Declaration(
        "salt_master_busy", "gauge", "1 while the master is busy: it answers no ping, but refuses no connection either; calls wait.", stability="stable"
    ),
    Declaration("salt_master_probe_duration_seconds", "histogram", "Round trip of an answered ping.", buckets=_FAST),
    Declaration(
        "salt_master_worker_requests_total", "counter", "Requests that the master's workers handled, by command (needs master_stats).", ("cmd",), ((OTHER,),)
    ),
    Declaration(
        "salt_master_worker_busy_seconds_total",
        "counter",
        "Seconds that the master's workers spent on requests, by command (needs master_stats).",
        ("cmd",),
        ((OTHER,),),
    ),
)

_STREAMS = (
    Declaration("salt_api_stream_subscribers", "gauge", "Event streams open now, by transport.", ("transport",), (TRANSPORTS,), stability="stable"),
    Declaration("salt_api_stream_subscribers_limit", "gauge", "Most event streams at one time (events.streams)."),
    Declaration("salt_api_stream_events_sent_total", "counter", "Events handed to streams, once for each stream."),
    Declaration(
        "salt_api_stream_events_dropped_total",
        "counter",
        "Events that a stream did not get; a replay gap counts as one, because its size is not known. picture_full: jobs and minions that a formatted websocket leaves out.",
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
    Declaration("salt_api_jobs_open", "gauge", "Jobs of /v1 that are not over.", ("status",), (JOB_STATES,)),
    Declaration("salt_api_jobs_ended_total", "counter", "Jobs of /v1 that are over, by what they came to.", ("client", "status"), (JOB_CLIENTS, JOB_ENDS)),
    Declaration("salt_api_job_state_seconds", "histogram", "Time that jobs of /v1 were in a status before their end.", ("status",), (JOB_STATES,), _PIPELINE),
    Declaration("salt_api_jobs_recovered_total", "counter", "Jobs of /v1 that were not over at a start, and are followed again."),
    Declaration("salt_api_jobs_revised_total", "counter", "Jobs of /v1 that a late return corrected, by what they came to then.", ("status",), (JOB_ENDS,)),
    Declaration("salt_api_job_duration_seconds", "histogram", "Time from the request for a job of /v1 to its end.", buckets=_PIPELINE),
    Declaration("salt_api_jobs_foreign_returns_total", "counter", "Returns of another function or other arguments that came under the jid of a job of /v1."),
    Declaration("salt_api_jobs_state_events_total", "counter", "Events of states in jobs of /v1, by what became of them.", ("what",), (STATE_EVENT_ENDS,)),
    Declaration("salt_api_jobs_not_stored_total", "counter", "Times that what was learned of jobs of /v1 could not be stored; it is tried again."),
    Declaration("salt_api_jobs_waves_begun_total", "counter", "Waves of jobs of /v1 that the master has taken."),
    Declaration("salt_api_jobs_waves_ended_total", "counter", "Waves of jobs of /v1 that are over; stopped: no other began.", ("outcome",), (WAVE_ENDS,)),
    Declaration("salt_api_jobs_not_run_total", "counter", "Minions of jobs of /v1 in waves whose turn never came, by why.", ("why",), (NOT_RUN,)),
    Declaration("salt_api_jobs_notices_total", "counter", "Tries to tell of jobs of /v1 that are over; dropped: the last one.", ("result",), (NOTICE_ENDS,)),
    Declaration("salt_api_jobs_store_up", "gauge", "1 if the store takes new jobs of /v1; absent where jobs.store is empty.", optional=True),
    Declaration("salt_api_jobs_store_bytes", "gauge", "Size of the store of the jobs of /v1."),
    Declaration("salt_api_jobs_store_commit_seconds", "histogram", "Time that the store of the jobs of /v1 took to commit a group of changes.", buckets=_FAST),
    Declaration("salt_api_ready", "gauge", "1 if the check of /readyz passes, by check.", ("check",), (CHECKS,)),
    Declaration(
        "salt_api_audit_events_total",
        "counter",
        "Audit records: written by at least one sink; failed once for each sink that did not take one.",
        ("result",),
        (("written", "failed"),),
        stability="stable",
    ),
    Declaration("salt_api_audit_rejected_requests_total", "counter", "Requests refused because no sink took their audit record (audit.mode strict)."),
    Declaration(
        "salt_api_build_info",
        "gauge",
        "Versions of this build, of Python and of the Salt library; always 1. The revision is the image's.",
        ("version", "revision", "python", "salt"),
        stability="stable",
    ),
    Declaration("salt_api_log_events_total", "counter", "Log lines written, by level.", ("level",), (LEVELS,)),
    Declaration("salt_api_trace_spans_total", "counter", "Spans for the collector, by what became of them.", ("result",), (TRACE_RESULTS,)),
    Declaration("salt_api_log_dropped_total", "counter", "Log lines lost because standard output did not take them."),
    Declaration(
        "salt_api_label_overflow_total",
        "counter",
        "Samples that count as `other`, or not at all, because a label has as many values as it may have, by metric.",
        ("metric",),
        (LIMITED,),
    ),
)

CATALOGUE: tuple[Declaration, ...] = (*_HTTP, *_POOL, *_CLIENTS, *_BUS, *_JOBS, *_FLEET, *_MASTER, *_STREAMS, *_SELF)


def catalogue() -> list[Declaration]:
    """Return every metric of ours, in the order of the documentation."""
    return list(CATALOGUE)
