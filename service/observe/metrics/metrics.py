"""Metrics of the service itself: other code says what happened; only this file and families.py know the metrics library."""

from __future__ import annotations

import functools
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, Protocol

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from service.errors import ConfigFault, InvalidConfiguration
from service.observe.metrics import domains
from service.observe.metrics.families import Families, UnderWay
from service.observe.metrics.v1_metrics import V1Metrics

_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
# What could be a token, which a caller might send as an id, is none of these: Salt's are hexadecimal digits alone, others are longer than a UUID.
_SHOWN_ID = re.compile(r"(?![0-9a-fA-F]{16,}\Z)[\w.-]{1,40}")
_CODES = ("200", "400", "401", "404", "405", "406", "413", "429", "500", "503", "504")


class Pool(Protocol):
    """What a listener tells about its threads and connections."""

    @property
    def connection_limit(self) -> int: ...
    def threads(self) -> int: ...
    def busy_threads(self) -> int: ...
    def busy_seconds(self) -> float: ...
    def queue_depth(self) -> int: ...
    def connections(self) -> int: ...
    def body_bytes(self) -> int: ...


class StreamCounts(Protocol):
    """What the fan-out says about its readers."""

    def subscribers(self, transport: Literal["sse", "websocket"] | None = None) -> int: ...
    def sent_total(self) -> int: ...


