"""The dashboard *Salt API*: is it well, what do callers get, where does the time go, what is scarce."""

from __future__ import annotations

from config.grafana.panels import Json, Panel, Query, Row, dashboard

OURS = 'outcome=~"timeout|master_unreachable|overloaded|error"'
COUNTED = 'outcome!~"invalid|authn_error|authz_error|no_match"'

WELL = Row(
    "Is it well?",
    (
        Panel("Scraped", "short", "1 for each sidecar that Prometheus reaches.", (Query("up{@}", "{{instance}}"),), "stat", "state", 4, 4),
        Panel("Ready", "short", "The checks of /readyz, one by one.", (Query("min by (check) (salt_api_ready{@})", "{{check}}"),), "stat", "state", 4, 4),
        Panel(
            "Master answers",
            "short",
            "Whether the master is up; a busy one is (salt_master_busy), one that refuses connections or has answered nothing for a minute is not.",
            (Query("min(salt_master_up{@})", "master"),),
            "stat",
            "state",
            4,
            4,
        ),
        Panel(
            "Event bus",
            "short",
            "Whether the subscription to the master's event bus is open.",
            (Query("min(salt_event_bus_connected{@})", "bus"),),
            "stat",
            "state",
            4,
            4,
        ),
        Panel(
            "Error budget left",
            "percentunit",
            "Of the 0.5 % of calls that may fail for reasons of ours, how much is left over the time shown; below 0 it is overspent.",
            (
                Query(
                    f"1 - (sum(increase(salt_api_client_requests_total{{@,{OURS}}}[$__range])) / sum(increase(salt_api_client_requests_total{{@,{COUNTED}}}[$__range]))) / 0.005",
                    "left",
                ),
            ),
            "gauge",
            "budget",
            width=4,
            height=4,
        ),
        Panel(
            "Build",
            "short",
            "Versions that run.",
            (Query("count by (version, python, salt) (salt_api_build_info{@})", "{{version}}, Salt {{salt}}, Python {{python}}"),),
            "stat",
            width=4,
            height=4,
        ),
    ),
)

CALLS = Row(
    "Calls, by client",
    (
        Panel(
            "Calls",
            "reqps",
            "Lows run, by Salt client. One HTTP request may carry several.",
            (Query("sum by (client) (rate(salt_api_client_requests_total{@}[$__rate_interval])) > 0", "{{client}}"),),
            look="stacked",
        ),
        Panel(
            "Calls that were no success",
            "percentunit",
            "Share of all calls, by outcome. Ours are timeout, master_unreachable, overloaded and error; the others are the caller's or the minions'.",
            (
                Query(
                    'sum by (outcome) (rate(salt_api_client_requests_total{@,outcome!="ok"}[$__rate_interval])) / ignoring (outcome) group_left () sum(rate(salt_api_client_requests_total{@}[$__rate_interval])) > 0',
                    "{{outcome}}",
                ),
            ),
            look="stacked",
        ),
        Panel(
            "HTTP answers",
            "reqps",
            "HTTP requests by status code, the ops listener's left out.",
            (Query("sum by (code) (rate(salt_api_http_requests_total{@}[$__rate_interval])) > 0", "{{code}}"),),
            look="stacked",
        ),
        Panel(
            "Duration of calls",
            "s",
            "95th percentile by client, median and 99th percentile of all. A synchronous call lasts as long as its slowest minion.",
            (
                # Of clients that nobody used there is no percentile, and then no name in the legend either.
                Query(
                    "histogram_quantile(0.95, sum by (client, le) (rate(salt_api_client_request_duration_seconds_bucket{@}[$__rate_interval]))) >= 0",
                    "{{client}} p95",
                ),
                *(
                    Query(f"histogram_quantile({q}, sum by (le) (rate(salt_api_client_request_duration_seconds_bucket{{@}}[$__rate_interval])))", f"all {name}")
                    for q, name in ((0.5, "p50"), (0.99, "p99"))
                ),
            ),
            width=12,
        ),
        Panel(
            "Duration of requests",
            "s",
            "HTTP requests by duration, streams left out; a point is an exemplar, which has the id of its request and leads to its trace.",
            (Query("sum by (le) (rate(salt_api_http_request_duration_seconds_bucket{@}[$__rate_interval]))"),),
            "heatmap",
            width=12,
        ),
        Panel(
            "Refused before Salt",
            "reqps",
            "HTTP requests that were refused before anything was asked of Salt.",
            (Query("sum by (reason) (rate(salt_api_http_requests_rejected_total{@}[$__rate_interval]))", "{{reason}}"),),
            width=12,
        ),
        Panel(
            "Sizes",
            "bytes",
            "95th percentile of request and answer bodies.",
            tuple(
                Query(f"histogram_quantile(0.95, sum by (le) (rate(salt_api_http_{what}_body_bytes_bucket{{@}}[$__rate_interval])))", what)
                for what in ("request", "response")
            ),
            width=12,
        ),
    ),
)

