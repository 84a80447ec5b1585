"""The half of the catalogue that is about Salt: its event bus, jobs, minions and master."""

from __future__ import annotations

from service.observe.metrics.declaration import FAST_SECONDS, JOB_SECONDS, LAG_SECONDS, Declaration
from service.observe.metrics.domains import (
    AUTH_ACTS,
    BATCH_ENDS,
    BUS_LOSSES,
    CONSUMERS,
    EVENT_TYPES,
    EVICTIONS,
    HIGHSTATES,
    JOB_KINDS,
    KEY_STATES,
    MISSING,
    ODDITIES,
    ORIGINS,
    OTHER,
    PRESENCE,
    RESULTS,
    RETURN_ORIGINS,
    SEEN_WINDOWS,
    STATE_RESULTS,
)

_BUS = (
    Declaration("salt_event_bus_connected", "gauge", "1 while the subscription to the master's event bus is open.", stability="stable"),
    Declaration(
        "salt_event_bus_events_total", "counter", "Events received from the master's event bus, by class of tag.", ("type",), (EVENT_TYPES,), stability="stable"
    ),
    Declaration("salt_event_bus_received_bytes_total", "counter", "Bytes received from the master's event bus."),
    Declaration("salt_event_bus_lag_seconds", "histogram", "Time from an event's own stamp to its receipt.", buckets=LAG_SECONDS, stability="stable"),
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
        JOB_SECONDS,
        "stable",
    ),
    Declaration(
        "salt_job_completion_seconds",
        "histogram",
        "Time from a job's announcement to its last return (complete) or to the close of its window (incomplete).",
        ("outcome",),
        (("complete", "incomplete"),),
        JOB_SECONDS,
    ),
    Declaration("salt_job_state_results_total", "counter", "States in returns of minions, by result.", ("result",), (STATE_RESULTS,)),
    Declaration("salt_job_state_run_seconds", "histogram", "Sum of the durations of the states in one return.", buckets=JOB_SECONDS),
    Declaration(
        "salt_job_tracker_evictions_total",
        "counter",
        "Jobs no longer tracked before their end, because there were too many jobs (capacity) or too many awaited minions (memory).",
        ("reason",),
        (EVICTIONS,),
    ),
    Declaration("salt_runner_jobs_total", "counter", "Runner functions that ended, by function and result.", ("function", "result"), ((OTHER,), RESULTS)),
    Declaration("salt_runner_job_duration_seconds", "histogram", "Time from a runner's announcement to its return.", buckets=JOB_SECONDS),
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
    Declaration("salt_master_probe_duration_seconds", "histogram", "Round trip of an answered ping.", buckets=FAST_SECONDS),
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

OF_SALT: tuple[Declaration, ...] = (*_BUS, *_JOBS, *_FLEET, *_MASTER)