class Metrics:
    """
    The verbs that change the service's own metrics, and the scrape of all of them.

    routes: the templates the application serves; eauths: the backends the master's `external_auth` lists. They bound the labels of those names.
    All methods may be called from any thread, `bus_event` from one only. `clock` is monotonic, `now` is Unix time.
    """

    def __init__(
        self,
        *,
        routes: Iterable[str] = ("/",),
        eauths: Iterable[str] = (),
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        _refuse_multiprocess(environ)
        self._clock = clock
        self._now = now
        self._routes = frozenset((*routes, "unmatched"))
        self._eauths = frozenset((*eauths, "token", "id_token", "unknown"))
        self.families = Families()
        self.v1 = V1Metrics(self.families)
        self._settled = threading.Lock()
        self._streaming = 0  # guarded by _settled
        self._bus_lost: tuple[float, str | None] | None = (clock(), None)  # since when and why; guarded by _settled
        self._initialised = False  # guarded by _settled
        self._shows_exemplars = False  # Turns true once, and nothing hangs on the moment.
        # The bus thread only counts, and a scrape reads: three of the registry's locks cost more than the rest of an event.
        self._events = dict.fromkeys(domains.EVENT_TYPES, 0)
        self._event_bytes = 0
        self._event_at = 0.0
        self._watch_events()
        # Looked up once, as every request is observed in them.
        self._queue_wait = self.families["salt_api_worker_queue_wait_seconds"].histogram()
        self._request_bytes = self.families["salt_api_http_request_body_bytes"].histogram()
        self._response_bytes = self.families["salt_api_http_response_body_bytes"].histogram()
        self._in_flight = UnderWay(self.families, "salt_api_http_requests_in_flight")
        self._lows_in_flight = UnderWay(self.families, "salt_api_client_requests_in_flight")

    # The HTTP side.

    def http_started(self, kind: str = "unary") -> None:
        """Count a request as being served; each must be finished."""
        self._in_flight.add(kind, 1)

    def http_streaming(self, kind: str = "stream") -> None:
        """Count a request that is being served as a stream from now on; finish it as one of its kind. A websocket has no thread of the API's."""
        self._in_flight.add("unary", -1)
        self._in_flight.add(kind, 1)
        with self._settled:
            self._streaming += kind == "stream"

    def http_finished(
        self, method: str, route: str, code: int | str, seconds: float, kind: str = "unary", *, request_id: str = "", trace_id: str | None = None
    ) -> None:
        """
        Count a request as served; a stream's duration says nothing and is not observed.

        Its ids become the exemplar of the duration, once a scraper has asked for OpenMetrics, which alone shows it. trace_id: of a sampled trace.
        """
        method = method if method in domains.METHODS else "_OTHER"
        route = route if route in self._routes else "unmatched"
        self._in_flight.add(kind, -1)
        self.families["salt_api_http_requests_total"].counter(method, route, str(code)).inc()
        if kind == "unary":
            exemplar = _exemplar(request_id, trace_id) if self._shows_exemplars else None
            self.families["salt_api_http_request_duration_seconds"].histogram(method, route).observe(seconds, exemplar)
            return
        with self._settled:
            self._streaming -= kind == "stream"

    def http_sizes(self, request_bytes: int, response_bytes: int | None) -> None:
        """Observe the sizes of both bodies; None: the answer was a stream."""
        self._request_bytes.observe(request_bytes)
        if response_bytes is not None:
            self._response_bytes.observe(response_bytes)

    def http_rejected(self, reason: str) -> None:
        """Count a request refused before it reached Salt."""
        self.families["salt_api_http_requests_rejected_total"].counter(reason if reason in domains.REJECTIONS else "malformed").inc()

    def queue_waited(self, seconds: float) -> None:
        """Observe how long a request waited for a thread of the API listener."""
        self._queue_wait.observe(seconds)

    def watch_pool(self, pool: Pool) -> None:
        """Read the API listener's state at each scrape."""
        gauges = {
            ("salt_api_worker_threads", "busy"): lambda: float(max(0, pool.busy_threads() - self._streaming)),
            ("salt_api_worker_threads", "stream"): lambda: float(self._streaming),
            ("salt_api_worker_threads", "idle"): lambda: float(max(0, pool.threads() - pool.busy_threads())),
            ("salt_api_worker_queue_depth",): lambda: float(pool.queue_depth()),
            ("salt_api_connections_open",): lambda: float(pool.connections()),
            ("salt_api_body_buffer_bytes",): lambda: float(pool.body_bytes()),
            ("salt_api_connections_limit",): lambda: float(pool.connection_limit),
        }
        for (name, *labels), read in gauges.items():
            self.families[name].gauge(*labels).set_function(read)
        self.families.watch_total("salt_api_worker_busy_seconds_total", (), pool.busy_seconds)

    # The Salt side.

    def client_started(self, client: str) -> None:
        """Count a low as being run; each must be finished."""
        self._lows_in_flight.add(_client(client), 1)

    def client_finished(self, client: str, outcome: str, seconds: float) -> None:
        """Count a low that was started as run."""
        client = _client(client)
        self._lows_in_flight.add(client, -1)
        self.families["salt_api_client_request_duration_seconds"].histogram(client).observe(seconds)
        self._client_outcome(client, outcome)

    def client_refused(self, client: str, outcome: str) -> None:
        """Count a low that never started: not valid, not allowed, no slot. A name that is no client counts as `invalid`."""
        self._client_outcome(client, outcome)

    def policy_refused(self, client: str) -> None:
        """Count a low that the policy refused."""
        self.families["salt_api_policy_refusals_total"].counter(_client(client)).inc()

    def rpc(self, cmd: str, seconds: float) -> None:
        """Observe an answered request to the master."""
        self.families["salt_api_master_rpc_duration_seconds"].histogram(_known(cmd, domains.RPCS, "other")).observe(seconds)

    def rpc_failed(self, cmd: str, reason: str) -> None:
        """Count a request the master did not answer."""
        labels = (_known(cmd, domains.RPCS, "other"), _known(reason, domains.RPC_FAILURES, "other"))
        self.families["salt_api_master_rpc_failures_total"].counter(*labels).inc()

    def auth_attempt(self, eauth: str, result: str) -> None:
        """Count an authentication; *eauth* may be what a caller sent."""
        labels = (_known(eauth, self._eauths, "unknown"), _known(result, domains.AUTH_RESULTS, "error"))
        self.families["salt_api_auth_attempts_total"].counter(*labels).inc()

    def auth_decided(self, eauth: str, seconds: float) -> None:
        """Observe how long the master took to accept or refuse credentials."""
        self.families["salt_api_auth_duration_seconds"].histogram(_known(eauth, self._eauths, "unknown")).observe(seconds)

    def login_used(self, use: domains.Use) -> None:
        """Count a low with a name and password, for which a kept login may do."""
        self.families["salt_api_auth_reuse_total"].counter(use).inc()

    def login_given_up(self, copy: domains.Copy) -> None:
        """Count a kept login that is over."""
        self.families["salt_api_auth_reuse_ended_total"].counter(copy).inc()

    def watch_logins(self, kept: Callable[[], int]) -> None:
        """Read at each scrape how many logins are kept."""
        self.families["salt_api_auth_reuse_logins"].gauge().set_function(kept)

    def watch_sessions(self, active: Callable[[], int]) -> None:
        """Read at each scrape how many sessions are known to be alive."""
        self.families["salt_api_sessions_active"].gauge().set_function(active)

    def master_is(self, state: str) -> None:
        """Record that the master is `up`, `busy` or `down` now."""
        self.families["salt_master_up"].gauge().set(int(state != "down"))
        self.families["salt_master_busy"].gauge().set(int(state == "busy"))

    def master_probed(self, seconds: float) -> None:
        """Observe an answered ping."""
        self.families["salt_master_probe_duration_seconds"].histogram().observe(seconds)

    # The event bus.

    def bus_connected(self) -> None:
        """Record that the subscription is open; after `bus_lost` this is a reconnect."""
        with self._settled:
            self._settle_bus()
            lost, self._bus_lost = self._bus_lost, None
        self.families["salt_event_bus_connected"].gauge().set(1)
        if lost and lost[1]:
            self.families["salt_event_bus_reconnects_total"].counter(lost[1]).inc()

    def bus_lost(self, reason: str) -> None:
        """Record that the subscription ended; only the first reason of an outage counts."""
        with self._settled:
            self._settle_bus()
            if self._bus_lost is None:
                self._bus_lost = (self._clock(), _known(reason, domains.BUS_LOSSES, "error"))
        self.families["salt_event_bus_connected"].gauge().set(0)

    def bus_event(self, kind: str, size_bytes: int) -> None:
        """Count an event received. The bus thread's alone."""
        self._events[kind if kind in self._events else "other"] += 1
        self._event_bytes += size_bytes
        self._event_at = self._now()

    def _watch_events(self) -> None:
        for kind in domains.EVENT_TYPES:
            self.families.watch_total("salt_event_bus_events_total", (kind,), functools.partial(self._events.__getitem__, kind))
        self.families.watch_total("salt_event_bus_received_bytes_total", (), lambda: self._event_bytes)
        self.families["salt_event_bus_last_event_timestamp_seconds"].gauge().set_function(lambda: self._event_at)

    def bus_lag(self, seconds: float) -> None:
        """Observe receipt minus stamp; a clock behind the master's counts as no lag."""
        self.families["salt_event_bus_lag_seconds"].histogram().observe(max(0.0, seconds))

    def bus_dropped(self, consumer: str, count: int = 1) -> None:
        """Count events that a consumer did not get."""
        self.families["salt_event_bus_dropped_events_total"].counter(consumer).inc(count)

    def bus_undecodable(self) -> None:
        """Count an event whose payload could not be decoded."""
        self.families["salt_event_bus_decode_failures_total"].counter().inc()

    def bus_odd(self, kind: domains.Oddity) -> None:
        """Count an event that was not believed."""
        self.families["salt_event_odd_total"].counter(kind).inc()

    def bus_trimmed(self) -> None:
        """Count an event that the master has cut to its `max_event_size`."""
        self.families["salt_event_bus_trimmed_events_total"].counter().inc()

    def bus_handler_failed(self, consumer: str) -> None:
        """Count a bug in who takes events."""
        self.families["salt_event_bus_handler_failures_total"].counter(consumer).inc()

    def watch_queues(self, depth: Callable[[], int]) -> None:
        """Read at each scrape how many events wait to be handled."""
        self.families["salt_event_bus_queue_depth"].gauge().set_function(depth)

    # The streams.

    def watch_streams(self, streams: StreamCounts, limit: int) -> None:
        """Read how many streams there are and what they got at each scrape."""
        for transport in domains.TRANSPORTS:
            self.families["salt_api_stream_subscribers"].gauge(transport).set_function(functools.partial(streams.subscribers, transport))
        self.families["salt_api_stream_subscribers_limit"].gauge().set(limit)
        self.families.watch_total("salt_api_stream_events_sent_total", (), lambda: float(streams.sent_total()))

    def stream_dropped(self, reason: str, count: int) -> None:
        """Count events that a stream did not get."""
        self.families["salt_api_stream_events_dropped_total"].counter(_known(reason, domains.STREAM_DROPS, "slow_consumer")).inc(count)

    def stream_closed(self, reason: str) -> None:
        """Count a stream as over."""
        self.families["salt_api_stream_disconnects_total"].counter(_known(reason, domains.STREAM_ENDS, "error")).inc()

    def stream_lag(self, seconds: float) -> None:
        """Observe how old an event was when a stream's connection had it."""
        self.families["salt_api_stream_delivery_lag_seconds"].histogram().observe(seconds)

    # Ourselves.

    def ready(self, checks: Mapping[str, bool]) -> None:
        """Record what /readyz says, check by check."""
        for check, passes in checks.items():
            self.families["salt_api_ready"].gauge(check).set(1 if passes else 0)

    def audit_written(self, count: int) -> None:
        """Count audit records that are in at least one sink."""
        self.families["salt_api_audit_events_total"].counter("written").inc(count)

    def audit_failed(self, count: int) -> None:
        """Count audit records that a sink did not take."""
        self.families["salt_api_audit_events_total"].counter("failed").inc(count)

    def audit_rejected(self) -> None:
        """Count a request refused for want of an audit record."""
        self.families["salt_api_audit_rejected_requests_total"].counter().inc()

    def build_info(self, *, version: str, revision: str, python: str, salt: str) -> None:
        """Say which versions run."""
        self.families["salt_api_build_info"].gauge(version, revision, python, salt).set(1)

    def trace_spans(self, result: str, count: int) -> None:
        """Count spans by what became of them."""
        self.families["salt_api_trace_spans_total"].counter(_known(result, domains.TRACE_RESULTS, "failed")).inc(count)

    def watch_log(self, counts: Callable[[], Mapping[str, int]], dropped: Callable[[], int]) -> None:
        """Read the log's counters at each scrape."""
        for level in domains.LEVELS:
            self.families.watch_total("salt_api_log_events_total", (level,), lambda level=level: float(counts().get(level, 0)))  # type: ignore[misc]
        self.families.watch_total("salt_api_log_dropped_total", (), lambda: float(dropped()))

    def exposition(self, form: Literal["text", "openmetrics"] = "text", names: Collection[str] = ()) -> tuple[str, bytes]:
        """Return content type and body of a scrape. names: of the samples to tell, all when empty."""
        self._settle()
        registry = self.families.registry.restricted_registry(names) if names else self.families.registry
        if form == "openmetrics":
            self._shows_exemplars = True
            return openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample as a scrape would show it now; None if there is no such series. For tests."""
        self._settle()
        families = self.families.registry.restricted_registry([name]).collect()
        return next((sample.value for family in families for sample in family.samples if sample.labels == labels), None)

    def _client_outcome(self, client: str, outcome: str) -> None:
        self.families["salt_api_client_requests_total"].counter(_client(client), _known(outcome, domains.OUTCOMES, "error")).inc()

    def _settle(self) -> None:
        """Bring up to date whose truth is kept elsewhere."""
        self.families.settle()
        with self._settled:
            if not self._initialised:
                self._initialise()
                self._initialised = True
            self._settle_bus()

    def _settle_bus(self) -> None:
        if self._bus_lost is None:
            return
        since, reason = self._bus_lost
        moment = self._clock()
        self.families["salt_event_bus_disconnected_seconds_total"].counter().inc(moment - since)
        self._bus_lost = (moment, reason)

    def _initialise(self) -> None:
        """Create the series whose labels are known only at run time."""
        methods, routes = ("GET", "POST"), sorted(self._routes)
        self.families["salt_api_http_requests_total"].initialise(methods, routes, _CODES)
        self.families["salt_api_http_request_duration_seconds"].initialise(methods, routes)
        self.families["salt_api_auth_attempts_total"].initialise(sorted(self._eauths), domains.AUTH_RESULTS)
        self.families["salt_api_auth_duration_seconds"].initialise(sorted(self._eauths))


def _exemplar(request_id: str, trace_id: str | None) -> dict[str, str] | None:
    """Return the ids under which the log and the traces tell of a request."""
    ids = {"trace_id": trace_id, "request_id": request_id if _SHOWN_ID.fullmatch(request_id) else None}
    return {name: value for name, value in ids.items() if value} or None


def _client(client: str) -> str:
    return client if client in domains.CLIENTS else "invalid"


def _known(value: str, domain: Iterable[str], otherwise: str) -> str:
    """Return *value* if it is in the label's domain: no caller and no minion can create a series."""
    return value if value in domain else otherwise


def _refuse_multiprocess(environ: Mapping[str, str]) -> None:
    if _MULTIPROCESS in environ:
        problem = "turns on prometheus_client's multiprocess mode, which loses the process metrics and every gauge read at a scrape"
        raise InvalidConfiguration([ConfigFault(_MULTIPROCESS, problem, "unset it: the sidecar is one process")])