STEPS = (
    ("waiting for a thread", "salt_api_worker_queue_wait_seconds_bucket{@}"),
    ("authentication", "salt_api_auth_duration_seconds_bucket{@}"),
    ("publishing", 'salt_api_master_rpc_duration_seconds_bucket{@,cmd="publish"}'),
    ("minions' returns", 'salt_job_return_latency_seconds_bucket{@,kind="exec"}'),
)
TIME = Row(
    "Where the time goes",
    (
        Panel(
            "Steps of a call",
            "s",
            "95th percentile of each step, one on the other. Percentiles do not add up: it shows which step grows.",
            tuple(Query(f"histogram_quantile(0.95, sum by (le) (rate({series}[$__rate_interval])))", name) for name, series in STEPS),
            look="stacked",
            width=12,
        ),
        Panel(
            "Requests to the master",
            "s",
            "99th percentile of the round trip to the master's request port, by command.",
            (Query("histogram_quantile(0.99, sum by (cmd, le) (rate(salt_api_master_rpc_duration_seconds_bucket{@}[$__rate_interval])))", "{{cmd}}"),),
            width=6,
        ),
        Panel(
            "Requests to the master that failed",
            "cps",
            "By command and reason.",
            (Query("sum by (cmd, reason) (rate(salt_api_master_rpc_failures_total{@}[$__rate_interval])) > 0", "{{cmd}} {{reason}}"),),
            width=6,
        ),
    ),
)

