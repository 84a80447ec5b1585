"""Metrics: every name declared once, every known series there from the start, no series made by a caller."""

from __future__ import annotations

import gzip
import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from service.api.ops import MetricsResource
from service.errors import InvalidConfiguration
from service.http.app import build
from service.http.middleware import Canonical
from service.observe.metrics import catalogue
from service.observe.metrics.declaration import Declaration
from service.observe.metrics.metrics import Metrics
from service.observe.metrics.metrics_doc import markdown
from tests.caller import Caller, Response, open_to_all
from tests.unit.http.conftest import Unmeasured


class FakeClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class FakePool:
    connection_limit = 2000
    worked = 1.5

    def threads(self) -> int:
        return 8

    def busy_threads(self) -> int:
        return 3

    def busy_seconds(self) -> float:
        return self.worked

    def queue_depth(self) -> int:
        return 2

    def body_bytes(self) -> int:
        return 4711

    def connections(self) -> int:
        return 17


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def metrics(clock: FakeClock) -> Metrics:
    return Metrics(routes=("/", "/run"), eauths=("pam",), environ={}, clock=clock, now=clock)


@pytest.mark.parametrize("declaration", catalogue.CATALOGUE, ids=lambda declaration: declaration.name)
def test_every_name_follows_promlint(declaration: Declaration) -> None:
    name = declaration.name

    assert re.fullmatch(r"salt_[a-z_]+[a-z]", name)
    assert declaration.help.endswith(".")
    assert name.endswith("_total") == (declaration.kind == "counter")
    assert not name.endswith(("_count", "_sum", "_bucket"))
    assert not {"counter", "gauge", "histogram", "summary"} & set(name.split("_"))
    assert not {"s", "ms", "sec", "secs", "millis", "milliseconds", "minutes", "hours", "kb", "mb", "kilobytes", "megabytes"} & set(name.split("_"))
    assert "le" not in declaration.labels
    assert bool(declaration.buckets) == (declaration.kind == "histogram")
    assert list(declaration.buckets) == sorted(set(declaration.buckets))


def test_every_metric_is_declared_once() -> None:
    names = [declaration.name for declaration in catalogue.catalogue()]

    assert len(names) == len(set(names))


def test_the_page_lists_every_metric_with_its_label_values() -> None:
    page = markdown()

    assert all(f"| `{declaration.name}` | {declaration.kind} |" in page for declaration in catalogue.CATALOGUE)
    assert "`client`: local, local_async" in page
    assert "15 buckets, 0.005 s to 300 s" in page


@pytest.mark.costly
def test_every_declared_family_is_served(metrics: Metrics) -> None:
    metrics.build_info(version="1", revision="abc", python="3", salt="3008.3")
    _, body = metrics.exposition()

    families = {family.name for family in parse_text(body.decode())}
    assert {declaration.name.removesuffix("_total") for declaration in catalogue.CATALOGUE} <= families
    assert {"process_resident_memory_bytes", "python_info", "python_gc_collections"} <= families
    assert b"_created" not in body


def test_known_series_are_there_before_anything_happens(metrics: Metrics) -> None:
    assert metrics.value("salt_api_client_requests_total", client="wheel_async", outcome="no_match") == 0
    assert metrics.value("salt_api_http_requests_total", method="POST", route="/run", code="503") == 0
    assert metrics.value("salt_api_auth_attempts_total", eauth="pam", result="throttled") == 0
    assert metrics.value("salt_api_client_request_duration_seconds_count", client="local") == 0


def test_a_request_is_counted_and_timed(metrics: Metrics) -> None:
    metrics.http_started()
    assert metrics.value("salt_api_http_requests_in_flight", kind="unary") == 1

    metrics.http_finished("POST", "/run", 200, 0.2)

    assert metrics.value("salt_api_http_requests_in_flight", kind="unary") == 0
    assert metrics.value("salt_api_http_requests_total", method="POST", route="/run", code="200") == 1
    assert metrics.value("salt_api_http_request_duration_seconds_sum", method="POST", route="/run") == 0.2


@pytest.mark.costly
def test_the_ids_of_a_request_are_the_exemplar_of_its_duration_in_openmetrics_alone(metrics: Metrics) -> None:
    metrics.exposition("openmetrics")
    metrics.http_finished("POST", "/run", 200, 0.2, request_id="r-1", trace_id="ab" * 16)
    metrics.http_finished("POST", "/run", 200, 0.02, request_id="r-2")
    metrics.http_finished("POST", "/run", 200, 0.002)

    told = re.findall(rb"# (\{.*?\}) ([0-9.]+) ", metrics.exposition("openmetrics")[1])
    assert told == [(b'{request_id="r-2"}', b"0.02"), (b'{request_id="r-1",trace_id="abababababababababababababababab"}', b"0.2")]
    assert b"r-1" not in metrics.exposition()[1]


