"""The catalogue: every metric declared once, those about Salt in `salt_metrics.py`; the objects, the initial series and docs/metrics.md derive from it."""

from __future__ import annotations

from service.observe.metrics.declaration import CLIENT_SECONDS, FAST_SECONDS, LAG_SECONDS, PIPELINE_SECONDS, RPC_SECONDS, SIZE_BYTES, WORK_SECONDS, Declaration
from service.observe.metrics.domains import (
    ANSWERS,
    AUTH_RESULTS,
    CHECKS,
    CLIENTS,
    COPIES,
    JOB_CLIENTS,
    JOB_ENDS,
    JOB_STATES,
    LEVELS,
    LIMITED,
    NOT_RUN,
    NOTICE_ENDS,
    OUTCOMES,
    REJECTIONS,
    RPC_FAILURES,
    RPCS,
    STATE_EVENT_ENDS,
    STREAM_DROPS,
    STREAM_ENDS,
    TRACE_RESULTS,
    TRANSPORTS,
    USES,
    WAVE_ENDS,
)
from service.observe.metrics.salt_metrics import OF_SALT

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
        buckets=WORK_SECONDS,
        stability="stable",
    ),
    Declaration("salt_api_http_requests_in_flight", "gauge", "HTTP requests being served now, by the kind of their answer.", ("kind",), (ANSWERS,)),
    Declaration("salt_api_http_requests_rejected_total", "counter", "HTTP requests refused before they reached Salt, by reason.", ("reason",), (REJECTIONS,)),
    Declaration("salt_api_http_request_body_bytes", "histogram", "Size of request bodies, as announced by the caller.", buckets=SIZE_BYTES),
    Declaration("salt_api_http_response_body_bytes", "histogram", "Size of response bodies as sent; streams excluded.", buckets=SIZE_BYTES),
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
    Declaration("salt_api_worker_queue_wait_seconds", "histogram", "Time a request waited for a thread.", buckets=FAST_SECONDS, stability="stable"),
    Declaration("salt_api_connections_open", "gauge", "TCP connections open on the API listener."),
    Declaration("salt_api_body_buffer_bytes", "gauge", "Bytes of request bodies that have come and are not answered, in memory and in unlinked files."),
    Declaration("salt_api_connections_limit", "gauge", "Connections the API listener keeps open at most (api.connection_limit)."),
)

_CLIENTS = (
    Declaration(
        "salt_api_client_requests_total", "counter", "Lows run, by Salt client and outcome.", ("client", "outcome"), (CLIENTS, OUTCOMES), stability="stable"
    ),
    Declaration(
        "salt_api_client_request_duration_seconds", "histogram", "Time one low took, by Salt client.", ("client",), (CLIENTS,), CLIENT_SECONDS, "stable"
    ),
    Declaration("salt_api_policy_refusals_total", "counter", "Lows that the policy (the options policy.*) refused, by Salt client.", ("client",), (CLIENTS,)),
    Declaration("salt_api_client_requests_in_flight", "gauge", "Lows being run now, by Salt client.", ("client",), (CLIENTS,)),
    Declaration(
        "salt_api_master_rpc_duration_seconds",
        "histogram",
        "Round trip of one request to the master's request port, by command.",
        ("cmd",),
        (RPCS,),
        RPC_SECONDS,
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
        (*FAST_SECONDS, 10.0),
    ),
    Declaration("salt_api_auth_reuse_total", "counter", "Lows with a password that limits.auth_reuse_seconds is for, by result.", ("result",), (USES,)),
    Declaration("salt_api_auth_reuse_logins", "gauge", "Logins under way or kept for limits.auth_reuse_seconds."),
    Declaration("salt_api_auth_reuse_ended_total", "counter", "Kept logins given up, by what became of the master's copy.", ("copy",), (COPIES,)),
    Declaration("salt_api_sessions_active", "gauge", "Tokens this process knows, that were alive when it last asked the master and have not expired."),
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
        "salt_api_stream_delivery_lag_seconds",
        "histogram",
        "Time from the receipt of an event to its handing over to a stream's connection.",
        buckets=LAG_SECONDS,
    ),
)

_SELF = (
    Declaration("salt_api_jobs_open", "gauge", "Jobs of /v1 that are not over.", ("status",), (JOB_STATES,)),
    Declaration("salt_api_jobs_ended_total", "counter", "Jobs of /v1 that are over, by what they came to.", ("client", "status"), (JOB_CLIENTS, JOB_ENDS)),
    Declaration(
        "salt_api_job_state_seconds", "histogram", "Time that jobs of /v1 were in a status before their end.", ("status",), (JOB_STATES,), PIPELINE_SECONDS
    ),
    Declaration("salt_api_jobs_recovered_total", "counter", "Jobs of /v1 that were not over at a start, and are followed again."),
    Declaration("salt_api_jobs_revised_total", "counter", "Jobs of /v1 that a late return corrected, by what they came to then.", ("status",), (JOB_ENDS,)),
    Declaration("salt_api_job_duration_seconds", "histogram", "Time from the request for a job of /v1 to its end.", buckets=PIPELINE_SECONDS),
    Declaration("salt_api_jobs_foreign_returns_total", "counter", "Returns of another function or other arguments that came under the jid of a job of /v1."),
    Declaration("salt_api_jobs_state_events_total", "counter", "Events of states in jobs of /v1, by what became of them.", ("what",), (STATE_EVENT_ENDS,)),
    Declaration("salt_api_jobs_not_stored_total", "counter", "Times that what was learned of jobs of /v1 could not be stored; it is tried again."),
    Declaration("salt_api_jobs_waves_begun_total", "counter", "Waves of jobs of /v1 that the master has taken."),
    Declaration("salt_api_jobs_waves_ended_total", "counter", "Waves of jobs of /v1 that are over; stopped: no other began.", ("outcome",), (WAVE_ENDS,)),
    Declaration("salt_api_jobs_not_run_total", "counter", "Minions of jobs of /v1 in waves whose turn never came, by why.", ("why",), (NOT_RUN,)),
    Declaration("salt_api_jobs_notices_total", "counter", "Tries to tell of jobs of /v1 that are over; dropped: the last one.", ("result",), (NOTICE_ENDS,)),
    Declaration("salt_api_jobs_store_up", "gauge", "1 if the store takes new jobs of /v1; absent where jobs.store is empty.", optional=True),
    Declaration("salt_api_jobs_store_bytes", "gauge", "Size of the store of the jobs of /v1."),
    Declaration(
        "salt_api_jobs_store_commit_seconds", "histogram", "Time that the store of the jobs of /v1 took to commit a group of changes.", buckets=FAST_SECONDS
    ),
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

CATALOGUE: tuple[Declaration, ...] = (*_HTTP, *_POOL, *_CLIENTS, *OF_SALT, *_STREAMS, *_SELF)


def catalogue() -> list[Declaration]:
    """Return every metric of ours, in the order of the documentation."""
    return list(CATALOGUE)
