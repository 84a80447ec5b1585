"""The listeners: the API's, the one of probes and Prometheus, and that of websockets, if there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.limits import slots_together
from service.server.intake import Bounds, Patience
from service.server.listener import Listener, bind
from service.settings.settings import OpsSettings, Settings
from service.wiring.process import Process
from service.wiring.urls import api_renderers

if TYPE_CHECKING:
    from service.sockets.socket_listener import SocketListener

# With every slot taken there is still a thread to say so.
SPARE_THREADS = 8
# Connections whose request for a websocket is not judged yet.
SPARE_SOCKETS = 64
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


def socket_listeners(process: Process, ours: Settings) -> list[SocketListener]:
    """Bind the websockets' port at the API's address, if one is set. Raises InvalidConfiguration when it is taken."""
    if ours.websocket.port is None:
        return []
    from service.sockets.socket_listener import SocketListener  # noqa: PLC0415 - asyncio and a library, only for those who have websockets

    return [
        SocketListener(
            process.sockets,
            bind("websocket", ours.api.host, ours.websocket.port, None),
            connection_limit=slots_together(ours.events.streams, ours.limits.share) + SPARE_SOCKETS,
            connections_per_address=ours.api.connections_per_address,
            ping_seconds=ours.events.heartbeat_seconds,
            on_rejected=process.report.rejected,
            on_crash=lambda: process.report.handler_crashed("stream"),
        )
    ]
