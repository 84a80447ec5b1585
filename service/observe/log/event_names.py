"""The log events: every line of ours declared once; docs/logs.md is generated from here, and a test compares the code."""

from __future__ import annotations

import dataclasses

from service.observe.log import shapes


@dataclasses.dataclass(frozen=True)
class LogEvent:
    """One kind of line. level: the usual one. fields: besides those that every line has."""

    name: str
    level: str
    meaning: str
    fields: tuple[str, ...] = ()


EVENTS = (
    LogEvent("app.start", "info", "The listeners are bound, `api`, `ops` and `websocket`, which may be `off`; processes with equal settings have the same `config_digest`.", ("salt_version", "api", "ops", "websocket", "master", "config_digest")),
    LogEvent("app.ready", "info", "The master answers and its event bus is connected, for the first time since the start.", ("checks", "start_s")),
    LogEvent("app.draining", "info", "A signal to stop arrived. New requests are served for `notice_s` seconds more; then the port closes and running requests are finished.", ("in_flight", "notice_s", "grace_s")),
    LogEvent("app.stop", "info", "The last line; `unfinished` requests were cut off.", ("exit_code", "unfinished", "forced")),
    LogEvent("app.threads_short", "warning", "A thread could not be started: the system's limit on processes is too low. Requests share the `threads` that there are. Logged once.", ("threads", "wanted")),
    LogEvent("config.loaded", "info", "At the start: which options are set, and where. At SIGHUP: which changes were applied, and which need a restart. Names, never values.", ("source", "keys", "applied", "needs_restart")),
    LogEvent("config.invalid", "error", "The configuration cannot be used; one line for each fault at the start, one for all of them at SIGHUP.", ("where", "problem", "fix", "faults")),
    LogEvent("config.ignored", "warning", "The master configuration asks for something that the sidecar does not do: an option of `rest_cherrypy` or `rest_wsgi`, a client or eauth module that does not exist; or `log.format: console` away from a terminal.", ("where", "problem", "fix")),
    LogEvent("secret.unreadable", "warning", "The file of a secret cannot be read, or holds none; the secret that was read last stays in force, what opens a door for a minute. Logged once, and again after it could be read.", ("where", "problem", "fix")),
    LogEvent(
        "http.request",
        "info",
        "The canonical line, written when the last byte of the answer has left or its caller has; a warning from status 500 and for aborted ones, debug on the ops listener.",
        (
            "request_id", "http.request.method", "http.route", "url.path", "http.response.status_code", "http.request.body.size", "http.response.body.size",
            "network.protocol.version", "client.address", "user_agent.original", "user.name", "auth.eauth", "auth.session", "auth.scoped", "duration_s", "queue_wait_s", "auth_s",
            "publish_s", "first_return_s", "wait_s", "trace_id", "span_id", "trace_flags", "aborted", "error.type", "error.message",
            "salt.lows: for each low client, fun, tgt_type, tgt_hash, tgt (with log.include_target), login_reused (true where limits.auth_reuse_seconds spared the master a login), jid, minions_expected, minions_returned, minions_failed, minions_missing, failed_reasons (how many returns failed for which reason), outcome, duration_s",
        ),
    ),
    LogEvent("http.request.rejected", "warning", "A request was refused before it reached Salt; the first one for each reason is logged at once, further ones once a minute with their `count`. `limit`: the limit that was exceeded.", ("reason", "limit", "count")),
    LogEvent("auth.success", "info", "A login, or credentials were accepted that the master had not judged within `limits.auth_proven_seconds`.", ("user.name", "auth.eauth", "auth.session", "auth.scoped", "result", "salt.client", "salt.fun")),
    LogEvent("auth.failure", "warning", "Credentials were refused: `bad_credentials`, `expired_token`, or `throttled` by our limits, which is logged once a minute. The user and the backend are what the caller claimed.", ("user.name", "auth.eauth", "auth.session", "auth.scoped", "result", "throttled_until", "count", "salt.client", "salt.fun")),
    LogEvent("authz.denied", "warning", "The credentials are good, but do not permit this function.", ("user.name", "auth.eauth", "auth.session", "auth.scoped", "salt.client", "salt.fun")),
    LogEvent("policy.refused", "warning", "The policy refused a call before the master was asked. `rule`: which of `policy.rules`, from 0, or `policy.refuse_master_writes`, or `token ID`: the scope of that token; `salt.fun`: the function. Without a session user and backend are what the caller claimed.", ("user.name", "auth.eauth", "auth.session", "auth.scoped", "salt.client", "salt.fun", "rule")),
    LogEvent("identity.proven", "info", "An id token was good, and the master let the account in that a rule gives it (docs/identities.md). `identity.*`: what the token says of its owner, those of these claims that it has; `auth.session` joins it with later lines.", ("request_id", "user.name", "auth.eauth", "auth.session", "identity.issuer", "identity.sub", "identity.jti", "identity.repository", "identity.repository_id", "identity.project_path", "identity.ref", "identity.environment", "identity.run_id", "identity.pipeline_id", "identity.job_id", "identity.actor", "identity.user_login", "identity.email")),
    LogEvent("identity.refused", "warning", "An id token was not taken; the first one for each `why` is logged at once, further ones once a minute with their `count`. docs/identities.md has the reasons.", ("why", "message", "count")),
    LogEvent("identity.keys.unavailable", "warning", "The keys of an issuer could not be fetched; those known stay good for a day. Logged once a minute.", ("issuer", "message", "count")),
    LogEvent("auth.token.revoked", "info", "A logout. `by`: the master's token is gone (`file`, `runner`), only this process refuses it (`here`), or so far, because the master cannot be asked (`later`: another line follows when it could); a scoped token ends in the store of jobs (`store`).", ("user.name", "auth.eauth", "auth.session", "auth.scoped", "by")),
    LogEvent("auth.revocation.local", "warning", "Tokens cannot be revoked at the master, so other sidecars and the master itself accept them until they expire. Logged once.", ("message",)),
    LogEvent("stream.opened", "info", "An event stream begins; `filter` are its globs. Of a job of `/v1`: `jid`.", ("request_id", "filter", "sees_everything", "jid")),
    LogEvent("stream.closed", "info", "An event stream is over: the client left, was too slow, its token died, its job is over, or we stop.", ("request_id", "reason", "sent", "dropped", "duration_s")),
    LogEvent("salt.rpc.failed", "warning", "The master did not answer a request; `attempt` counts consecutive failures of this command.", ("cmd", "reason", "attempt", "duration_s", "message")),
    LogEvent("master.up", "info", "The master answers pings. `down_s`, `busy_s`: for how long it was down, and busy before.", ("probe_s", "down_s", "busy_s")),
    LogEvent("master.busy", "warning", "The master answers no ping, but may be there; calls wait for their own deadline.", ("reason",)),
    LogEvent("master.down", "error", "Nobody listens at the master's address, or it has answered nothing for `master.busy_seconds`; calls are refused at once until it does. `failures`: consecutive failed pings.", ("reason", "failures")),
    LogEvent("master.version_differs", "warning", "The master's sockets show that its Salt is of another release series than ours; we may misread what it sends.", ("reason", "salt_version")),
    LogEvent("salt.job.published", "info", "The master took a job of ours. `missing`: targets without an accepted key.", ("request_id", "jid", "salt.fun", "minions_expected", "missing", "publish_s")),
    LogEvent(
        "salt.job.completed",
        "info",
        "A job is over: all minions have returned, or its window closed (a warning). `origin`: `api` for our own jobs, `other` for the rest; those that complete are logged at debug level. "
        "`tainted`: the event bus was lost meanwhile, so minions that count as missing may have answered.",
        ("jid", "salt.fun", "origin", "returned", "failed", "missing", "missing_sample", "completion_s", "tainted"),
    ),
    LogEvent("job.over", "info", "A job of `/v1` has come to something (`status`), or a late return has corrected what (`revised`). `duration_s`: since it was asked for.", ("jid", "status", "cause", "revised", "duration_s")),
    LogEvent("job.wave", "info", "The master has taken a wave of a job of `/v1` that has a `batch`.", ("jid", "wave", "waves", "minions")),
    LogEvent("job.wave_in_doubt", "warning", "The master's answer to the publish of a wave was lost. It is looked up before it is published again, under the same jid.", ("jid", "wave")),
    LogEvent("job.handed_over", "warning", "The event bus was away for half a minute, and another sidecar of the store follows so many jobs of this one now.", ("count",)),
    LogEvent("job.recovered", "info", "So many jobs of `/v1` were not over when the process before this one ended, or nobody could follow them, and are followed again.", ("count",)),
    LogEvent("job.foreign_return", "warning", "A return of another function, or with other arguments, came under the jid of a job of `/v1`: somebody uses its id. It is not counted as the job's. Logged once a minute.", ("jid", "minion", "count")),
    LogEvent("job.not_stored", "error", "What was learned of jobs of `/v1` could not be stored; it is tried again every second. Logged once a minute.", ("message", "count")),
    LogEvent("job.notified", "info", "The notice that a job of `/v1` is over was taken (`notify`). `to`: by this host.", ("jid", "to", "tries")),
    LogEvent("job.not_notified", "warning", "The notice that a job of `/v1` is over was not taken; it is sent again after a while, unless it is given up.", ("jid", "to", "tries", "message", "given_up")),
    LogEvent("job.store.unusable", "warning", "There is no store of jobs, so `/v1/jobs` is answered 503; everything else works. It is tried again every five seconds.", ("where", "problem", "fix")),
    LogEvent("job.store.opened", "info", "The store of jobs can be had after all.", ()),
    LogEvent("label.overflow", "warning", "A label has reached its limit of values (`metrics.functions`); further values count as `other`. Logged once for each metric.", ("metric", "limit")),
    LogEvent("bus.connected", "info", "The event bus is connected.", ("down_s",)),
    LogEvent("bus.disconnected", "warning", "The event bus is lost: events are missed until it is back, and minions missing from the jobs now running are not counted.", ("reason", "open_jobs_tainted")),
    LogEvent("bus.lagging", "warning", "Events arrive more than five seconds after their timestamp. Logged once a minute. `queue_depth`: events waiting for the metrics and the streams.", ("lag_s", "queue_depth")),
    LogEvent("bus.event.dropped", "warning", "Events were dropped because `consumer` is too slow. Logged once a minute.", ("consumer", "count")),
    LogEvent("bus.decode.failed", "warning", "An event that a request waited for is not valid MessagePack. Logged once a minute.", ("bytes", "tag_prefix", "count")),
    LogEvent("audit", "info", "An audit record, marked by `log.type` and written past the queue, if `audit.sinks` has `stdout`; docs/audit.md has its fields.", ("log.type", "stage", "action")),
    LogEvent("audit.write.failed", "error", "A sink did not take audit records. `count`: failed writes, `rejected`: requests refused for them, since the last such line. Logged once a minute for each sink.", ("sink", "error.type", "mode", "count", "rejected")),
    LogEvent("tracing.failed", "warning", "Spans did not reach the collector, `failed` or `dropped`. Logged once a minute for each of the two.", ("result", "count", "message")),
    LogEvent("crash", "error", "A bug: an unexpected exception, with its frames but without their variables.", ("request_id", "thread", "error.type", "error.message", "error.causes", "frames")),
    LogEvent("log", "as given", "A line of a library, of Salt, or something that was printed.", ("logger", "message")),
)  # fmt: skip