SATURATION = Row(
    "Saturation",
    (
        Panel(
            "Threads",
            "short",
            "Threads of the API listener that serve a request or a stream.",
            (Query('sum by (state) (salt_api_worker_threads{@,state!="idle"})', "{{state}}"),),
            look="stacked",
        ),
        Panel(
            "Threads at work",
            "percentunit",
            "Share of the time that threads spend on requests; the alert is at 90 %.",
            (
                Query(
                    "sum by (instance) (rate(salt_api_worker_busy_seconds_total{@}[$__rate_interval])) / sum by (instance) (salt_api_worker_threads{@})",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Waiting",
            "short",
            "Requests that wait for a thread, and calls that are being run.",
            (
                Query("sum(salt_api_worker_queue_depth{@})", "waiting"),
                Query("sum(salt_api_client_requests_in_flight{@})", "running"),
                Query("sum by (kind) (salt_api_http_requests_in_flight{@})", "HTTP {{kind}}"),
            ),
        ),
        Panel(
            "Connections",
            "percentunit",
            "Open TCP connections, of those allowed.",
            (Query("salt_api_connections_open{@} / salt_api_connections_limit{@}", "{{instance}}"),),
            width=6,
        ),
        Panel(
            "CPU",
            "percentunit",
            "Of one core; one process can use one.",
            (Query("rate(process_cpu_seconds_total{@}[$__rate_interval])", "{{instance}}"),),
            width=6,
        ),
        Panel(
            "Memory",
            "bytes",
            "Resident memory, and request bodies in memory and files.",
            (Query("process_resident_memory_bytes{@}", "{{instance}}"), Query("salt_api_body_buffer_bytes{@}", "{{instance}} bodies")),
            width=6,
        ),
        Panel("File descriptors", "percentunit", "Open ones, of those allowed.", (Query("process_open_fds{@} / process_max_fds{@}", "{{instance}}"),), width=6),
    ),
)

AUTH = Row(
    "Logins",
    (
        Panel(
            "Authentications",
            "cps",
            "By backend and result; `throttled` never reached the master.",
            (Query("sum by (eauth, result) (rate(salt_api_auth_attempts_total{@}[$__rate_interval])) > 0", "{{eauth}} {{result}}"),),
            look="stacked",
        ),
        Panel(
            "Time of an authentication",
            "s",
            "95th percentile, by backend: a slow LDAP or PAM shows here.",
            (Query("histogram_quantile(0.95, sum by (eauth, le) (rate(salt_api_auth_duration_seconds_bucket{@}[$__rate_interval])))", "{{eauth}}"),),
        ),
        Panel("Sessions", "short", "Sessions seen lately.", (Query("sum(salt_api_sessions_active{@})", "sessions"),)),
    ),
)

STREAMS = Row(
    "Event streams",
    (
        Panel(
            "Readers",
            "short",
            "Open event streams; how many there may be says `salt_api_stream_subscribers_limit`.",
            (Query("sum by (transport) (salt_api_stream_subscribers{@})", "{{transport}}"),),
            width=6,
        ),
        Panel(
            "Events",
            "cps",
            "Events handed to readers, and those that they did not get.",
            (
                Query("sum(rate(salt_api_stream_events_sent_total{@}[$__rate_interval]))", "sent"),
                Query("sum by (reason) (rate(salt_api_stream_events_dropped_total{@}[$__rate_interval]))", "dropped: {{reason}}"),
            ),
            width=6,
        ),
        Panel(
            "Delivery",
            "s",
            "99th percentile from the receipt of an event to its handing over to the reader's connection.",
            (Query("histogram_quantile(0.99, sum by (le) (rate(salt_api_stream_delivery_lag_seconds_bucket{@}[$__rate_interval])))", "p99"),),
            width=6,
        ),
        Panel(
            "Streams that ended",
            "cps",
            "By reason.",
            (Query("sum by (reason) (rate(salt_api_stream_disconnects_total{@}[$__rate_interval]))", "{{reason}}"),),
            width=6,
        ),
    ),
)

JOBS = Row(
    "Jobs of /v1",
    (
        Panel(
            "Open jobs",
            "short",
            "Jobs that are not over, by status; of those in doubt nobody knows whether they were published.",
            (Query("sum by (status) (salt_api_jobs_open{@})", "{{status}}"),),
            look="stacked",
            width=6,
        ),
        Panel(
            "Jobs that ended",
            "cps",
            "What jobs came to, how many a late return corrected, and what became of events of single states.",
            (
                Query("sum by (client, status) (rate(salt_api_jobs_ended_total{@}[$__rate_interval])) > 0", "{{client}} {{status}}"),
                Query("sum(rate(salt_api_jobs_revised_total{@}[$__rate_interval]))", "corrected"),
                Query("sum(rate(salt_api_jobs_recovered_total{@}[$__rate_interval]))", "recovered"),
                Query("sum(rate(salt_api_jobs_foreign_returns_total{@}[$__rate_interval]))", "foreign returns"),
                Query("sum by (what) (rate(salt_api_jobs_state_events_total{@}[$__rate_interval])) > 0", "states {{what}}"),
            ),
            width=6,
        ),
        Panel(
            "Waves",
            "cps",
            "Of rolling jobs: waves begun, what they came to, and minions whose turn never came.",
            (
                Query("sum(rate(salt_api_jobs_waves_begun_total{@}[$__rate_interval]))", "begun"),
                Query("sum by (outcome) (rate(salt_api_jobs_waves_ended_total{@}[$__rate_interval]))", "{{outcome}}"),
                Query("sum by (why) (rate(salt_api_jobs_not_run_total{@}[$__rate_interval]))", "not run: {{why}}"),
            ),
            width=6,
        ),
        Panel(
            "Notices",
            "cps",
            "Tries to tell of jobs that are over; a notice that is dropped is given up.",
            (Query("sum by (result) (rate(salt_api_jobs_notices_total{@}[$__rate_interval]))", "{{result}}"),),
            width=6,
        ),
        Panel(
            "Time in each status",
            "s",
            "95th percentile, and of the whole job.",
            (
                Query("histogram_quantile(0.95, sum by (status, le) (rate(salt_api_job_state_seconds_bucket{@}[$__rate_interval])))", "{{status}}"),
                Query("histogram_quantile(0.95, sum by (le) (rate(salt_api_job_duration_seconds_bucket{@}[$__rate_interval])))", "whole"),
            ),
            width=8,
        ),
        Panel(
            "Store",
            "s",
            "99th percentile of a commit: how fast the disk is.",
            (Query("histogram_quantile(0.99, sum by (le) (rate(salt_api_jobs_store_commit_seconds_bucket{@}[$__rate_interval])))", "commit"),),
            width=8,
        ),
        Panel("Size of the store", "bytes", "Room that jobs take.", (Query("salt_api_jobs_store_bytes{@}", "{{instance}}"),), width=8),
    ),
)

SELF = Row(
    "Its own books",
    (
        Panel(
            "Log lines",
            "cps",
            "Written, by level, and lost because nobody read them.",
            (
                Query("sum by (level) (rate(salt_api_log_events_total{@}[$__rate_interval]))", "{{level}}"),
                Query("sum(rate(salt_api_log_dropped_total{@}[$__rate_interval]))", "lost"),
            ),
        ),
        Panel(
            "Audit records",
            "cps",
            "By result, and calls that were refused because no record could be written.",
            (
                Query("sum by (result) (rate(salt_api_audit_events_total{@}[$__rate_interval]))", "{{result}}"),
                Query("sum(rate(salt_api_audit_rejected_requests_total{@}[$__rate_interval]))", "refused calls"),
            ),
        ),
        Panel(
            "Labels over the limit",
            "cps",
            "Values that were counted as `other`, by metric.",
            (Query("sum by (metric) (rate(salt_api_label_overflow_total{@}[$__rate_interval])) > 0", "{{metric}}"),),
        ),
    ),
)


def build() -> Json:
    return dashboard("salt-api", "Salt API", "The HTTP side of salt-sidecar.", (WELL, CALLS, TIME, SATURATION, AUTH, STREAMS, JOBS, SELF), "all")
