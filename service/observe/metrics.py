"""Metrics: the one place that knows prometheus_client; everybody else says what happened."""

from __future__ import annotations

import gzip
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from service.errors import ConfigFault, InvalidConfiguration
from service.observe import catalogue
from service.observe.catalogue import Declaration
from service.observe.exposition import accepts_gzip, choose_format

_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
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


class StreamCounts(Protocol):
    """What the fan-out tells of its readers."""

    def subscribers(self) -> int: ...
    def sent_total(self) -> int: ...


class Metrics:
    """
    One registry and the verbs that change it.

    routes: the templates the application serves; eauths: the backends the master's `external_auth` lists. They bound the labels of those names.
    All methods may be called from any thread. `clock` is monotonic, `now` is Unix time.
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
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._clock = clock
        self._now = now
        self._routes = frozenset((*routes, "unmatched"))
        self._eauths = frozenset((*eauths, "token", "unknown"))
        self._registry = CollectorRegistry(auto_describe=True)
        self._families = {declaration.name: _Family(declaration, self._registry) for declaration in catalogue.CATALOGUE}
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._settled = threading.Lock()
        self._totals: list[tuple[_Family, tuple[str, ...], Callable[[], float]]] = []  # read at each scrape; guarded by _settled
        self._seen: dict[tuple[str, tuple[str, ...]], float] = {}  # guarded by _settled
        self._bus_lost: tuple[float, str | None] | None = (clock(), None)  # since when and why; guarded by _settled
        self._initialised = False  # guarded by _settled

    # The HTTP side.

    def http_started(self, kind: str = "unary") -> None:
        """Count a request as being served; each must be finished."""
        self._families["salt_api_http_requests_in_flight"].gauge(kind).inc()

    def http_streaming(self) -> None:
        """Count a request that is being served as a stream from now on; finish it as one."""
        self._families["salt_api_http_requests_in_flight"].gauge("unary").dec()
        self._families["salt_api_http_requests_in_flight"].gauge("stream").inc()

    def http_finished(self, method: str, route: str, code: int | str, seconds: float, kind: str = "unary") -> None:
        """Count a request as served; a stream's duration says nothing and is not observed."""
        method = method if method in catalogue.METHODS else "_OTHER"
        route = route if route in self._routes else "unmatched"
        self._families["salt_api_http_requests_in_flight"].gauge(kind).dec()
        self._families["salt_api_http_requests_total"].counter(method, route, str(code)).inc()
        if kind == "unary":
            self._families["salt_api_http_request_duration_seconds"].histogram(method, route).observe(seconds)

    def http_rejected(self, reason: str) -> None:
        """Count a request refused before it reached Salt."""
        self._families["salt_api_http_requests_rejected_total"].counter(reason if reason in catalogue.REJECTIONS else "malformed").inc()

    def queue_waited(self, seconds: float) -> None:
        """Observe how long a request waited for a thread of the API listener."""
        self._families["salt_api_worker_queue_wait_seconds"].histogram().observe(seconds)

    def watch_pool(self, pool: Pool) -> None:
        """Read the API listener's state at each scrape."""
        gauges = {
            ("salt_api_worker_threads", "busy"): lambda: float(pool.busy_threads()),
            ("salt_api_worker_threads", "idle"): lambda: float(max(0, pool.threads() - pool.busy_threads())),
            ("salt_api_worker_queue_depth",): lambda: float(pool.queue_depth()),
            ("salt_api_connections_open",): lambda: float(pool.connections()),
            ("salt_api_connections_limit",): lambda: float(pool.connection_limit),
        }
        for (name, *labels), read in gauges.items():
            self._families[name].gauge(*labels).set_function(read)
        self._watch_total("salt_api_worker_busy_seconds_total", (), pool.busy_seconds)

    # The Salt side.

    def client_started(self, client: str) -> None:
        """Count a low as being run; each must be finished."""
        self._families["salt_api_client_requests_in_flight"].gauge(_client(client)).inc()

    def client_finished(self, client: str, outcome: str, seconds: float) -> None:
        """Count a low that was started as run."""
        self._families["salt_api_client_requests_in_flight"].gauge(_client(client)).dec()
        self._families["salt_api_client_request_duration_seconds"].histogram(_client(client)).observe(seconds)
        self._client_outcome(client, outcome)

    def client_refused(self, client: str, outcome: str) -> None:
        """Count a low that never started: not valid, not allowed, no slot. A name that is no client counts as `invalid`."""
        self._client_outcome(client, outcome)

    def rpc(self, cmd: str, seconds: float) -> None:
        """Observe an answered request to the master."""
        self._families["salt_api_master_rpc_duration_seconds"].histogram(_known(cmd, catalogue.RPCS, "other")).observe(seconds)

    def rpc_failed(self, cmd: str, reason: str) -> None:
        """Count a request the master did not answer."""
        labels = (_known(cmd, catalogue.RPCS, "other"), _known(reason, catalogue.RPC_FAILURES, "other"))
        self._families["salt_api_master_rpc_failures_total"].counter(*labels).inc()

    def auth_attempt(self, eauth: str, result: str) -> None:
        """Count an authentication; *eauth* may be what a caller sent."""
        labels = (_known(eauth, self._eauths, "unknown"), _known(result, catalogue.AUTH_RESULTS, "error"))
        self._families["salt_api_auth_attempts_total"].counter(*labels).inc()

    def master_probed(self, seconds: float | None) -> None:
        """Record a ping of the master; None: it was not answered."""
        self._families["salt_master_up"].gauge().set(0 if seconds is None else 1)
        if seconds is not None:
            self._families["salt_master_probe_duration_seconds"].histogram().observe(seconds)

    # The event bus.

    def bus_connected(self) -> None:
        """Record that the subscription is open; after `bus_lost` this is a reconnect."""
        with self._settled:
            self._settle_bus()
            lost, self._bus_lost = self._bus_lost, None
        self._families["salt_event_bus_connected"].gauge().set(1)
        if lost and lost[1]:
            self._families["salt_event_bus_reconnects_total"].counter(lost[1]).inc()

    def bus_lost(self, reason: str) -> None:
        """Record that the subscription ended; only the first reason of an outage counts."""
        with self._settled:
            self._settle_bus()
            if self._bus_lost is None:
                self._bus_lost = (self._clock(), _known(reason, catalogue.BUS_LOSSES, "error"))
        self._families["salt_event_bus_connected"].gauge().set(0)

    def bus_event(self, kind: str, size_bytes: int) -> None:
        """Count an event received."""
        self._families["salt_event_bus_events_total"].counter(_known(kind, catalogue.EVENT_TYPES, "other")).inc()
        self._families["salt_event_bus_received_bytes_total"].counter().inc(size_bytes)
        self._families["salt_event_bus_last_event_timestamp_seconds"].gauge().set(self._now())

    def bus_lag(self, seconds: float) -> None:
        """Observe receipt minus stamp; a clock behind the master's counts as no lag."""
        self._families["salt_event_bus_lag_seconds"].histogram().observe(max(0.0, seconds))

    def bus_dropped(self, consumer: str, count: int = 1) -> None:
        """Count events that a consumer did not get."""
        self._families["salt_event_bus_dropped_events_total"].counter(consumer).inc(count)

    # The streams.

    def watch_streams(self, streams: StreamCounts, limit: int) -> None:
        """Read how many streams there are and what they got at each scrape."""
        self._families["salt_api_stream_subscribers"].gauge("sse").set_function(lambda: float(streams.subscribers()))
        self._families["salt_api_stream_subscribers_limit"].gauge().set(limit)
        self._watch_total("salt_api_stream_events_sent_total", (), lambda: float(streams.sent_total()))

    def stream_dropped(self, reason: str, count: int) -> None:
        """Count events that a stream did not get."""
        self._families["salt_api_stream_events_dropped_total"].counter(_known(reason, catalogue.STREAM_DROPS, "slow_consumer")).inc(count)

    def stream_closed(self, reason: str) -> None:
        """Count a stream as over."""
        self._families["salt_api_stream_disconnects_total"].counter(_known(reason, catalogue.STREAM_ENDS, "error")).inc()

    def stream_lag(self, seconds: float) -> None:
        """Observe how old an event was when a stream's connection had it."""
        self._families["salt_api_stream_delivery_lag_seconds"].histogram().observe(seconds)

    # Ourselves.

    def ready(self, checks: Mapping[str, bool]) -> None:
        """Record what /readyz says, check by check."""
        for check, passes in checks.items():
            self._families["salt_api_ready"].gauge(check).set(1 if passes else 0)

    def build_info(self, *, version: str, python: str, salt: str) -> None:
        """Say which versions run."""
        self._families["salt_api_build_info"].gauge(version, python, salt).set(1)

    def watch_log(self, counts: Callable[[], Mapping[str, int]], dropped: Callable[[], int]) -> None:
        """Read the log's counters at each scrape."""
        for level in catalogue.LEVELS:
            self._watch_total("salt_api_log_events_total", (level,), lambda level=level: float(counts().get(level, 0)))  # type: ignore[misc]
        self._watch_total("salt_api_log_dropped_total", (), lambda: float(dropped()))

    def exposition(self, accept: str = "", accept_encoding: str = "") -> tuple[str, bytes, dict[str, str]]:
        """Return content type, body and further headers of a scrape."""
        self._settle()
        headers = {"Vary": "Accept, Accept-Encoding", "Cache-Control": "no-store"}
        if choose_format(accept) == "openmetrics":
            content_type, body = openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
        else:
            content_type, body = CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)
        if accepts_gzip(accept_encoding):
            body = gzip.compress(body, compresslevel=5, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return content_type, body, headers

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample as a scrape would show it now; None if there is no such series. For tests and `smoke`."""
        self._settle()
        return self._registry.get_sample_value(name, labels)

    def _client_outcome(self, client: str, outcome: str) -> None:
        self._families["salt_api_client_requests_total"].counter(_client(client), _known(outcome, catalogue.OUTCOMES, "error")).inc()

    def _watch_total(self, name: str, labels: tuple[str, ...], read: Callable[[], float]) -> None:
        with self._settled:
            self._totals.append((self._families[name], labels, read))

    def _settle(self) -> None:
        """Bring counters up to date whose truth is kept elsewhere."""
        with self._settled:
            if not self._initialised:
                self._initialise()
                self._initialised = True
            self._settle_bus()
            for family, labels, read in self._totals:
                key = (family.name, labels)
                total = read()
                family.counter(*labels).inc(max(0.0, total - self._seen.get(key, 0.0)))
                self._seen[key] = max(total, self._seen.get(key, 0.0))

    def _settle_bus(self) -> None:
        if self._bus_lost is None:
            return
        since, reason = self._bus_lost
        moment = self._clock()
        self._families["salt_event_bus_disconnected_seconds_total"].counter().inc(moment - since)
        self._bus_lost = (moment, reason)

    def _initialise(self) -> None:
        """
        Create every series known beforehand: one that appears with its first failure hides that failure from rate().

        Done at the first look, which comes seconds after the start; nobody can see the difference, and the start is quicker.
        """
        for declaration in catalogue.CATALOGUE:
            if declaration.values and all(declaration.values):
                self._families[declaration.name].initialise(*declaration.values)
        methods, routes = ("GET", "POST"), sorted(self._routes)
        self._families["salt_api_http_requests_total"].initialise(methods, routes, _CODES)
        self._families["salt_api_http_request_duration_seconds"].initialise(methods, routes)
        self._families["salt_api_auth_attempts_total"].initialise(sorted(self._eauths), catalogue.AUTH_RESULTS)


class _Family:
    """One metric and its children; a child looked up here costs a quarter of `labels()`."""

    def __init__(self, declaration: Declaration, registry: CollectorRegistry) -> None:
        self.name = declaration.name
        self._parent = _create(declaration, registry)
        self._children: dict[tuple[str, ...], Counter | Gauge | Histogram] = {} if declaration.labels else {(): self._parent}

    def counter(self, *labels: str) -> Counter:
        child = self._child(labels)
        assert isinstance(child, Counter), self.name  # noqa: S101  The catalogue and this file must agree on the kind.
        return child

    def gauge(self, *labels: str) -> Gauge:
        child = self._child(labels)
        assert isinstance(child, Gauge), self.name  # noqa: S101  As above.
        return child

    def histogram(self, *labels: str) -> Histogram:
        child = self._child(labels)
        assert isinstance(child, Histogram), self.name  # noqa: S101  As above.
        return child

    def initialise(self, *values: Iterable[str]) -> None:
        for labels in itertools.product(*values):
            self._child(labels)

    def _child(self, labels: tuple[str, ...]) -> Counter | Gauge | Histogram:
        child = self._children.get(labels)
        if child is None:
            # Two threads may both come here; labels() gives them the same child.
            child = self._children[labels] = self._parent.labels(*labels)
        return child


def _create(declaration: Declaration, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name, text, labels = declaration.name, declaration.help, declaration.labels
    if declaration.kind == "histogram":
        return Histogram(name, text, labels, registry=registry, buckets=declaration.buckets)
    return Counter(name, text, labels, registry=registry) if declaration.kind == "counter" else Gauge(name, text, labels, registry=registry)


def _client(client: str) -> str:
    return _known(client, catalogue.CLIENTS, "invalid")


def _known(value: str, domain: Iterable[str], otherwise: str) -> str:
    """Return *value* if it is in the label's domain: no caller and no minion can create a series."""
    return value if value in domain else otherwise


def _refuse_multiprocess(environ: Mapping[str, str]) -> None:
    if _MULTIPROCESS in environ:
        problem = "turns on prometheus_client's multiprocess mode, which loses the process metrics and every gauge read at a scrape"
        raise InvalidConfiguration([ConfigFault(_MULTIPROCESS, problem, "unset it: the sidecar is one process")])