TIMES = (
    ("duration_s", "from the moment the application sees the request to the last byte of the answer"),
    ("queue_wait_s", "before that: waiting for a thread"),
    (
        "auth_s",
        "looking up a session at the master, a login, or waiting for a turn to authenticate; the time for credentials inside a low is part of `publish_s`",
    ),
    ("publish_s", "the master's answers to publishes, runner and wheel calls"),
    ("first_return_s", "from the first of those answers to the first return"),
    ("wait_s", "waiting for minions or a runner; of a batch the whole run"),
)

_HEAD = """# Log events

Generated by `make docs` from `service/observe/log/event_names.py`.

What the sidecar logs: the form of a line, where a request's time went, and every event with its fields.

The log is one JSON object a line on standard output; standard error stays empty.
Every line has `timestamp` (RFC 3339, UTC), `level`, `event`, `service.name`, `service.version` and `service.instance.id` (the host's name, in Kubernetes the pod's).
Lines of a request, also those of Salt, have its `request_id`.
Names of fields follow OpenTelemetry and never change their type; durations are in seconds and end in `_s`.
Credentials are redacted by the name of their field before a line is written.
Arguments and returns of jobs are never logged, targets only with `log.include_target`.

Lines wait up to a tenth of a second for others, so that they share one write; an `error` or `critical` line is written at once, with all lines before it.
If the process is killed (SIGKILL, out of memory), the lines of its last tenth of a second may be lost.
A stop or an uncaught exception loses none.

"""


def markdown() -> str:
    """Return docs/logs.md."""
    rows = "".join(f"| `{event.name}` | {event.level} | {event.meaning} | {', '.join(f'`{field}`' for field in event.fields)} |\n" for event in EVENTS)
    renamed = ", ".join(f"`{ours}` `{theirs}`" for ours, theirs in shapes.ECS_NAMES.items())
    times = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in TIMES)
    return f"""{_HEAD}## Shapes

`log.format` chooses one of three.
Until the settings are read, lines are `json`.

- `json`: as described here.
- `ecs`: names of the Elastic Common Schema.
  `message` is the event's name if it has no message of its own, `ecs.version` is {shapes.ECS_VERSION}, and these fields have other names: {renamed}.
- `console`: text for people, only on a terminal; elsewhere it means `json`, and `config.ignored` says so.

## Where the time of a request went

| field of `http.request` | seconds |
|---|---|
{times}
`trace_id`, `span_id` and `trace_flags` are there when the caller sent a W3C `traceparent`, or with tracing: [tracing.md](tracing.md).

## Events

| event | level | meaning | fields |
|---|---|---|---|
{rows}"""
