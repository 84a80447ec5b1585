"""The dashboard *Salt fleet & jobs*: what the minions are, what they were asked to do and what came of it, whoever asked."""

from __future__ import annotations

from config.grafana.panels import Json, Panel, Query, Row, dashboard

FLEET = Row(
    "Fleet",
    (
        Panel(
            "Keys",
            "short",
            "Keys of minions at the master, by state.",
            (Query("sum by (state) (salt_minion_keys{@})", "{{state}}"),),
            "stat",
            width=6,
            height=5,
        ),
        Panel(
            "Connected",
            "short",
            "Minions connected to the master; needs `presence_events` in its configuration.",
            (Query("sum(salt_minions_connected{@})", "connected"),),
            "stat",
            width=4,
            height=5,
        ),
        Panel(
            "Seen on the bus",
            "short",
            "Different minions that were heard of, by time.",
            tuple(Query(f'max(salt_minions_seen{{@,window="{window}"}})', window) for window in ("5m", "1h", "24h")),
            "stat",
            width=7,
            height=5,
        ),
        Panel(
            "Last highstate",
            "short",
            "Minions by the result of their last highstate.",
            (Query("sum by (status) (salt_minions_state_status{@})", "{{status}}"),),
            "stat",
            width=7,
            height=5,
        ),
        Panel(
            "Coming and going",
            "cps",
            "Presence changes, and minions that were started.",
            (
                Query("sum by (change) (rate(salt_minion_presence_changes_total{@}[$__rate_interval]))", "{{change}}"),
                Query("sum(rate(salt_minion_starts_total{@}[$__rate_interval]))", "started"),
            ),
            width=12,
        ),
        Panel(
            "Minions' sign-ins",
            "cps",
            "Authentications of minions at the master.",
            (Query("sum by (act, result) (rate(salt_minion_auth_events_total{@}[$__rate_interval])) > 0", "{{act}} {{result}}"),),
            width=12,
        ),
    ),
)

JOBS = Row(
    "Jobs",
    (
        Panel(
            "Started, by function",
            "cps",
            "The ten functions that are run most.",
            (Query("topk(10, sum by (function) (rate(salt_jobs_started_total{@}[$__rate_interval])))", "{{function}}"),),
            look="stacked",
        ),
        Panel(
            "Started, by origin",
            "cps",
            "`api`: through this sidecar; `other`: the command line, other APIs, reactors.",
            (Query("sum by (origin) (rate(salt_jobs_started_total{@}[$__rate_interval]))", "{{origin}}"),),
            look="stacked",
        ),
        Panel(
            "Open",
            "short",
            "Jobs that minions still work on, and the returns awaited.",
            (Query("sum(salt_jobs_in_progress{@})", "jobs"), Query("sum(salt_job_returns_outstanding{@})", "returns")),
        ),
        Panel("Returns", "cps", "By result.", (Query("sum by (result) (rate(salt_job_returns_total{@}[$__rate_interval]))", "{{result}}"),), look="stacked"),
        Panel(
            "Missing returns",
            "percentunit",
            "Of the returns that came or were given up, those given up, by reason; the alert, at 5 %, is of the minions that jobs were sent to.",
            (
                Query(
                    # A return is given up long after its job was sent: against what is sent meanwhile this could be any number.
                    "sum by (reason) (rate(salt_job_missing_returns_total{@}[$__rate_interval])) / ignoring (reason) group_left () "
                    '(sum(rate(salt_job_missing_returns_total{@}[$__rate_interval])) + sum(rate(salt_job_returns_total{@,origin="published"}[$__rate_interval])))',
                    "{{reason}}",
                ),
            ),
            look="stacked",
        ),
        Panel(
            "Failing functions",
            "cps",
            "The ten functions with the most returns that say the job failed.",
            (Query('topk(10, sum by (function) (rate(salt_job_returns_total{@,result="failure"}[$__rate_interval])) > 0)', "{{function}}"),),
        ),
    ),
)

LATENCY = Row(
    "How long jobs take",
    (
        Panel(
            "Returns of functions",
            "s",
            "From the job's announcement to each return, without states.",
            (Query('sum by (le) (rate(salt_job_return_latency_seconds_bucket{@,kind="exec"}[$__rate_interval]))'),),
            "heatmap",
            width=12,
        ),
        Panel(
            "Returns of states",
            "s",
            "From the job's announcement to each return, states only.",
            (Query('sum by (le) (rate(salt_job_return_latency_seconds_bucket{@,kind="state"}[$__rate_interval]))'),),
            "heatmap",
            width=12,
        ),
        Panel(
            "Completion",
            "s",
            "95th percentile from the announcement to the last return.",
            (Query("histogram_quantile(0.95, sum by (outcome, le) (rate(salt_job_completion_seconds_bucket{@}[$__rate_interval])))", "{{outcome}}"),),
        ),
        Panel(
            "State runs",
            "s",
            "95th percentile of the time that one minion worked on its states.",
            (Query("histogram_quantile(0.95, sum by (le) (rate(salt_job_state_run_seconds_bucket{@}[$__rate_interval])))", "p95"),),
        ),
        Panel(
            "State results",
            "cps",
            "Single states, by result.",
            (Query("sum by (result) (rate(salt_job_state_results_total{@}[$__rate_interval]))", "{{result}}"),),
            look="stacked",
        ),
    ),
)

