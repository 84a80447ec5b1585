"""The registry: one object for each declared metric, and what is read only when somebody scrapes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.observe.metrics.catalogue import CATALOGUE
from service.observe.metrics.declaration import Declaration

Samples = Mapping[tuple[str, ...], float]


class Families(dict[str, "Family"]):
    """Every declared metric by its name. All methods may be called from any thread."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        super().__init__((declaration.name, Family(declaration, self.registry)) for declaration in CATALOGUE)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._lock = threading.Lock()
        self._totals: list[tuple[Family, tuple[str, ...], Callable[[], float]]] = []  # guarded by _lock, like all below
        self._seen: dict[tuple[str, tuple[str, ...]], float] = {}
        self._gauges: list[tuple[Family, Callable[[], Samples]]] = []
        self._initialised = False

    def watch_total(self, name: str, labels: tuple[str, ...], read: Callable[[], float]) -> None:
        """Take a counter from *read*, which never falls, at each scrape."""
        with self._lock:
            self._totals.append((self[name], labels, read))

    def watch_gauge(self, name: str, read: Callable[[], Samples]) -> None:
        """Take all samples of a gauge from *read* at each scrape: {label values: value}; of an optional one those there are, and no others."""
        with self._lock:
            self._gauges.append((self[name], read))

    def settle(self) -> None:
        """
        Bring everything up to date whose truth is kept elsewhere.

        The first time also creates every series known beforehand: one that appears with its first failure hides that failure from
        rate(). The first look comes seconds after the start; nobody can see the difference, and the start is quicker.
        """
        with self._lock:
            if not self._initialised:
                self._initialise()
                self._initialised = True
            for family, labels, read in self._totals:
                key = (family.name, labels)
                total = read()
                family.counter(*labels).inc(max(0.0, total - self._seen.get(key, 0.0)))
                self._seen[key] = max(total, self._seen.get(key, 0.0))
            for family, read_all in self._gauges:
                family.replace(read_all())

    def _initialise(self) -> None:
        for declaration in CATALOGUE:
            if declaration.values and all(declaration.values) and not declaration.optional:
                self[declaration.name].initialise(*declaration.values)


class Family:
    """One metric and its children; a child looked up here costs a quarter of `labels()`."""

    def __init__(self, declaration: Declaration, registry: CollectorRegistry) -> None:
        self.name = declaration.name
        self._optional = _Optional(declaration) if declaration.optional else None
        self._children: dict[tuple[str, ...], Counter | Gauge | Histogram] = {}
        if self._optional is not None:
            registry.register(self._optional)
            return
        self._parent = _create(declaration, registry)
        if not declaration.labels:
            self._children[()] = self._parent

    def counter(self, *labels: str) -> Counter:
        """Return the counter with these label values."""
        child = self._children.get(labels) or self._made(labels)
        assert isinstance(child, Counter), self.name  # noqa: S101  The catalogue and our callers must agree on the kind.
        return child

    def gauge(self, *labels: str) -> Gauge:
        """Return the gauge with these label values."""
        child = self._children.get(labels) or self._made(labels)
        assert isinstance(child, Gauge), self.name  # noqa: S101  As above.
        return child

    def histogram(self, *labels: str) -> Histogram:
        """Return the histogram with these label values."""
        child = self._children.get(labels) or self._made(labels)
        assert isinstance(child, Histogram), self.name  # noqa: S101  As above.
        return child

    def initialise(self, *values: Iterable[str]) -> None:
        """Make the series of every combination of label values."""
        for labels in itertools.product(*values):
            self._made(labels)

    def replace(self, samples: Samples) -> None:
        """Set the samples of a gauge; an optional one forgets the others."""
        if self._optional is not None:
            self._optional.samples = samples
            return
        for labels, value in samples.items():
            self.gauge(*labels).set(value)

    def _made(self, labels: tuple[str, ...]) -> Counter | Gauge | Histogram:
        # Two threads may both come here; labels() gives them the same child.
        child = self._children[labels] = self._parent.labels(*labels)
        return child


class UnderWay:
    """What a gauge with one label shows of things under way: two of these cost less than one of the registry's locks and checks."""

    def __init__(self, families: Families, name: str) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}  # by the label's value; guarded by _lock
        families.watch_gauge(name, self._samples)

    def add(self, value: str, more: int) -> None:
        """Count so many more, or fewer."""
        with self._lock:
            self._counts[value] = self._counts.get(value, 0) + more

    def _samples(self) -> Samples:
        with self._lock:
            return {(value,): float(count) for value, count in self._counts.items()}


class _Optional(Collector):
    """A gauge that has exactly the samples it was given; prometheus_client's own would begin with 0."""

    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration
        self.samples: Samples = {}

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the metric to the registry."""
        yield self._family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what there is."""
        family = self._family()
        for labels, value in self.samples.items():
            family.add_metric(labels, value)
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._declaration.name, self._declaration.help, labels=self._declaration.labels)


def _create(declaration: Declaration, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name, text, labels = declaration.name, declaration.help, declaration.labels
    if declaration.kind == "histogram":
        return Histogram(name, text, labels, registry=registry, buckets=declaration.buckets)
    return Counter(name, text, labels, registry=registry) if declaration.kind == "counter" else Gauge(name, text, labels, registry=registry)