@pytest.mark.costly
def test_an_id_that_could_be_a_token_is_no_exemplar(metrics: Metrics) -> None:
    metrics.exposition("openmetrics")
    for given in ("f" * 16, "f" * 32, "f" * 64, "x-" + "f" * 39):
        metrics.http_finished("POST", "/run", 200, 0.2, request_id=given)

    assert b"fffff" not in metrics.exposition("openmetrics")[1]


@pytest.mark.costly
def test_nothing_is_kept_for_a_scraper_that_shows_no_exemplars(metrics: Metrics) -> None:
    metrics.exposition()
    metrics.http_finished("POST", "/run", 200, 0.2, request_id="r-1", trace_id="ab" * 16)

    assert b"r-1" not in metrics.exposition("openmetrics")[1]


def test_threads_of_streams_are_told_from_busy_ones(metrics: Metrics) -> None:
    metrics.watch_pool(FakePool())
    metrics.http_started()
    metrics.http_streaming()

    threads = {state: metrics.value("salt_api_worker_threads", state=state) for state in ("busy", "idle", "stream")}
    assert threads == {"busy": 2, "idle": 5, "stream": 1}


def test_a_stream_is_counted_but_not_timed(metrics: Metrics) -> None:
    metrics.http_started()
    metrics.http_streaming()
    metrics.http_finished("GET", "/", 200, 3600, "stream")

    assert metrics.value("salt_api_http_requests_total", method="GET", route="/", code="200") == 1
    assert metrics.value("salt_api_http_request_duration_seconds_count", method="GET", route="/") == 0


@pytest.mark.costly
def test_callers_cannot_make_series(metrics: Metrics) -> None:
    before = metrics.exposition()[1].count(b"\n")
    for number in range(100):
        metrics.http_finished(f"M{number}", f"/{number}", 404, 0)
        metrics.client_refused(f"c{number}", f"o{number}")
        metrics.auth_attempt(f"e{number}", f"r{number}")
        metrics.bus_event(f"t{number}", 1)
        metrics.rpc(f"c{number}", 0)
        metrics.rpc_failed(f"c{number}", f"r{number}")
        metrics.http_rejected(f"r{number}")

    # One method-and-route pair was not known before: its counter and its histogram of 15 bounds.
    assert metrics.exposition()[1].count(b"\n") - before == 1 + 15 + 3
    assert metrics.value("salt_api_http_requests_total", method="_OTHER", route="unmatched", code="404") == 100
    assert metrics.value("salt_api_client_requests_total", client="invalid", outcome="error") == 100
    assert metrics.value("salt_api_auth_attempts_total", eauth="unknown", result="error") == 100
    assert metrics.value("salt_event_bus_events_total", type="other") == 100
    assert metrics.value("salt_api_http_requests_rejected_total", reason="malformed") == 100


def test_a_low_is_counted_by_client_and_outcome(metrics: Metrics) -> None:
    metrics.client_started("local")
    assert metrics.value("salt_api_client_requests_in_flight", client="local") == 1

    metrics.client_finished("local", "partial", 7)

    assert metrics.value("salt_api_client_requests_in_flight", client="local") == 0
    assert metrics.value("salt_api_client_requests_total", client="local", outcome="partial") == 1
    assert metrics.value("salt_api_client_request_duration_seconds_bucket", client="local", le="10.0") == 1
    assert metrics.value("salt_api_client_request_duration_seconds_bucket", client="local", le="5.0") == 0


def test_the_masters_answers_and_silences_are_counted(metrics: Metrics) -> None:
    metrics.rpc("publish", 0.01)
    metrics.rpc_failed("publish", "timeout")
    metrics.master_probed(0.001)
    states = {}
    for state in ("up", "busy", "down"):
        metrics.master_is(state)
        states[state] = (metrics.value("salt_master_up"), metrics.value("salt_master_busy"))

    assert states == {"up": (1, 0), "busy": (1, 1), "down": (0, 0)}
    assert metrics.value("salt_master_probe_duration_seconds_count") == 1
    assert metrics.value("salt_api_master_rpc_duration_seconds_count", cmd="publish") == 1
    assert metrics.value("salt_api_master_rpc_failures_total", cmd="publish", reason="timeout") == 1