OTHERS = Row(
    "Runners, batches, schedules",
    (
        Panel(
            "Runners",
            "cps",
            "Runner jobs that ended, the ten most frequent.",
            (Query("topk(10, sum by (function, result) (rate(salt_runner_jobs_total{@}[$__rate_interval])))", "{{function}} {{result}}"),),
            width=6,
        ),
        Panel(
            "Time of runners",
            "s",
            "95th percentile.",
            (Query("histogram_quantile(0.95, sum by (le) (rate(salt_runner_job_duration_seconds_bucket{@}[$__rate_interval])))", "p95"),),
            width=6,
        ),
        Panel(
            "Batches",
            "cps",
            "Batches that ended, by outcome.",
            (Query("sum by (outcome) (rate(salt_batch_jobs_total{@}[$__rate_interval]))", "{{outcome}}"),),
            width=6,
        ),
        Panel(
            "Scheduled returns",
            "cps",
            "Returns of the minions' own schedules.",
            (Query('sum by (result) (rate(salt_job_returns_total{@,origin="scheduled"}[$__rate_interval]))', "{{result}}"),),
            width=6,
        ),
    ),
)

BUS = Row(
    "Event bus",
    (
        Panel(
            "Events",
            "cps",
            "By class of tag.",
            (Query("sum by (type) (rate(salt_event_bus_events_total{@}[$__rate_interval])) > 0", "{{type}}"),),
            look="stacked",
        ),
        Panel("Bytes", "Bps", "Received from the bus.", (Query("sum(rate(salt_event_bus_received_bytes_total{@}[$__rate_interval]))", "received"),)),
        Panel(
            "Lag",
            "s",
            "99th percentile of an event's age at its receipt; the alert is at 5 s.",
            (Query("histogram_quantile(0.99, sum by (le) (rate(salt_event_bus_lag_seconds_bucket{@}[$__rate_interval])))", "p99"),),
        ),
        Panel(
            "Cuts",
            "short",
            "Times the subscription was opened again, by the reason it was lost for.",
            (Query("sum by (reason) (increase(salt_event_bus_reconnects_total{@}[$__rate_interval]))", "{{reason}}"),),
        ),
        Panel(
            "Blind time",
            "percentunit",
            "Share of the time without a subscription.",
            (Query("rate(salt_event_bus_disconnected_seconds_total{@}[$__rate_interval])", "{{instance}}"),),
        ),
        Panel(
            "Not taken",
            "cps",
            "Events that a consumer did not get, that were cut short, that could not be decoded or handled, or were not believed.",
            (
                Query("sum by (consumer) (rate(salt_event_bus_dropped_events_total{@}[$__rate_interval]))", "dropped: {{consumer}}"),
                Query("sum(rate(salt_event_bus_trimmed_events_total{@}[$__rate_interval]))", "trimmed"),
                Query("sum(rate(salt_event_bus_decode_failures_total{@}[$__rate_interval]))", "not decoded"),
                Query("sum by (kind) (rate(salt_event_odd_total{@}[$__rate_interval]))", "odd: {{kind}}"),
                Query("sum by (consumer) (rate(salt_event_bus_handler_failures_total{@}[$__rate_interval]))", "not handled: {{consumer}}"),
            ),
        ),
    ),
)

MASTER = Row(
    "Master",
    (
        Panel(
            "Ping",
            "s",
            "99th percentile of an answered ping of the request port.",
            (Query("histogram_quantile(0.99, sum by (le) (rate(salt_master_probe_duration_seconds_bucket{@}[$__rate_interval])))", "p99"),),
        ),
        Panel(
            "Requests of its workers",
            "reqps",
            "By command; needs `master_stats` in the master's configuration.",
            (Query("topk(10, sum by (cmd) (rate(salt_master_worker_requests_total{@}[$__rate_interval])))", "{{cmd}}"),),
            look="stacked",
        ),
        Panel(
            "Work of its workers",
            "short",
            "Seconds of work in each second, by command: about how many workers each keeps busy.",
            (Query("topk(10, sum by (cmd) (rate(salt_master_worker_busy_seconds_total{@}[$__rate_interval])))", "{{cmd}}"),),
            look="stacked",
        ),
    ),
)


def build() -> Json:
    return dashboard(
        "salt-fleet-and-jobs",
        "Salt fleet & jobs",
        "What happens on the master's event bus, whoever asked for it, as one sidecar hears it.",
        (FLEET, JOBS, LATENCY, OTHERS, BUS, MASTER),
        "one",
    )
