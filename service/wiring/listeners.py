"""The two listeners: the API's, and the one of probes and Prometheus."""

from __future__ import annotations

from service.limits import slots_together
from service.server.intake import Bounds, Patience
from service.server.listener import Listener
from service.settings.settings import OpsSettings, Settings
from service.wiring.process import Process
from service.wiring.urls import api_renderers

# With every slot taken there is still a thread to say so.
SPARE_THREADS = 8
OPS_THREADS = 4
OPS_CONNECTIONS = 64
OPS_BODY_BYTES = 1024
OPS_RECEIVE_SECONDS = 5.0


def api_listener(process: Process, ours: Settings) -> Listener:
    """Bind the API's address. Raises InvalidConfiguration when the port is taken."""
    return Listener(
        process.api,
        name="api",
        host=ours.api.host,
        port=ours.api.port,
        threads=api_threads(ours),
        connection_limit=ours.api.connection_limit,
        body_limit_bytes=ours.api.body_limit_bytes,
        patience=Patience(ours.api.receive_seconds, ours.api.receive_bytes_per_second),
        bounds=Bounds(ours.api.connections_per_address, ours.api.body_bytes_per_address, ours.api.body_bytes),
        renderer_of=api_renderers(ours.api.root_prefix),
        on_rejected=process.report.rejected,
        on_queue_wait=process.metrics.queue_waited,
        flag="--api-port",
    )


def api_threads(ours: Settings) -> int:
    """Return how many threads the API may need: one for each slot, and a few more."""
    limits = ours.limits
    return SPARE_THREADS + sum(
        slots_together(each, limits.share) for each in (limits.sync_jobs, limits.quick_calls, limits.unproven_calls, ours.events.streams)
    )


def ops_listener(process: Process, ours: OpsSettings) -> Listener:
    """Bind the ops address. Raises InvalidConfiguration when the port is taken."""
    return Listener(
        process.ops,
        name="ops",
        host=ours.host,
        port=ours.port,
        threads=OPS_THREADS,
        connection_limit=OPS_CONNECTIONS,
        body_limit_bytes=OPS_BODY_BYTES,
        patience=Patience(OPS_RECEIVE_SECONDS),
        flag="--ops-port",
    )