def test_seconds_without_the_bus_grow_until_it_is_back(metrics: Metrics, clock: FakeClock) -> None:
    clock.time += 2
    assert metrics.value("salt_event_bus_disconnected_seconds_total") == 2
    metrics.bus_connected()
    clock.time += 100
    metrics.bus_lost("eof")
    metrics.bus_lost("error")
    clock.time += 5
    assert metrics.value("salt_event_bus_connected") == 0

    metrics.bus_connected()

    assert metrics.value("salt_event_bus_disconnected_seconds_total") == 7
    assert metrics.value("salt_event_bus_connected") == 1
    assert metrics.value("salt_event_bus_reconnects_total", reason="eof") == 1
    assert metrics.value("salt_event_bus_reconnects_total", reason="error") == 0


def test_events_are_counted_with_size_time_and_lag(metrics: Metrics, clock: FakeClock) -> None:
    metrics.bus_event("job_ret", 500)
    metrics.bus_lag(-3)
    metrics.bus_dropped("jobs", 4)

    assert metrics.value("salt_event_bus_events_total", type="job_ret") == 1
    assert metrics.value("salt_event_bus_received_bytes_total") == 500
    assert metrics.value("salt_event_bus_last_event_timestamp_seconds") == clock.time
    assert metrics.value("salt_event_bus_lag_seconds_sum") == 0
    assert metrics.value("salt_event_bus_dropped_events_total", consumer="jobs") == 4


def test_the_pool_is_read_at_each_scrape(metrics: Metrics) -> None:
    pool = FakePool()
    metrics.watch_pool(pool)
    metrics.queue_waited(0.2)

    assert metrics.value("salt_api_worker_threads", state="busy") == 3
    assert metrics.value("salt_api_worker_threads", state="idle") == 5
    assert metrics.value("salt_api_worker_queue_depth") == 2
    assert metrics.value("salt_api_connections_open") == 17
    assert metrics.value("salt_api_body_buffer_bytes") == 4711
    assert metrics.value("salt_api_connections_limit") == 2000
    assert metrics.value("salt_api_worker_busy_seconds_total") == 1.5
    pool.worked = 4.0
    assert metrics.value("salt_api_worker_busy_seconds_total") == 4.0
    assert metrics.value("salt_api_worker_queue_wait_seconds_count") == 1


def test_the_logs_own_counters_are_served(metrics: Metrics) -> None:
    counts = {"info": 3}
    metrics.watch_log(lambda: counts, lambda: 1)
    assert metrics.value("salt_api_log_events_total", level="info") == 3

    counts["info"] = 5

    assert metrics.value("salt_api_log_events_total", level="info") == 5
    assert metrics.value("salt_api_log_events_total", level="error") == 0
    assert metrics.value("salt_api_log_dropped_total") == 1


def test_readiness_is_recorded_by_check(metrics: Metrics) -> None:
    metrics.ready({"bus": True, "master": False})

    assert metrics.value("salt_api_ready", check="bus") == 1
    assert metrics.value("salt_api_ready", check="master") == 0


def test_the_multiprocess_mode_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="unset it"):
        Metrics(environ={"PROMETHEUS_MULTIPROC_DIR": "/tmp"})


PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def scraped(metrics: Metrics, **headers: str) -> Response:
    """Ask the ops listener's page for them."""
    page = MetricsResource(metrics, lambda: None)
    return Caller(Canonical(build(open_to_all({"/metrics": page}), on_crash=lambda _facts: None), Unmeasured(), lambda *_: None)).get("/metrics", **headers)


@pytest.mark.parametrize("accept", [PROMETHEUS_3, "application/openmetrics-text", 'application/openmetrics-text; version="1.0.0"'])
@pytest.mark.slow
def test_openmetrics_is_served_to_who_prefers_it(metrics: Metrics, accept: str) -> None:
    answer = scraped(metrics, accept=accept)

    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert list(parse_openmetrics(answer.body.decode()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        "application/openmetrics-text;version=abc",
        "application/openmetrics-text;version=9.9.9",
        ";;;,,q=",
        "text/plain;q=x",
        "\x00é",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=nan",
        "text/plain,application/openmetrics-text;q=0.5",
    ],
)
@pytest.mark.slow
def test_anybody_else_gets_text(metrics: Metrics, accept: str) -> None:
    answer = scraped(metrics, accept=accept)

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert list(parse_text(answer.body.decode()))
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("encoding", "zipped"), [("gzip", True), ("br, *", True), ("deflate, gzip;q=0.5", True), ("", False), ("gzip;q=0", False), ("identity", False)]
)
def test_gzip_is_used_where_it_is_accepted(metrics: Metrics, encoding: str, zipped: bool) -> None:
    answer = scraped(metrics, accept_encoding=encoding)

    assert (answer.headers.get("content-encoding") == "gzip") is zipped
    assert (gzip.decompress(answer.body) if zipped else answer.body).startswith(b"# HELP salt_api_http_requests_total")
